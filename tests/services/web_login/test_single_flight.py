"""The first caller does the work, also across nodes; the others get its result."""

import asyncio
from pathlib import Path

import pytest

from services.clock import SystemClock
from services.errors import StoreUnavailable, WeChatUnavailable
from services.web_login.oauth import TURN_SECONDS, single_flight
from simulator.clock import TurnableClock
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
        results = await asyncio.gather(*(single_flight(store, "a", 60, work) for _ in range(6)))
        assert set(results) == {"result 1"} and work.done == 1
        assert await single_flight(store, "a", 60, work) == "result 1"
        assert await single_flight(store, "b", 60, work) == "result 2"


async def test_a_turn_whose_result_is_not_kept_is_given_back(tmp_path: Path) -> None:
    """The store fails between the work and keeping what came of it."""
    async with Stack(tmp_path, faulty=True) as stack:
        store, work = stack.container.backend.scenes, Work()
        stack.scenes.refuse("replace", times=1)
        with pytest.raises(StoreUnavailable):
            await single_flight(store, "a", 60, work)
        assert await single_flight(store, "a", 60, work) == "result 2"


async def test_a_late_failure_leaves_the_next_ones_turn(tmp_path: Path) -> None:
    """A failure after the turn has expired gives back nothing."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock) as stack:
        store = stack.container.backend.scenes

        async def too_long() -> str:
            clock.advance(TURN_SECONDS + 1)
            await store.remember("turn:a", "the next one", TURN_SECONDS)
            raise WeChatUnavailable("busy")

        with pytest.raises(WeChatUnavailable):
            await single_flight(store, "a", 60, too_long)
        assert await store.recall("turn:a") == "the next one"


async def test_a_turn_without_an_end_expires(tmp_path: Path) -> None:
    """The first node was killed, or cannot reach the store: others wait a while, not for ever."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock) as stack:
        store, work = stack.container.backend.scenes, Work()
        await store.remember("turn:a", "a node that died", TURN_SECONDS)
        clock.advance(TURN_SECONDS + 1)
        assert await single_flight(store, "a", 60, work) == "result 1"
        clock.advance(TURN_SECONDS + 1)
        assert await single_flight(store, "a", 60, work) == "result 1"


async def test_a_failed_turn_is_given_back(tmp_path: Path) -> None:
    """The failure is raised to its caller; the next caller tries again."""
    async with Stack(tmp_path) as stack:
        store, work = stack.container.backend.scenes, Work(failures=1)
        with pytest.raises(WeChatUnavailable):
            await single_flight(store, "a", 60, work)
        assert await single_flight(store, "a", 60, work) == "result 2"
