"""services.scenes.sweeper: it goes on after any failure."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from services.ids import SceneStr
from services.scenes.states import Scene, State
from services.scenes.sweeper import Sweeper
from services.tasks import Supervisor
from tests.conftest import UnexpectedLogs
from tests.contracts.scenes import a_scene

pytestmark = pytest.mark.gen_test(timeout=30)


class Faulty:
    """Scenes, accounts and chat in one. What is named `bad` fails, and so does each first call."""

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.expired = 0
        self.swept = 0
        self.asked = 0
        self.done = asyncio.Event()

    def named(self, account: str) -> Any:
        return account

    async def owed(self, older_than_seconds: float, limit: int) -> Sequence[Scene]:
        self.asked += 1
        if self.asked == 1:
            raise ZeroDivisionError
        return [left("bad"), left("good")]

    async def finish_owed(self, account: Any, scene: Scene) -> None:
        if scene.scene_str == "bad":
            raise ZeroDivisionError
        self.finished.append(scene.scene_str)
        self.done.set()

    async def expire(self, limit: int) -> int:
        self.expired += 1
        if self.expired == 1:
            raise ZeroDivisionError
        self.done.set()
        return 0

    async def sweep(self) -> None:
        self.swept += 1
        if self.swept == 1:
            raise ZeroDivisionError
        self.done.set()


def left(name: str) -> Scene:
    return a_scene(0, life=0, scene_str=SceneStr(name), state=State.SCANNED, seq=2)


async def swept(faulty: Faulty, what: str) -> None:
    """One of the three loops, until it has done something after its failure."""
    parts: Any = faulty
    sweeper = Sweeper(parts, parts, parts, parts, left_after_seconds=5)
    supervisor = Supervisor()
    supervisor.spawn(getattr(sweeper, what)(), name=what)
    await faulty.done.wait()
    await supervisor.close()


async def test_one_login_that_cannot_be_finished_holds_up_no_other(logs: UnexpectedLogs) -> None:
    """It is told with its trace, and the next one is finished; so it is in the next round."""
    logs.expect("finishing left logins failed|scene bad could not be finished")
    faulty = Faulty()
    await swept(faulty, "finish_forever")
    assert faulty.finished == ["good"]


async def test_expiry_goes_on_after_a_failure(logs: UnexpectedLogs) -> None:
    """Scenes must end, whatever went wrong once."""
    logs.expect("expiry failed")
    faulty = Faulty()
    await swept(faulty, "expire_forever")
    assert faulty.expired == 2


async def test_unionids_are_learned_after_a_failure(logs: UnexpectedLogs) -> None:
    """What one round could not take up, the next one does."""
    logs.expect("taking up unionids failed")
    faulty = Faulty()
    await swept(faulty, "learn_unionids_forever")
    assert faulty.swept == 2
