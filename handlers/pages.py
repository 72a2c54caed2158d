"""What is served from static/: pages with their policy, and the files they load; also the files by
which WeChat's console checks that the operator owns a domain (``MP_verify_....txt``)."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornado.web import HTTPError, StaticFileHandler

from handlers.api_request import as_api_error
from handlers.base import BaseHandler, answer_error, set_safe_headers
from services.container import Container
from services.errors import ApiError

STATIC = Path(__file__).resolve().parent.parent / "static"


def page_policy(host: str, frame_ancestors: str = "'none'") -> str:
    """The Content-Security-Policy of this server's pages: own files only, nothing inline."""
    # ws: and wss: are named because older Safari does not count them into 'self'.
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; "
        f"connect-src 'self' ws://{host} wss://{host}; font-src 'self'; manifest-src 'self'; "
        f"base-uri 'none'; form-action 'self'; frame-ancestors {frame_ancestors}"
    )


EXAMPLE_POLICY = (
    "script-src 'self'; style-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class PageHandler(BaseHandler):
    """One HTML file of static/, with `page_facts` in its meta tags."""

    def initialize(self, container: Container, page: str = "index.html") -> None:
        super().initialize(container)
        self.page = page

    def get_template_path(self) -> str:
        return str(STATIC)

    def get(self) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", page_policy(self.request.host))
        self.set_header("X-Frame-Options", "DENY")
        self.render(self.page, **page_facts(self.container))


def page_facts(container: Container) -> dict[str, str]:
    """What a page is told of this server in its meta tags."""
    wechat = container.settings.wechat
    # The simulator's phone is at the simulator: at one that this server started, or at one that it
    # was given the address of.
    phone = container.simulated_phone
    if not phone and wechat.is_simulated:
        phone = wechat.open_base.removesuffix("/open")
    return {
        "simulated": "true" if wechat.is_simulated else "false",
        "phone": phone,
        "site": wechat.site_name or urlsplit(container.own_url).netloc,
        "kinds": " ".join(container.scene_codes),
    }


class FilesHandler(StaticFileHandler):
    """Files of static/, for pages of any site: ``<scan-login>`` is embedded in them."""

    def parse_url_path(self, url_path: str) -> str:
        """No file has a NUL in its name, and asking the system for one is an error."""
        if "\0" in url_path:
            raise HTTPError(404)
        return super().parse_url_path(url_path)

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        """The pages' templates are no files to be loaded: `PageHandler` serves them, filled in and
        with their policy."""
        path = super().validate_absolute_path(root, absolute_path)
        if path is not None and Path(path).suffix == ".html" and Path(path).parent == STATIC:
            raise HTTPError(404)
        return path

    def set_extra_headers(self, path: str) -> None:
        # Files keep their names from version to version, so browsers ask each time whether theirs
        # is still the newest.
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Content-Type-Options", "nosniff")
        if path.endswith(".html"):
            # The examples: what they load depends on the site they are tried on.
            self.set_header("Content-Security-Policy", EXAMPLE_POLICY)
            self.set_header("X-Frame-Options", "DENY")
            return
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Cross-Origin-Resource-Policy", "cross-origin")

    def set_default_headers(self) -> None:
        self.request_id = set_safe_headers(self)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """A path that names no file is the client's mistake, and is not logged as an error."""
        if not isinstance(value, HTTPError):
            super().log_exception(typ, value, tb)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        answer_error(self, as_api_error(kwargs.get("exc_info", (None, None))[1], status_code))


class VerifyFileHandler(BaseHandler):
    """``GET /<name>.txt`` for the names in ``wechat.verify_files``; no file is read from disk."""

    def get(self, name: str) -> None:
        content = self.container.settings.wechat.verify_files.get(name)
        if content is None:
            raise ApiError("not_found", "There is nothing here.")
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(content)
