"""How calls are gathered into batches; with Redis behind it in test_redis_client.py."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from tornado.ioloop import IOLoop

from services.batching import Batcher
from services.tasks import Supervisor
from tests.conftest import UnexpectedLogs
from tests.contracts.benches import eventually


class Bench:
    """Batches to a server that answers when the test lets it."""

    RAISES = -1

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.supervisor = Supervisor()
        self._gates: list[asyncio.Event] = []
        self._calls: list[asyncio.Future[int]] = []

    def batcher(self, *, in_flight: int = 1, max_delay: float = 60.0) -> Batcher[int, int]:
        return Batcher(
            self._send,
            self.supervisor,
            name="test",
            timeout_seconds=30,
            max_batch_size=4,
            max_in_flight=in_flight,
            max_delay_seconds=max_delay,
        )

    async def _send(self, batch: Sequence[int]) -> list[int | Exception]:
        if self.RAISES in batch:
            raise RuntimeError("a bug")
        self.sent.append(list(batch))
        self._gates.append(gate := asyncio.Event())
        await gate.wait()
        return [ValueError("odd") if number % 2 else number for number in batch]

    def submit(self, batcher: Batcher[int, int], *numbers: int) -> list["asyncio.Future[int]"]:
        calls = [batcher.submit(number) for number in numbers]
        self._calls += calls
        return calls

    async def close(self) -> None:
        await self.supervisor.close()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def have_sent(self, *batches: list[int]) -> None:
        await eventually(lambda: len(self.sent) >= len(batches))
        for _ in range(5):  # turns, in which more would be sent if it could be
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
async def test_calls_of_one_turn_share_a_batch(bench: Bench) -> None:
    """Each gets its own answer, or its own exception."""
    batcher = bench.batcher()
    calls = bench.submit(batcher, 2, 3, 4)
    await bench.have_sent([2, 3, 4])
    bench.let_through(0)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert (answers[0], answers[2]) == (2, 4) and isinstance(answers[1], ValueError)


@pytest.mark.gen_test
async def test_calls_wait_for_the_batch_in_flight(bench: Bench) -> None:
    """What is submitted meanwhile is sent together when it ends, as much as a batch may hold."""
    batcher = bench.batcher()
    bench.submit(batcher, 0)
    await bench.have_sent([0])
    bench.submit(batcher, *range(2, 14, 2))
    await bench.have_sent([0])
    bench.let_through(0)
    await bench.have_sent([0], [2, 4, 6, 8])
    bench.let_through(1)
    await bench.have_sent([0], [2, 4, 6, 8], [10, 12])


@pytest.mark.gen_test
async def test_a_full_batch_does_not_wait(bench: Bench) -> None:
    """It is sent beside the others, as far as that is allowed; a part of one waits for them all."""
    batcher = bench.batcher(in_flight=3)
    bench.submit(batcher, *range(0, 36, 2))
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
    """After a while what waits is sent without it, whether submitted at the same time or later."""
    batcher = bench.batcher(in_flight=3, max_delay=0.01)
    bench.submit(batcher, 0, 2, 4, 6, 8)
    await bench.have_sent([0, 2, 4, 6], [8])
    (later,) = bench.submit(batcher, 10)
    await bench.have_sent([0, 2, 4, 6], [8], [10])
    bench.let_through(2)
    assert await later == 10


@pytest.mark.gen_test
async def test_a_bug_leaves_no_call_waiting(bench: Bench, logs: UnexpectedLogs) -> None:
    """A sender that raises is logged; each call fails, and the next batch is sent."""
    logs.expect("background task test failed")
    batcher = bench.batcher()
    calls = bench.submit(batcher, bench.RAISES, 2)
    for call in calls:
        with pytest.raises(ConnectionError):
            await call
    (later,) = bench.submit(batcher, 4)
    await bench.have_sent([4])
    bench.let_through(0)
    assert await later == 4


@pytest.mark.gen_test
async def test_a_call_given_up_is_not_sent(bench: Bench) -> None:
    """A call cancelled while it waits takes no place in a batch and harms no other."""
    batcher = bench.batcher()
    bench.submit(batcher, 0)
    await bench.have_sent([0])
    given_up, other = bench.submit(batcher, 2, 4)
    given_up.cancel()
    bench.let_through(0)
    await bench.have_sent([0], [4])
    bench.let_through(1)
    assert await other == 4


@pytest.mark.gen_test
async def test_closing_leaves_no_call_waiting(bench: Bench) -> None:
    """In flight, waiting, or submitted too late: each ends."""
    batcher = bench.batcher(in_flight=2)
    calls = bench.submit(batcher, *range(0, 20, 2))
    await bench.have_sent([0, 2, 4, 6], [8, 10, 12, 14])
    await bench.supervisor.close()
    calls += bench.submit(batcher, 100)
    for call in calls:
        with pytest.raises(ConnectionError):
            await call
