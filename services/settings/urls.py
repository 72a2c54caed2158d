"""Addresses that may hold a password, taken apart before a library sees them.

`take_apart` is for redis.url, mongodb.url and the proxies of the environment. Libraries disagree
about a password that is not percent-encoded: some quote a part of it in their error, some look a
part of it up as a host name. Such an address is refused here, in words that quote nothing of it.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import unquote

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?", re.S)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%25[\w.~-]+)?\]|[^\[\]:]*)(?::([0-9]*))?")
HOST_NAME = re.compile(r"(?!.{256})[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
"""No longer than DNS has it (RFC 1035, section 2.3.4): resolvers raise other errors then."""
_HALF_ENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})")

ENCODE = "percent-encode # / ? @ : % [ ] in its user name and password (@ is %40)"
"""The advice where an address cannot be told apart because of its password."""


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """The parts of an address, decoded (RFC 3986, section 2.1), except for `hosts`."""

    scheme: str
    """In lower case."""
    username: str
    """Empty where the address has none."""
    password: str
    hosts: tuple[tuple[str, int | None], ...]
    """Host (an IPv6 address without brackets; the path of a socket, as MongoDB's URLs may have it)
    and port, if given. Empty where nothing stands there, as in ``unix:///run/redis.sock``."""
    path: str
    """With its slash; empty without one."""
    options: tuple[tuple[str, str], ...]
    """The query, in its order; a name may be given twice."""


def take_apart(url: str, schemes: tuple[str, ...]) -> ServerUrl:
    """The parts of `url`, whose scheme must be one of `schemes`.

    Raises:
        ValueError: with one sentence that quotes nothing of the address.
    """
    parts = _ADDRESS.fullmatch(url)
    if not parts or parts[1].lower() not in schemes:
        *others, last = (f"{scheme}://" for scheme in schemes)
        choice = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(f"must begin with {choice}")
    if not re.fullmatch(r"[!-~]+", url):
        raise ValueError("must be without blanks, line feeds and characters outside ASCII")
    user, _, hosts = parts[2].rpartition("@")
    # An "@" behind the authority is the end of a user part that a "/", "?" or "#" has cut.
    rest = "".join(part or "" for part in parts.group(3, 4, 5))
    if "@" in user or "@" in rest or "[" in user or "]" in user or _HALF_ENCODED.search(user):
        raise ValueError(ENCODE)
    if parts[5] is not None:
        raise ValueError(f"must not hold a #; {ENCODE}")
    name, _, password = user.partition(":")
    query = parts[4] or ""
    if _HALF_ENCODED.search(hosts + parts[3] + query):
        raise ValueError("holds a % that is not followed by two hexadecimal digits")
    try:
        return ServerUrl(
            scheme=parts[1].lower(),
            username=unquote(name, errors="strict"),
            password=unquote(password, errors="strict"),
            hosts=tuple(_host(host) for host in hosts.split(",")) if hosts else (),
            path=unquote(parts[3], errors="strict"),
            options=tuple(
                (unquote(option, errors="strict"), unquote(value, errors="strict"))
                for option, _, value in (pair.partition("=") for pair in query.split("&") if pair)
            ),
        )
    except UnicodeDecodeError:
        raise ValueError("must be percent-encoded from UTF-8") from None


def _host(text: str) -> tuple[str, int | None]:
    parts = _HOST.fullmatch(text)
    port = int(parts[2]) if parts and parts[2] and len(parts[2]) < 6 else None
    if not parts or not parts[1] or (parts[2] is not None and not (port and port < 65536)):
        raise ValueError(
            "must name each server as host or host:port, with a port from 1 to 65535, and an IPv6"
            f" address in brackets; {ENCODE}"
        )
    host = unquote(parts[1].strip("[]"))
    usable = (
        _is_ipv6(host)
        if parts[1].startswith("[")
        else bool(HOST_NAME.fullmatch(host) or re.fullmatch(r"/[^\0]+", host))
    )
    if not usable:
        raise ValueError(f"has a host that is neither a name nor an address; {ENCODE}")
    return host, port


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True
