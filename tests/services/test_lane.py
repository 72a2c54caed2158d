"""How calls are gathered into batches; with Redis behind it in test_redis_link.py."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from tornado.ioloop import IOLoop

from services.lane import Lane
from services.supervisor import Supervisor
from tests.conftest import UnexpectedLogs
from tests.contracts.benches import eventually


class Bench:
    """A lane to a server that answers when the test lets it."""

    RAISES = -1

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.supervisor = Supervisor()
        self._gates: list[asyncio.Event] = []
        self._calls: list[asyncio.Future[int]] = []

    def lane(self, *, at_a_time: int = 1, patience: float = 60.0) -> Lane[int, int]:
        return Lane(
            self._send,
            self.supervisor,
            name="test",
            timeout_seconds=30,
            most_in_a_batch=4,
            most_under_way=at_a_time,
            patience_seconds=patience,
        )

    async def _send(self, batch: Sequence[int]) -> list[int | Exception]:
        if self.RAISES in batch:
            raise RuntimeError("a bug")
        self.sent.append(list(batch))
        self._gates.append(gate := asyncio.Event())
        await gate.wait()
        return [ValueError("odd") if number % 2 else number for number in batch]

    def ask(self, lane: Lane[int, int], *numbers: int) -> list["asyncio.Future[int]"]:
        calls = [lane.ask(number) for number in numbers]
        self._calls += calls
        return calls

    async def close(self) -> None:
        await self.supervisor.close()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def have_sent(self, *batches: list[int]) -> None:
        await eventually(lambda: len(self.sent) >= len(batches))
        for _ in range(5):  # turns, in which more would leave if it could
            await asyncio.sleep(0)
        assert self.sent == list(batches)

    def let_through(self, number: int) -> None:
        self._gates[number].set()


@pytest.fixture
def bench(io_loop: IOLoop) -> Iterator[Bench]:
    bench = Bench()
    yield bench
    io_loop.run_sync(bench.close)


@pytest.mark.gen_test
async def test_calls_of_one_turn_travel_together(bench: Bench) -> None:
    """Each gets its own answer, or its own exception."""
    lane = bench.lane()
    calls = bench.ask(lane, 2, 3, 4)
    await bench.have_sent([2, 3, 4])
    bench.let_through(0)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert (answers[0], answers[2]) == (2, 4) and isinstance(answers[1], ValueError)


@pytest.mark.gen_test
async def test_calls_wait_for_the_batch_before(bench: Bench) -> None:
    """What is asked meanwhile leaves together when it ends, as much as a batch may hold."""
    lane = bench.lane()
    bench.ask(lane, 0)
    await bench.have_sent([0])
    bench.ask(lane, *range(2, 14, 2))
    await bench.have_sent([0])
    bench.let_through(0)
    await bench.have_sent([0], [2, 4, 6, 8])
    bench.let_through(1)
    await bench.have_sent([0], [2, 4, 6, 8], [10, 12])


@pytest.mark.gen_test
async def test_a_full_batch_does_not_wait(bench: Bench) -> None:
    """It leaves beside the others, as far as that is allowed; a part of one waits for them all."""
    lane = bench.lane(at_a_time=3)
    bench.ask(lane, *range(0, 36, 2))
    first = [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18, 20, 22]]
    await bench.have_sent(*first)
    bench.let_through(1)
    await bench.have_sent(*first, [24, 26, 28, 30])
    bench.let_through(0)
    bench.let_through(2)
    await bench.have_sent(*first, [24, 26, 28, 30])
    bench.let_through(3)
    await bench.have_sent(*first, [24, 26, 28, 30], [32, 34])


@pytest.mark.gen_test
async def test_one_batch_that_hangs_does_not_hold_up_others(bench: Bench) -> None:
    """After a while what waits leaves without it, whether asked at the same time or later."""
    lane = bench.lane(at_a_time=3, patience=0.01)
    bench.ask(lane, 0, 2, 4, 6, 8)
    await bench.have_sent([0, 2, 4, 6], [8])
    (later,) = bench.ask(lane, 10)
    await bench.have_sent([0, 2, 4, 6], [8], [10])
    bench.let_through(2)
    assert await later == 10


@pytest.mark.gen_test
async def test_a_bug_leaves_no_call_waiting(bench: Bench, logs: UnexpectedLogs) -> None:
    """A sender that raises is logged; every caller gets an error, and the next batch leaves."""
    logs.expect("background task test failed")
    lane = bench.lane()
    calls = bench.ask(lane, bench.RAISES, 2)
    for call in calls:
        with pytest.raises(ConnectionError):
            await call
    (later,) = bench.ask(lane, 4)
    await bench.have_sent([4])
    bench.let_through(0)
    assert await later == 4


@pytest.mark.gen_test
async def test_a_call_given_up_is_not_sent(bench: Bench) -> None:
    """A call that is cancelled while waiting takes no place in a batch and harms no other."""
    lane = bench.lane()
    bench.ask(lane, 0)
    await bench.have_sent([0])
    given_up, other = bench.ask(lane, 2, 4)
    given_up.cancel()
    bench.let_through(0)
    await bench.have_sent([0], [4])
    bench.let_through(1)
    assert await other == 4


@pytest.mark.gen_test
async def test_closing_leaves_no_call_waiting(bench: Bench) -> None:
    """Sent, waiting, or asked too late: each ends."""
    lane = bench.lane(at_a_time=2)
    calls = bench.ask(lane, *range(0, 20, 2))
    await bench.have_sent([0, 2, 4, 6], [8, 10, 12, 14])
    await bench.supervisor.close()
    calls += bench.ask(lane, 100)
    for call in calls:
        with pytest.raises(ConnectionError):
            await call
