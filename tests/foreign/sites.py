"""Sites and proxies that were written elsewhere and log people in with the OpenID Provider, and a
browser that goes back and forth between them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.programs import free_port
from tests.browser.real_server import Real
from tests.processes import ROOT

from .provider import Browser, Cluster, one_server

SECRET = "a-secret-of-0123456789"

STORES = [pytest.mark.redis, pytest.mark.mongodb, pytest.mark.nginx]

LONG = [*STORES, pytest.mark.slow, pytest.mark.timeout(900)]
"""For `pytestmark`: packages are fetched and built, and nodes are lost and started again."""

ONE_SERVER, TWO_NODES = "one server", "two nodes"


def documented(heading: str, language: str, **urls: str) -> str:
    """The block of docs/openid.md below that heading, so that what is tested is what is read.

    Args:
        urls: what stands in place of a host of ``example.com``, scheme included, by the host's
            first label.
    """
    text = (ROOT / "docs" / "openid.md").read_text().partition(f"\n### {heading}\n")[2]
    before, _, rest = text.partition(f"```{language}\n")
    assert rest and "\n### " not in before, heading
    block = rest.partition("```")[0]
    for label, url in urls.items():
        block = block.replace(f"https://{label}.example.com", url)
    assert "example.com" not in block, block
    return block.replace("change-me-16-characters", SECRET)


class Site:
    """Where a foreign site is going to be, and what the provider is told of it."""

    def __init__(self, callback: str, **more: str) -> None:
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.client: dict[str, Any] = {"secret": SECRET, "redirect_uris": [self.url + callback]}
        for name, path in more.items():
            several = name.endswith("uris")
            self.client[name] = [self.url + path] if several else self.url + path


@contextlib.contextmanager
def visiting(where: str, folder: Path, **sites: Site) -> Iterator["Visitor"]:
    """A visitor of those sites. Their provider is `ONE_SERVER` or `TWO_NODES`."""
    clients = {name: site.client for name, site in sites.items()}
    running = one_server(folder, clients) if where == ONE_SERVER else Cluster(folder, clients)
    with running as provider, Visitor(provider, "alice") as visitor:
        yield visitor


class Visitor(Browser):
    """A browser that follows redirects wherever they lead; between the steps of a login the nodes
    that served the last one are lost."""

    def __init__(self, provider: Real | Cluster, person: str) -> None:
        super().__init__(provider, person)
        self._cluster = provider if isinstance(provider, Cluster) else None
        self.issuer = provider.url
        # Proxies take a request for a script's unless it asks for a page.
        self.http.headers["Accept"] = "text/html,*/*;q=0.8"

    def lose(self) -> None:
        """What served until now is killed, where there is more than that. What was killed before
        runs again, and nginx has found it."""
        if self._cluster is not None:
            self._cluster.lose_a_node()
            self.send("GET", f"{self.issuer}/healthz")

    def visit(self, url: str) -> httpx.Response:
        """The page that the browser ends up at."""
        while True:
            if url.startswith(self.issuer):
                url = self.open(url).url
            answer = self.http.get(url)
            if not answer.is_redirect:
                return answer
            url = str(answer.url.join(answer.headers["Location"]))

    def is_sent_away(self, url: str) -> bool:
        """Whether that page answers with a way to the provider."""
        return self.http.get(url).headers.get("Location", "").startswith(self.issuer)

    def log_out(self) -> None:
        """The person logs out at the provider itself."""
        self._pressed(self.send("GET", f"{self.issuer}/oauth/logout"))

    def _scanned(self, page: httpx.Response) -> httpx.Response:
        self.lose()
        answer = super()._scanned(page)
        self.lose()
        return answer


def answers(url: str) -> bool:
    """Whether a server that was started just now answers there."""
    try:
        return httpx.get(url, verify=False).is_success
    except httpx.TransportError:
        return False
