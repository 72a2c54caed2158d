"""Once for all who ask: the first does it, also across nodes."""

import asyncio
from pathlib import Path

import pytest

from services.clock import SystemClock
from services.doors.turns import Turns
from services.errors import WeChatUnavailable
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


class Work:
    """Counts how often it is done; fails so many times first."""

    def __init__(self, failures: int = 0) -> None:
        self.done = 0
        self._failures = failures

    async def __call__(self) -> str:
        self.done += 1
        await asyncio.sleep(0)
        if self.done <= self._failures:
            raise WeChatUnavailable("busy")
        return f"result {self.done}"


async def test_two_nodes_do_it_once(tmp_path: Path) -> None:
    """They share the store and nothing else."""
    async with Stack(tmp_path, SystemClock()) as stack:
        store, work = stack.container.backend.scenes, Work()
        nodes = (Turns(store), Turns(store))
        results = await asyncio.gather(*(node.once("a", 60, work) for node in nodes * 3))
        assert set(results) == {"result 1"} and work.done == 1
        assert await nodes[0].once("a", 60, work) == "result 1"
        assert await nodes[0].once("b", 60, work) == "result 2"


async def test_a_failed_turn_is_given_back(tmp_path: Path) -> None:
    """Whoever failed hears it; the next one tries anew."""
    async with Stack(tmp_path) as stack:
        turns, work = Turns(stack.container.backend.scenes), Work(failures=1)
        with pytest.raises(WeChatUnavailable):
            await turns.once("a", 60, work)
        assert await turns.once("a", 60, work) == "result 2"
