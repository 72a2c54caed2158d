"""What this machine lets one process hold: open files, local ports, loopback addresses."""

import ipaddress
import resource
import socket
from dataclasses import dataclass
from pathlib import Path

KEPT_DESCRIPTORS = 100
"""Left for pipes, libraries and the HTTP connections of a worker."""

PORTS_PER_SOURCE = 7_000
"""Sockets a loopback source address gets. While it can, Linux gives a connection a port of one
parity: 14,116 of its default range. Beyond these, those in TIME_WAIT included, each connect first
searches them all, and takes a millisecond of CPU instead of some 15 us. So half of them are left
for TIME_WAIT and for pages that are replaced."""

PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many sockets fit."""

    per_process: int
    per_source: int
    loopback: bool


def raise_open_files() -> int:
    """Lift the soft limit on open files to the hard one; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    # macOS says "unlimited" and then refuses it; a million is more than any run needs.
    wanted = 1_000_000 if hard == resource.RLIM_INFINITY else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return soft
    return wanted


def resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The first address of `host`. Raises OSError when it has none."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, (str(address[0]), port)


def is_loopback(address: str) -> bool:
    """Whether further source addresses 127.0.0.x can be used towards `address`."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return parsed.version == 4 and parsed.is_loopback


def local_ports() -> int:
    """How many local ports connections can use; Linux's default where the system does not say."""
    try:
        low, high = PORT_RANGE.read_text().split()
    except OSError:
        return 28_232
    return int(high) - int(low) + 1


def allowance(address: str) -> Allowance:
    """What one process can hold towards `address`."""
    files = raise_open_files()
    loopback = is_loopback(address)
    per_source = min(PORTS_PER_SOURCE, local_ports()) if loopback else local_ports()
    return Allowance(files - KEPT_DESCRIPTORS, per_source, loopback)


def sources(worker: int, count: int, allowed: Allowance) -> list[str]:
    """The source addresses of one worker with `count` sockets; empty: the system chooses.

    Workers share no address. 127.0.0.1 is left to the server and to the people who look at it.
    """
    if not allowed.loopback:
        return []
    each = max(1, -(-count // allowed.per_source))
    base = int(ipaddress.IPv4Address("127.0.0.2")) + worker * each
    return [str(ipaddress.IPv4Address(base + index)) for index in range(each)]
