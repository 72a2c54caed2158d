"""The small tables of the push side: table, wheel, meter, capacity, keys, timers, ids."""

import os
import sys
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ids import SceneStr, scene_key, scene_str_of
from services.push.admission import AddressLimit, Capacity, make_room, open_file_limit
from services.push.hub import ConnectionIds, SceneTimers
from services.push.parking import CHUNK, FRAGMENTS_PER_SECOND, RateMeter, SocketState, SocketTable
from services.push.timers import TimerWheel
from tests.clocks import TurnedClock

KEY = bytes(range(16))


def test_slot():
    """A record is what was put, until it is forgotten."""
    table = SocketTable()
    table.add(7, KEY, 99)
    assert (table.key(7), table.holds(7, 99), table.state(7)) == (KEY, True, SocketState.OPEN)
    table.remove(7)
    assert (table.holds(7, 99), table.state(7), table.count) == (False, SocketState.FREE, 0)


def test_slot_reuse_starts_afresh():
    """Nothing of an older socket on the same descriptor is left."""
    table = SocketTable()
    table.add(7, KEY, 1)
    table.silence[7], table.codes[7], table.seqs[7], table.due[7] = 2, 1001, 5, 123
    table.remove(7)
    table.add(7, KEY, 2)
    assert not table.holds(7, 1)
    assert (table.silence[7], table.codes[7], table.seqs[7], table.due[7]) == (0, 0, 0, 0)


def test_slots_grow():
    """Any descriptor fits; unknown ones are free."""
    table = SocketTable()
    assert table.state(3 * CHUNK) == SocketState.FREE and not table.holds(3 * CHUNK, 1)
    table.add(3 * CHUNK, KEY, 2**52)
    assert table.holds(3 * CHUNK, 2**52) and len(table) > 3 * CHUNK
    assert len(table.keys) == len(table)


def test_buckets_give_what_is_due():
    """Records come back once their second has begun, oldest second first."""
    wheel = TimerWheel(2)
    wheel.add(12, b"cc")
    wheel.add(10, b"aa")
    wheel.add(10, b"bb")
    assert list(wheel.take(9.9, 10)) == []
    assert list(wheel.take(11.0, 10)) == [b"aa", b"bb"]
    assert len(wheel) == 1


def test_buckets_in_slices():
    """What is over the limit comes with the next call, and nothing is lost or doubled."""
    wheel = TimerWheel(1)
    for number in range(10):
        wheel.add(number % 3, bytes([number]))
    taken = [record for _ in range(4) for record in wheel.take(5, 3)]
    assert sorted(taken) == [bytes([number]) for number in range(10)]
    assert len(wheel) == 0


def test_meter():
    """So many messages a second and no more; the next second starts afresh."""
    meter = RateMeter(2)
    assert [meter.message(4, 10.0), meter.message(4, 10.5), meter.message(4, 10.9)] == [
        True,
        True,
        False,
    ]
    assert meter.message(5, 10.9) and meter.message(4, 11.0)


def test_meter_counts_fragments_apart():
    """Fragments use up no messages, and have a limit of their own."""
    meter = RateMeter(2)
    assert all(meter.fragment(4, 10.0) for _ in range(FRAGMENTS_PER_SECOND))
    assert not meter.fragment(4, 10.0)
    assert meter.message(4, 10.0)


def test_meter_without_limit():
    """0 means none."""
    meter = RateMeter(0)
    assert all(meter.message(4, 10.0) and meter.fragment(4, 10.0) for _ in range(1000))


def test_meter_forgets_a_descriptor():
    """The next owner of a descriptor does not pay for the last."""
    meter = RateMeter(1)
    assert meter.message(4, 10.0)
    meter.forget(4)
    assert meter.message(4, 10.0)


def test_capacity():
    """Room is what the limit leaves over the reserve, unfinished upgrades included."""
    capacity = Capacity(limit=20, reserve=10)
    assert capacity.has_room(9)
    capacity.opening = 1
    assert not capacity.has_room(9)
    assert Capacity(limit=20, reserve=500).sockets == 1
    assert open_file_limit() > 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the size of its table")
def test_room_for_descriptors():
    """The system's table has grown before the first socket comes, and none is left open."""
    before = os.listdir("/proc/self/fd")
    make_room(3000)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    size = next(line for line in status.splitlines() if line.startswith("FDSize"))
    assert int(size.split()[1]) >= 3000
    assert os.listdir("/proc/self/fd") == before


def test_address_limit():
    """Groups are counted, exempt addresses are not, and a place is given back once."""
    limit = AddressLimit(1, {"a": "net", "b": "net"}.get)
    assert limit.enter(1, "a") and not limit.enter(2, "b")
    assert limit.enter(3, "exempt") and limit.enter(4, "exempt")
    limit.leave(1)
    limit.leave(1)
    assert limit.enter(5, "b") and not limit.enter(6, "a")


def test_no_address_limit():
    """0 means none."""
    limit = AddressLimit(0, str)
    assert all(limit.enter(number, "a") for number in range(100))


@given(st.uuids(version=4))
def test_keys(uuid):
    """Sixteen bytes and back."""
    assert scene_key(SceneStr(str(uuid))) == uuid.bytes
    assert scene_str_of(uuid.bytes) == str(uuid)


@pytest.mark.parametrize("text", ["", "3f2504e0", "z" * 32, f"{UUID(int=7, version=4)}00"])
def test_no_key(text):
    """Only a UUID has a key."""
    with pytest.raises(ValueError, match="."):
        scene_key(SceneStr(text))


def test_connection_ids():
    """Ids are in order, and exact in Lua and JavaScript."""
    ids = ConnectionIds()
    first, second = ids.next(), ids.next()
    assert 0 < first < second < 2**53


def _timers() -> tuple[SceneTimers, SocketTable, TurnedClock]:
    table, clock = SocketTable(), TurnedClock()
    table.add(5, KEY, 1)
    return SceneTimers(table, clock), table, clock


def test_timers():
    """A scene is asked for when its time is up, not before, and once."""
    timers, _, clock = _timers()
    timers.add(5, KEY, clock.now() + 10)
    assert timers.take({KEY: 5}.get) == []
    clock.ahead = 12
    assert timers.take({KEY: 5}.get) == [KEY]
    assert timers.take({KEY: 5}.get) == []


def test_expiry_of_an_extended_scene():
    """An extended scene is asked for at its new end only."""
    timers, _, clock = _timers()
    timers.add(5, KEY, clock.now() + 10)
    timers.add(5, KEY, clock.now() + 100)
    clock.ahead = 12
    assert timers.take({KEY: 5}.get) == []
    clock.ahead = 102
    assert timers.take({KEY: 5}.get) == [KEY]


def test_expiry_of_a_socket_that_left():
    """A scene without a socket is not asked for."""
    timers, _, clock = _timers()
    timers.add(5, KEY, clock.now() + 10)
    clock.ahead = 12
    assert timers.take({}.get) == []


def test_expiry_with_a_store_clock_behind():
    """A scene that is past its end by our clock only is asked for again in a second."""
    timers, _, clock = _timers()
    timers.add(5, KEY, clock.now() - 5)
    assert timers.take({KEY: 5}.get) == []
    clock.ahead = 2
    assert timers.take({KEY: 5}.get) == [KEY]
