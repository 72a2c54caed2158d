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


@pytest.mark.timeout(20)
async def test_closing_ends_while_a_task_has_just_ended() -> None:
    """One that is done, and whose end the supervisor has not been told yet."""
    supervisor = Supervisor()
    task = supervisor.spawn(asyncio.sleep(0, "done"), name="just ended")
    while not task.done():
        await asyncio.sleep(0)
    assert supervisor.running == 1
    await supervisor.close()
    assert supervisor.running == 0 and task.result() == "done"


async def test_after_closing_nothing_starts() -> None:
    """What is spawned then is cancelled at once."""
    supervisor = Supervisor()
    await supervisor.close()
    late = supervisor.spawn(asyncio.sleep(60), name="late")
    with pytest.raises(asyncio.CancelledError):
        await late
