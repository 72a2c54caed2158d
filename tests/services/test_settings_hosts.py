"""services.settings.hosts: what a spelling means, what is private, and listening there."""

import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.settings.hosts import (
    address_in,
    addresses_of,
    is_near,
    is_private,
    is_private_host,
    listen,
    literal_addresses,
)


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("127.1", ["127.0.0.1"]),
        ("0x7f.1", ["127.0.0.1"]),
        ("2130706433", ["127.0.0.1"]),
        ("::ffff:127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("[::1]", ["::1"]),
        ("0:0:0:0:0:0:0:1", ["::1"]),
        ("0.0.0.0", ["0.0.0.0"]),
        ("0", ["0.0.0.0"]),
        ("0x0", ["0.0.0.0"]),
        ("0.0", ["0.0.0.0"]),
        ("00.0x0", ["0.0.0.0"]),
        ("::ffff:0.0.0.0", ["0.0.0.0"]),
        ("::", ["0.0.0.0", "::"]),
        ("[::]", ["0.0.0.0", "::"]),
        ("0::0", ["0.0.0.0", "::"]),
        ("*", ["0.0.0.0", "::"]),
    ],
)
def test_a_spelling_means_addresses(host: str, addresses: list[str]) -> None:
    """Every way to write one; the unspecified address of IPv6 means both families."""
    assert list(map(str, addresses_of(host))) == addresses


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64, "1.2.3.4.5", "a b", ""])
def test_what_is_no_host_is_told(host: str) -> None:
    """Whatever the resolver or a codec makes of it."""
    with pytest.raises(ValueError, match="^is |^was "):
        addresses_of(host)


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True),
        ("127.1", True),
        ("10.1.2.3", True),
        ("192.168.1.4", True),
        ("::1", True),
        ("fd00::5", True),
        ("fe80::1", True),
        ("::ffff:10.0.0.1", True),
        ("localhost", True),
        ("phone.test", True),
        ("kiosk", True),
        ("nas.local.", True),
        ("8.8.8.8", False),
        ("134744072", False),
        ("0x08080808", False),
        ("010.8.8.8", False),
        ("8.8.2056", False),
        ("::ffff:8.8.8.8", False),
        ("2001:4860:4860::8888", False),
        ("0", False),
        ("0x0", False),
        ("::", False),
        ("::ffff:0.0.0.0", False),
        ("login.example.com", False),
        ("8.8.8.8.", False),
        ("127.0.0.1.example.com", False),
        ("local", True),
    ],
)
def test_what_is_private(host: str, private: bool) -> None:
    """An address by what it is; a name by whether it can be public."""
    assert is_private_host(host) is private


@given(st.ip_addresses())
def test_no_address_is_private_in_one_spelling_and_public_in_another(address: object) -> None:
    """IPv4 as a number, in hexadecimal, and within IPv6."""
    spellings = [str(address)]
    if ":" not in str(address):
        number = int(socket.inet_aton(str(address)).hex(), 16)
        spellings += [str(number), hex(number), f"::ffff:{address}", f"[::ffff:{address}]"]
    assert len({is_private_host(spelling) for spelling in spellings}) == 1
    assert len({is_near(f"http://{s}:1/") for s in spellings if ":" not in s}) < 2


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_none(host: str) -> None:
    """No resolver is asked, and no text is an error."""
    for address in literal_addresses(host):
        assert literal_addresses(str(address)) == (address,)


def test_every_address_is_of_both_families_on_one_port() -> None:
    """Clients of either reach the server, which no setting of the system changes."""
    with contextlib.ExitStack() as undo:
        sockets = [undo.enter_context(s) for s in listen(addresses_of("::"), 0)]
        port = sockets[0].getsockname()[1]
        for address in ("127.0.0.1", "::1") if len(sockets) == 2 else ("127.0.0.1",):
            undo.enter_context(socket.create_connection((address, port), timeout=5))
        assert all(s.getsockname()[1] == port for s in sockets)


def test_a_port_in_use_is_told_and_nothing_is_left_open() -> None:
    """With its place, and the reason."""
    [taken] = listen(addresses_of("127.0.0.1"), 0)
    with taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError) as caught:
            listen(addresses_of("0.0.0.0") + addresses_of("127.0.0.1"), port)
        assert f":{port}: " in caught.value.strerror


def test_a_zone_stays_with_its_address() -> None:
    """Without it a link-local address is of no use."""
    name = socket.if_indextoname(1)
    address = address_in(("fe80::1", 80, 0, 1))
    assert str(address) == f"fe80::1%{name}" and is_private(address)
