"""When which descriptor is pinged: pure timing."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.push.timers import SLICES_PER_SECOND, Keepalive, PingPlan


class _Pinged:
    """Remembers which descriptors were pinged; some are not there."""

    def __init__(self, open_fds: set[int]) -> None:
        self.open_fds = open_fds
        self.pinged: Counter[int] = Counter()

    def ping(self, fd: int, frame: bytes) -> bool:
        self.pinged[fd] += 1 if fd in self.open_fds else 0
        return fd in self.open_fds


def test_every_descriptor_once_an_interval():
    """Within one interval every descriptor is due exactly once."""
    plan = PingPlan(30)
    plan.due(1000.0)
    phases = [
        phase
        for step in range(1, 30 * SLICES_PER_SECOND + 1)
        for phase in plan.due(1000 + step / 4)
    ]
    assert Counter(phases) == Counter(range(plan.phases))


def test_phases_part_the_descriptors():
    """Each descriptor belongs to one phase, and neighbours to different ones."""
    plan = PingPlan(30)
    parts = [set(plan.descriptors(phase, 1000)) for phase in range(plan.phases)]
    assert set().union(*parts) == set(range(1000)) and sum(map(len, parts)) == 1000
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_long_pause():
    """After a process that was stopped for long, no peer is pinged twice in a row."""
    plan = PingPlan(2)
    plan.due(0.0)
    phases = plan.due(1000.0)
    assert len(set(phases)) == len(phases) == SLICES_PER_SECOND
    assert plan.due(1000.0) == []


@given(st.floats(1, 600), st.lists(st.floats(0, 5), max_size=60))
def test_never_much_before_its_time(interval, steps):
    """However irregular the ticks are, no peer is pinged again over a second early."""
    plan = PingPlan(interval)
    now, last = 5000.0, {}
    plan.due(now)
    for step in steps:
        now += step
        for phase in plan.due(now):
            assert now - last.get(phase, 0.0) > interval - 1.2
            last[phase] = now


def test_ticks_count_pings():
    """Pings that were written are counted, others are not."""
    written = []
    pinged = _Pinged({3, 4})
    keepalive = Keepalive(1, pinged.ping, lambda: 10, lambda: written.append(1))
    for step in range(9):
        keepalive.tick(100 + step / 4)
    assert pinged.pinged[3] == pinged.pinged[4] == 2 and len(written) == 4
