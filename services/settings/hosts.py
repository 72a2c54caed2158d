"""Hosts as people write them: which addresses a spelling means, and which of those are private.

Who can connect to a listener is decided by its addresses, not by their spelling: ``0``, ``0x0``,
``*`` and a name may all mean every address of the machine. So a host is resolved first, and what
is then looked at, and listened on, are its addresses.
"""

import errno
import os
import queue
import socket
import threading
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from services.origins import url_host

Address = IPv4Address | IPv6Address

Sockaddr = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]

RESOLVE_SECONDS = 3
"""How long a name may take; resolvers that are cut off from the network take half a minute."""

EVERY_ADDRESS: tuple[Address, ...] = (
    IPv4Address("0.0.0.0"),  # nosec B104  # what the operator's "*" means
    IPv6Address("::"),
)

# Names that cannot be public: RFC 6761, RFC 6762, RFC 8375.
_LOCAL_ENDINGS = (".localhost", ".local", ".test", ".internal", ".lan", ".home.arpa")


# A name that is looked up again may have other addresses than those that were found harmless.
@lru_cache(maxsize=64)
def addresses_of(host: str) -> tuple[Address, ...]:
    """The addresses that `host` means, IPv4 first; the same ones until the process ends.

    IPv6's unspecified address and ``*`` mean every address of both families. IPv4 within IPv6
    (``::ffff:a.b.c.d``) becomes IPv4. A link-local address keeps its zone.

    Raises:
        ValueError: with a sentence that says what is wrong and does not quote the host.
    """
    if host == "*":
        return EVERY_ADDRESS
    found = literal_addresses(host) or _looked_up(host)
    return EVERY_ADDRESS if EVERY_ADDRESS[1] in found else found


def literal_addresses(host: str) -> tuple[Address, ...]:
    """As `addresses_of`, without asking a resolver: nothing where `host` is a name.

    The spellings are those of inet_aton(3), which browsers share: 127.1, 0x7f000001, 017700000001.
    """
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        return _addresses(host, socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        return ()


def is_private(address: Address) -> bool:
    """Whether only this machine, or a private network, can connect to a listener there."""
    return address.is_private and not address.is_unspecified


def is_private_host(host: str) -> bool:
    """Whether a host in a URL is one of a private network.

    An address is judged as such. A name must be one that cannot be public, and where it resolves,
    all its addresses must be private: a name without a dot may be completed to a public one.
    """
    if literal := literal_addresses(host):
        return all(map(is_private, literal))
    if not is_local_name(host):
        return False
    try:
        return all(map(is_private, addresses_of(host.rstrip(".").lower())))
    except ValueError:
        return True


def is_local_name(host: str) -> bool:
    """Whether the name cannot be registered: it has no dot, or a reserved ending. No resolver is
    asked."""
    name = host.rstrip(".").lower()
    return "." not in name or name.endswith(_LOCAL_ENDINGS)


def is_near(url: str) -> bool:
    """Whether the host of `url` is an address of this machine or of a private network, or
    ``localhost``; no resolver is asked about other names."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    literal = literal_addresses(host)
    return all(map(is_private, literal)) if literal else host == "localhost"


def listen(addresses: Iterable[Address], port: int, *, shared: bool = False) -> list[socket.socket]:
    """Sockets that listen at `addresses`, all on one port (0: the system picks it); `shared` with
    other processes, which all have to say so.

    Of several addresses, one of IPv6 is left out where the machine has no IPv6.

    Raises:
        OSError: an address cannot be listened at; its text names the address and the reason.
    """
    sockets: list[socket.socket] = []
    for address in addresses:
        try:
            new = socket.create_server(
                _sockaddr(address, port),
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                backlog=4096,
                reuse_port=shared,
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            no_ipv6 = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
            if not (no_ipv6 and address.version == 6 and sockets):
                for listening in sockets:
                    listening.close()
                raise OSError(error.errno, f"{url_host(str(address))}:{port}: {reason}") from None
        else:
            new.setblocking(False)
            port = new.getsockname()[1]
            sockets.append(new)
    return sockets


def _sockaddr(address: Address, port: int) -> Sockaddr:
    if isinstance(address, IPv4Address):
        return str(address), port
    # bind(2) wants the zone as a number of its own.
    host, _, zone = str(address).partition("%")
    return host, port, 0, socket.if_nametoindex(zone) if zone else 0


def _looked_up(host: str) -> tuple[Address, ...]:
    answers: queue.SimpleQueue[tuple[Address, ...] | str] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(_addresses(host))
        except OSError as error:
            answers.put(f"is not an address here: {error.strerror}")
        except ValueError:  # from the codec for names that are not ASCII
            answers.put("is neither an address nor a name")

    # getaddrinfo(3) cannot be interrupted; a thread that hangs in it does not keep the process.
    threading.Thread(target=look_up, name="resolver", daemon=True).start()
    try:
        answer = answers.get(timeout=RESOLVE_SECONDS)
    except queue.Empty:
        answer = f"was not resolved within {RESOLVE_SECONDS} s; give an address instead"
    if isinstance(answer, str):
        raise ValueError(answer)
    return answer


def _addresses(host: str, flags: int = 0) -> tuple[Address, ...]:
    infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    found = {address_in(info[4]) for info in infos}
    return tuple(sorted(found, key=lambda address: (address.version, int(address))))


def address_in(sockaddr: Sockaddr) -> Address:
    """The address in what getaddrinfo(3) or getsockname(2) gave, as `addresses_of` has it."""
    address = ip_address(str(sockaddr[0]).partition("%")[0])
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    zone = sockaddr[3] if len(sockaddr) == 4 else 0
    return IPv6Address(f"{address}%{socket.if_indextoname(zone)}") if zone else address
