"""services.rate_limits: who counts as one, how often, and whom a proxy may vouch for."""

from collections.abc import Sequence
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.origins import client_address
from services.rate_limits import MemoryWindows, RateLimits, seconds_to_wait
from services.settings.models import LimitSettings

OFFICE = "203.0.113.0/24"


class Time:
    def __init__(self) -> None:
        self.now = 6_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def limits(time: Time, per_minute: int = 3, exempt: Sequence[str] = ()) -> RateLimits:
    settings = LimitSettings.model_validate(
        {"scenes_per_minute_per_address": per_minute, "exempt": list(exempt)}
    )
    return RateLimits(settings, MemoryWindows(time))


async def allowed(limits: RateLimits, address: str, times: int) -> int:
    """How many of so many tries were allowed."""
    return [await limits.allow("scenes", address) for _ in range(times)].count(None)


@pytest.mark.gen_test
async def test_an_address_has_its_number_a_minute(time: Time) -> None:
    """And then waits (threat C18)."""
    limited = limits(time)
    assert await allowed(limited, "192.0.2.1", 10) == 3
    wait = await limited.allow("scenes", "192.0.2.1")
    assert wait is not None and 0 < wait <= 60


@pytest.mark.gen_test
async def test_others_are_not_held_up(time: Time) -> None:
    """One flood does not keep the neighbours out."""
    limited = limits(time)
    await allowed(limited, "192.0.2.1", 1000)
    assert await allowed(limited, "192.0.2.2", 3) == 3


@pytest.mark.gen_test
async def test_waiting_as_told_is_enough(time: Time) -> None:
    """The answer's Retry-After is true, wherever in the minute one asks."""
    limited = limits(time)
    for start in (0, 17, 42, 59.5):
        time.now = 60_000 + 600 * start + start
        await allowed(limited, "192.0.2.1", 3)
        time.now += 0.1
        wait = await limited.allow("scenes", "192.0.2.1")
        assert wait is not None
        time.now += int(wait) + 1
        assert await limited.allow("scenes", "192.0.2.1") is None


@pytest.mark.gen_test
async def test_no_two_minutes_at_once_at_the_border(time: Time) -> None:
    """The window slides: a burst at the end of one minute counts in the next."""
    limited = limits(time, per_minute=30)
    time.now = 6_059
    assert await allowed(limited, "192.0.2.1", 30) == 30
    time.now = 6_061
    assert await allowed(limited, "192.0.2.1", 30) <= 1


@pytest.mark.gen_test
async def test_what_was_refused_does_not_count(time: Time) -> None:
    """Asking on and on does not prolong the wait."""
    limited = limits(time)
    await allowed(limited, "192.0.2.1", 500)
    time.now += 120
    assert await allowed(limited, "192.0.2.1", 3) == 3


@pytest.mark.gen_test
async def test_an_ipv6_household_is_one(time: Time) -> None:
    """By /64: it has billions of addresses there."""
    limited = limits(time)
    assert await allowed(limited, "2001:db8:0:1::1", 3) == 3
    assert await allowed(limited, "2001:db8:0:1:ffff::2", 1) == 0
    assert await allowed(limited, "2001:db8:0:2::1", 1) == 1


@pytest.mark.gen_test
async def test_exempt_networks_have_no_limit(time: Time) -> None:
    """An office behind one address."""
    limited = limits(time, exempt=[OFFICE])
    assert await allowed(limited, "203.0.113.9", 50) == 50
    assert await allowed(limited, "203.0.114.9", 50) == 3


@pytest.mark.gen_test
async def test_zero_means_none(time: Time) -> None:
    """A load test sets it."""
    assert await allowed(limits(time, per_minute=0), "192.0.2.1", 200) == 200


@pytest.mark.gen_test
async def test_old_counts_are_forgotten(time: Time) -> None:
    """Two minutes after the last try nothing of an address is left in memory."""
    windows = MemoryWindows(time)
    for number in range(100):
        await windows.acquire(f"scenes:{number}", 3, 60)
    time.now += 120
    await windows.acquire("scenes:new", 3, 60)
    assert await windows.window("scenes:5", 60) == (0, 60, 0, 120)
    assert sum(len(w.previous) + len(w.current) for w in windows._windows.values()) == 1


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("203.0.113.1", None),
        ("::ffff:203.0.113.1", None),
        ("", ""),
        ("not an address", "not an address"),
    ],
)
def test_an_address_belongs_to_a_group(time: Time, address: str, group: str | None) -> None:
    """What sockets are counted by too; None is exempt."""
    assert limits(time, exempt=[OFFICE]).group(address) == group


@given(st.integers(1, 100), st.integers(0, 100), st.integers(0, 100), st.floats(0.001, 60))
def test_the_wait_is_never_too_short(limit: int, previous: int, current: int, left: float) -> None:
    """After it, and a moment, the window has room, if no other try came."""
    previous, current = min(previous, limit), min(current, limit)
    wait = seconds_to_wait(limit, 60, previous, left, current, left + 60) + 0.01
    if wait < left:
        weight = previous * (left - wait) / 60 + current
    else:
        weight = current * max(0.0, 60 - (wait - left)) / 60
    assert int(weight) + 1 <= limit


# Whom to believe (threat C25)

PROXIES = [ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48")]


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        # A stranger's header is not even read.
        ("192.0.2.1", "203.0.113.5", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        # What the client put there itself stands further left.
        ("10.0.0.1", "203.0.113.5, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.5, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        # A client that pretends to be a proxy gains nothing.
        ("10.0.0.1", "203.0.113.5, 10.0.0.9, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.7, 10.0.0.2", "10.0.0.7"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1, garbage", "10.0.0.1"),
        ("10.0.0.1", ",", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        ("10.0.0.1", "[2001:db8::5]:4711", "2001:db8::5"),
        ("10.0.0.1", "2001:DB8:0:0::5", "2001:db8::5"),
        ("::ffff:10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:ffff::1", "192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "", "fe80::1"),
        ("", "192.0.2.1", ""),
    ],
)
def test_only_listed_proxies_are_believed(remote: str, forwarded: str, client: str) -> None:
    """From the right, the first hop that is no listed proxy is the client."""
    assert client_address(remote, forwarded, PROXIES) == client


def test_without_listed_proxies_no_header_counts() -> None:
    """Not even from this machine."""
    assert client_address("127.0.0.1", "192.0.2.1", ()) == "127.0.0.1"


@given(st.text(max_size=200))
def test_any_header_gives_an_address(forwarded: str) -> None:
    """The header is a stranger's text."""
    assert client_address("10.0.0.1", forwarded, PROXIES)


def test_a_very_long_chain_is_not_walked() -> None:
    """Only so many hops from the right are read."""
    chain = ", ".join(["192.0.2.1"] + ["10.0.0.2"] * 5000)
    assert client_address("10.0.0.1", chain, PROXIES) == "10.0.0.2"
