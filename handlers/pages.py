"""What is served from static/: pages with their policy, and the files they load; also the files by
which WeChat's console checks that the operator owns a domain (``MP_verify_....txt``)."""

import re
from typing import Any

from handlers.assets import Asset, policy_hash, static_assets
from handlers.base import BaseHandler
from services.container import Container
from services.errors import ApiError

LASTING = "public, max-age=31536000, immutable"
"""Cache-Control of a file whose name changes with its content."""

_RANGE = re.compile(r"bytes=(?=[^-]|-[0-9])([0-9]{0,18})-([0-9]{0,18})")
"""One range (RFC 9110, section 14.1.2)."""


def page_policy(
    host: str, script_hashes: str = "", style_hashes: str = "", *, forms: str = "'self'"
) -> str:
    """The Content-Security-Policy of this server's pages: own files, and what is inline by hash.

    `forms`: where the page's forms may go.
    """
    # ws: and wss: are named because older Safari does not count them into 'self'.
    return (
        f"default-src 'none'; script-src 'self'{script_hashes}; style-src 'self'{style_hashes}; "
        f"img-src 'self' data: https:; connect-src 'self' ws://{host} wss://{host}; "
        f"font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action {forms}; "
        "frame-ancestors 'none'"
    )


EXAMPLE_POLICY = (
    "script-src 'self'; style-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class AssetHandler(BaseHandler):
    """Answers with an `Asset`, or with 304 where the client has it."""

    etag: str | None = None

    async def send(self, asset: Asset, wanted: str = "") -> None:
        """Finish with the asset, coded as the client accepts, or with the part that a ``Range``
        wants, which is one of the body as it is."""
        coding = "" if wanted else asset.coding_for(self.request.headers.get("Accept-Encoding", ""))
        body = await asset.coded(coding)
        self.set_header("Content-Type", asset.content_type)
        if coding:
            self.set_header("Content-Encoding", coding)
        self.etag = asset.etag(coding)
        self.set_etag_header()
        # First: what has not changed is not sent in parts either (RFC 9110, section 13.2.2).
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
        else:
            self.finish(self._part(body, wanted) if wanted else body)

    def _part(self, body: bytes, wanted: str) -> bytes:
        """The part that a ``Range`` asks for; the whole where it asks for none or for several."""
        found = _RANGE.fullmatch(wanted.replace(" ", ""))
        if found is None or found[1] and found[2] and int(found[2]) < int(found[1]):
            return body
        size = len(body)
        first = int(found[1]) if found[1] else max(0, size - int(found[2]))
        last = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
        if first >= size:
            self.set_status(416)
            self.set_header("Content-Range", f"bytes */{size}")
            return b""
        self.set_status(206)
        self.set_header("Content-Range", f"bytes {first}-{last}/{size}")
        return body[first : last + 1]

    def compute_etag(self) -> str | None:
        """The asset's. What else is answered has none."""
        return self.etag


class PageHandler(AssetHandler):
    """A page of static/ in the visitor's language, with all that it needs inside."""

    def initialize(self, container: Container, page: str = "index") -> None:
        super().initialize(container)
        self.page = page

    async def get(self) -> None:
        lang = self.visitor_language(self.get_query_argument("lang", ""))
        page = static_assets().page(self.page, lang, page_facts(self.container))
        policy = page_policy(self.request.host, page.script_hashes, page.style_hashes)
        self.set_header("Content-Language", lang)
        # Browsers ask each time whether theirs is still the newest.
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Vary", "Accept-Encoding, Accept-Language, Cookie")
        self.set_header("Content-Security-Policy", policy)
        self.set_header("X-Frame-Options", "DENY")
        await self.send(page)


def page_facts(container: Container) -> dict[str, str]:
    """What a page is told of this server in its meta tags."""
    wechat = container.settings.wechat
    # The phone is a page of the simulator: of the one that this server started, or of one whose
    # address it was given.
    phone = container.simulated_phone
    if not phone and wechat.is_simulated:
        phone = wechat.open_base.removesuffix("/open")
    return {
        "simulated": "true" if wechat.is_simulated else "false",
        "phone": phone,
        "kinds": " ".join(container.scene_codes),
        **container.account_facts,
    } | brand_facts(container)


def brand_facts(container: Container) -> dict[str, str]:
    """Whose page it is (``pages`` in the settings)."""
    pages = container.settings.pages
    return {
        "site": container.site_name,
        "logo": container.logo,
        "colours": container.colours,
        "terms": pages.links.terms,
        "privacy": pages.links.privacy,
    }


def small_page(container: Container, lang: str) -> dict[str, Any]:
    """What the templates of small pages are told: whose page it is, and the words of its links."""
    return {**brand_facts(container), "page_words": static_assets().words(f"i18n/pages/{lang}.js")}


def small_page_policy(container: Container, host: str, *, forms: str = "'self'") -> str:
    """The policy of small pages (`small_page`), which allows the operator's colours."""
    colours = container.colours
    return page_policy(host, style_hashes=policy_hash(colours) if colours else "", forms=forms)


class FilesHandler(AssetHandler):
    """``/static/...``: files for pages of any site, in which ``<scan-login>`` is embedded."""

    async def get(self, path: str) -> None:
        asset, is_lasting = static_assets().find(path)
        if asset is None:
            raise ApiError("not_found", "There is nothing here.")
        # A file keeps its plain name from version to version, so there browsers ask each time
        # whether theirs is still the newest.
        self.set_header("Cache-Control", LASTING if is_lasting else "no-cache")
        self.set_header("Vary", "Accept-Encoding")
        self.set_header("Accept-Ranges", "bytes")
        if path.endswith(".html"):
            # The examples: what they load depends on the site they are tried on.
            self.set_header("Content-Security-Policy", EXAMPLE_POLICY)
            self.set_header("X-Frame-Options", "DENY")
        else:
            self.set_header("Access-Control-Allow-Origin", "*")
            self.set_header("Cross-Origin-Resource-Policy", "cross-origin")
        headers = self.request.headers
        # What the client has part of may be of another version.
        is_of_this = headers.get("If-Range", asset.etag("")) == asset.etag("")
        await self.send(asset, headers.get("Range", "") if is_of_this else "")


class VerifyFileHandler(BaseHandler):
    """``GET /<name>.txt`` for the names in ``wechat.verify_files``; no file is read from disk."""

    def get(self, name: str) -> None:
        content = self.container.settings.wechat.verify_files.get(name)
        if content is None:
            raise ApiError("not_found", "There is nothing here.")
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(content)
