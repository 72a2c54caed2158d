"""Background tasks: held, logged once when they fail, ended at the end."""

import asyncio

import pytest

from services.tasks import Supervisor
from tests.conftest import UnexpectedLogs

pytestmark = pytest.mark.gen_test(timeout=30)


async def fails() -> None:
    raise ZeroDivisionError


async def test_a_failing_task_is_logged_once_and_harms_no_other(logs: UnexpectedLogs) -> None:
    """With its name, and its neighbour goes on."""
    logs.expect("background task broken failed")
    supervisor = Supervisor()
    goes_on = supervisor.spawn(asyncio.sleep(0.05, "done"), name="whole")
    with pytest.raises(ZeroDivisionError):
        await supervisor.spawn(fails(), name="broken")
    assert await goes_on == "done" and supervisor.running == 0
    assert len([line for line in logs.lines if "broken" in line]) == 1


async def test_closing_ends_what_runs_and_waits_for_it() -> None:
    """Also a task that takes its time to end, and one that starts another meanwhile."""
    supervisor, ended = Supervisor(), []

    async def slow(name: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            if name == "first":
                supervisor.spawn(slow("late"), name="late")
            await asyncio.sleep(0.01)
            ended.append(name)

    for name in ("first", "second"):
        supervisor.spawn(slow(name), name=name)
    await asyncio.sleep(0)
    await supervisor.close()
    assert sorted(ended) == ["first", "second"] and supervisor.running == 0


async def test_after_closing_nothing_starts() -> None:
    """What is spawned then is cancelled at once."""
    supervisor = Supervisor()
    await supervisor.close()
    late = supervisor.spawn(asyncio.sleep(60), name="late")
    with pytest.raises(asyncio.CancelledError):
        await late


@pytest.mark.gen_test
async def test_closing_in_the_turn_in_which_a_task_ends() -> None:
    """What has ended already is not waited for without end."""
    supervisor = Supervisor()
    ending = asyncio.Event()

    async def end() -> None:
        ending.set()

    supervisor.spawn(end(), name="ends")
    await ending.wait()
    assert supervisor.running == 1
    async with asyncio.timeout(5):
        await supervisor.close()
    assert supervisor.running == 0
