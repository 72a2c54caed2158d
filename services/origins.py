"""Which web pages may talk to this server."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from services.rate_limits import is_listed
from services.settings_fields import Network, url_host


class Origins:
    """Compares origins exactly: scheme, host and port (RFC 6454).

    Args:
        public_url: the server's own address; empty: whatever address the request came to.
        allowed: other origins, as the operator wrote them.
    """

    def __init__(self, public_url: str, allowed: list[str]) -> None:
        self._own = origin_of(public_url) if public_url else ""
        self._allowed = frozenset(origin.rstrip("/") for origin in allowed)

    def own(self, scheme: str, host: str) -> str:
        """The origin of the server's own pages."""
        return self._own or f"{scheme}://{host}"

    def is_foreign(self, origin: str | None, scheme: str, host: str) -> bool:
        """Whether a request must be refused. No Origin at all is not foreign: no browser page sent
        it, and the watch token decides. ``null`` is foreign."""
        return origin is not None and not (
            origin == self.own(scheme, host) or origin in self._allowed
        )

    def shared_with(self, origin: str | None) -> bool:
        """Whether CORS headers are due: for exactly the configured origins."""
        return origin is not None and origin in self._allowed


def request_scheme(
    remote_ip: str, x_forwarded_proto: str, trusted_proxies: Sequence[Network]
) -> str:
    """The scheme the browser used; a proxy is believed only when listed. scanpush itself speaks
    plain HTTP: TLS ends at the proxy in front."""
    said = x_forwarded_proto.strip().lower()
    return said if said in ("http", "https") and is_listed(remote_ip, trusted_proxies) else "http"


def origin_of(url: str) -> str:
    """The origin of a URL, as a browser writes it (default ports left out)."""
    parts = urlsplit(url)
    port = None if (parts.scheme, parts.port) in (("http", 80), ("https", 443)) else parts.port
    host = url_host(parts.hostname or "")
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")
