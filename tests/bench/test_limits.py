"""How the kit spreads sockets over processes and addresses."""

import pytest

from bench.kit import job, limits
from bench.kit.job import TooMany, WholeLoad
from bench.kit.limits import Allowance
from bench.kit.wire import Target

LOOPBACK = Allowance(per_process=19_900, per_source=limits.PORTS_PER_SOURCE, loopback=True)
REMOTE = Allowance(per_process=1_000_000, per_source=28_232, loopback=False)
SERVER = Target("http", "127.0.0.1", 8888)


def whole_load(sockets: int, processes: int = 1) -> WholeLoad:
    return WholeLoad(sockets, 500, 10, 0, 5, False, 0, "load", 10, True, False, 10, processes)


def test_workers_share_no_source_address() -> None:
    """Each worker gets addresses of its own, one for every 7,000 sockets."""
    first, second = (limits.sources(worker, 8_000, LOOPBACK) for worker in (0, 1))
    assert first == ["127.0.0.2", "127.0.0.3"]
    assert second == ["127.0.0.4", "127.0.0.5"]


def test_a_remote_server_is_reached_from_the_systems_own_address() -> None:
    """Loopback addresses are of no use towards another machine."""
    assert limits.sources(0, 100, REMOTE) == []


def test_more_sockets_than_files_take_more_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """57,000 sockets at 19,900 a process are three workers that together open all of them."""
    monkeypatch.setattr(limits, "allowance", lambda address: LOOPBACK)
    planned = job.jobs(whole_load(57_000), SERVER, None, "127.0.0.1")
    assert [job.sockets for job in planned] == [19_000, 19_000, 19_000]
    assert sum(job.rate for job in planned) == pytest.approx(500)


def test_too_many_for_the_local_ports_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Towards another machine the number of local ports is the limit, and the error says so."""
    monkeypatch.setattr(limits, "allowance", lambda address: REMOTE)
    with pytest.raises(TooMany, match="28,232 local ports"):
        job.jobs(whole_load(30_000), SERVER, None, "192.0.2.1")
