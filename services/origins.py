"""Where a request came from: the page's origin, the client's address, the scheme it used, and what
its browser claims to be.

The headers of proxies (X-Forwarded-For, X-Forwarded-Proto) count only from listed proxies.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network
"""Addresses that are treated alike; a single address is a network of one."""


def url_host(host: str) -> str:
    """A host as a URL has it: addresses of IPv6 in brackets (RFC 3986, section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


DEFAULT_PORTS = {"http": 80, "https": 443}
"""What an address without a port means (RFC 9110, section 4.2)."""


class Origins:
    """Compares origins exactly: scheme, host and port (RFC 6454).

    Args:
        public_url: the server's own address; empty: the address that the request names.
        allowed: other origins, as the operator wrote them.
    """

    def __init__(self, public_url: str, allowed: list[str]) -> None:
        self._own = origin_of(public_url) if public_url else ""
        self._allowed = frozenset(origin.rstrip("/") for origin in allowed)

    def own(self, scheme: str, host: str) -> str:
        """The origin of the server's own pages."""
        # Proxies write it as ``$host:$server_port``, browsers never.
        if self._own:
            return self._own
        default_port = f":{DEFAULT_PORTS[scheme]}"
        return f"{scheme}://{host.removesuffix(default_port)}"

    def is_foreign(self, origin: str | None, scheme: str, host: str) -> bool:
        """Whether a request must be refused. No Origin at all is not foreign: no browser page sent
        it, and the watch token decides. ``null`` is foreign."""
        return origin is not None and not (
            origin == self.own(scheme, host) or origin in self._allowed
        )

    def differs_in_scheme(self, origin: str | None, scheme: str, host: str) -> bool:
        """Whether `origin` is that of the server's own pages but for its scheme: then a proxy in
        front, or ``server.public_url``, says the wrong one."""
        named, _, own_host = self.own(scheme, host).partition("://")
        given, _, given_host = (origin or "").partition("://")
        if given not in DEFAULT_PORTS or given == named:
            return False
        return given_host == own_host.removesuffix(f":{DEFAULT_PORTS[given]}")

    def scheme_advice(
        self, remote_ip: str, headers: Mapping[str, str], trusted_proxies: Sequence[Network]
    ) -> str:
        """What the operator is to set where `differs_in_scheme`: a sentence for the log, which
        quotes nothing of the request but the address of its peer."""
        if self._own:
            return "set server.public_url to the address that browsers use, with its scheme"
        proto = headers.get("X-Forwarded-Proto", "")
        others = [name for name in OTHER_SCHEME_HEADERS if name in headers]
        if not is_listed(remote_ip, trusted_proxies):
            reason = f"{remote_ip} is not in server.trusted_proxies"
        elif "," in proto:
            reason = "the proxy sends several values of X-Forwarded-Proto, which differ"
        elif proto:
            reason = "the proxy names another scheme in X-Forwarded-Proto"
        elif others:
            reason = f"the proxy sends {others[0]}, which is not read, and no X-Forwarded-Proto"
        else:
            reason = "the proxy sends no X-Forwarded-Proto"
        return (
            f"{reason}: list the proxy in server.trusted_proxies and have it set X-Forwarded-Proto "
            "to the scheme that browsers use, or set server.public_url"
        )

    def shared_with(self, origin: str | None) -> bool:
        """Whether CORS headers are due: for exactly the configured origins."""
        return origin is not None and origin in self._allowed


_NAME = r"[A-Za-z0-9\-._~!$&'()*+;=]"
_HOST = re.compile(
    rf"(?=[^:]){_NAME}*(?:%[0-9A-Fa-f]{{2}}{_NAME}*)*(?::([0-9]{{0,5}}))?"
    r"|\[([0-9A-Fa-f:.]{2,45})\](?::([0-9]{0,5}))?"
)

MAX_HOST = 261
"""A name has at most 253 characters (RFC 1035, section 2.3.4), a port six with its colon, and an
IPv6 address its brackets."""


def is_host(text: str) -> bool:
    """Whether `text` may stand in a request's Host: RFC 3986's host, not empty, and a port.

    The one grammar of every path of a request. No comma, which RFC 3986 would allow in a name: it
    would mean that the header came twice. IPv6 addresses are those of RFC 4291, without a zone.
    Whether it is too long (`MAX_HOST`) is not asked here.
    """
    # Clients name the same few hosts again and again. Long ones must not fill the memory.
    return _is_host(text) if len(text) <= MAX_HOST else _is_host.__wrapped__(text)


@lru_cache(maxsize=512)
def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    if found is None:
        return False
    port, address, port_of_address = found.groups()
    if address is not None:
        try:
            IPv6Address(address)
        except ValueError:
            return False
    return int(port or port_of_address or 0) < 65536


_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""What proxies write, and what it means: some name an upgrade after WebSocket's own schemes."""


def request_scheme(
    remote_ip: str, x_forwarded_proto: str, trusted_proxies: Sequence[Network]
) -> str:
    """The scheme the browser used. scanpush itself speaks plain HTTP: TLS ends at a proxy, whose
    header counts only when the proxy is listed.

    Several proxies may each have added a value. They count where they agree; otherwise it is
    unknown which of them the client made up.
    """
    if not x_forwarded_proto or not is_listed(remote_ip, trusted_proxies):
        return "http"
    schemes = {_SCHEMES.get(word.strip().lower()) for word in x_forwarded_proto.split(",")}
    return (schemes.pop() if len(schemes) == 1 else None) or "http"


OTHER_SCHEME_HEADERS = (
    "Forwarded",
    "X-Forwarded-Ssl",
    "Front-End-Https",
    "X-Forwarded-Scheme",
    "X-Url-Scheme",
)
"""Where other servers look for the scheme. Not read here: a proxy that does not set one of them
passes on what the client wrote."""


MAX_LOGGED_ORIGIN = 120
"""Characters of an Origin that are logged: a client may send one of 64 KiB."""


def origin_of(url: str) -> str:
    """The origin of a URL, as a browser writes it (default ports left out)."""
    parts = urlsplit(url)
    port = None if parts.port == DEFAULT_PORTS.get(parts.scheme) else parts.port
    host = url_host(parts.hostname or "")
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


MAX_HOPS = 32
"""Entries of X-Forwarded-For that are read, from the right. No real chain is longer."""


def client_address(remote_ip: str, x_forwarded_for: str, trusted_proxies: Sequence[Network]) -> str:
    """The address a request came from, as far as it can be trusted.

    A proxy in `trusted_proxies` vouches for the entry it added, the rightmost; if that is such a
    proxy too, it vouches for the next. The first that is not one is the client, which may have
    made up all entries left of it. IPv4 addresses written as IPv6 count as IPv4.
    """
    if not trusted_proxies:
        return _normalised(remote_ip)
    address = parse_address(remote_ip)
    if address is None:
        return remote_ip
    hops = x_forwarded_for.rsplit(",", MAX_HOPS)
    while hops and any(address in network for network in trusted_proxies):
        hop = parse_address(_without_port(hops.pop().strip()))
        if hop is None:
            break
        address = hop
    return str(address)


def is_listed(remote_ip: str, proxies: Sequence[Network]) -> bool:
    """Whether the peer of a connection is one of the operator's proxies."""
    address = parse_address(remote_ip)
    return address is not None and any(address in network for network in proxies)


def _without_port(hop: str) -> str:
    # Some proxies write ports: 192.0.2.1:4711, [2001:db8::1]:4711.
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


@lru_cache(maxsize=4096)
def _normalised(text: str) -> str:
    """The address as `ipaddress` writes it; other text stays as it is."""
    address = parse_address(text)
    return text if address is None else str(address)


@lru_cache(maxsize=4096)
def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """None where `text` is no address. A zone is left out; IPv4 within IPv6 becomes IPv4."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


# The first match counts: most browsers also name those they descend from.
_BROWSERS = (
    (re.compile(r"MicroMessenger/"), "WeChat"),
    (re.compile(r"Edg(?:e|A|iOS)?/"), "Edge"),
    (re.compile(r"OPR/|Opera"), "Opera"),
    (re.compile(r"Firefox/|FxiOS/"), "Firefox"),
    (re.compile(r"Chrome/|CriOS/|Chromium/"), "Chrome"),
    (re.compile(r"Version/[\d.]+ .*Safari/"), "Safari"),
)
_SYSTEMS = (
    (re.compile(r"iPhone"), "iPhone"),
    (re.compile(r"iPad"), "iPad"),
    (re.compile(r"Android"), "Android"),
    (re.compile(r"Windows"), "Windows"),
    (re.compile(r"Mac OS X|Macintosh"), "macOS"),
    (re.compile(r"CrOS"), "ChromeOS"),
    (re.compile(r"Linux|X11"), "Linux"),
)


def summary(user_agent: str) -> str:
    """For example ``Chrome, Windows``; empty when nothing is recognised. The browser's own claim,
    and no more than that."""
    names = (
        next((name for pattern, name in table if pattern.search(user_agent)), "")
        for table in (_BROWSERS, _SYSTEMS)
    )
    return ", ".join(name for name in names if name)


def screen_browser(user_agent: str) -> str:
    """What the operator is told of a screen's browser: its `summary`, or the first product that it
    names (RFC 9110, section 10.1.5). Without blanks it cannot read like the words beside
    it, which say where the screen is."""
    return summary(user_agent) or re.split(r"[^!-~]", user_agent, maxsplit=1)[0][:64]
