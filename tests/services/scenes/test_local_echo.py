"""What a node may deliver because it has just moved it, and what it must read all the same."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from services.ids import SceneStr
from services.scenes.local_echo import FRESH_SECONDS, HOLD_SECONDS, NEVER, LocalEcho
from services.scenes.states import Scene, State
from services.scenes.store import Notice
from tests.contracts.scenes import a_scene

NAME = SceneStr("3f2504e0-4f89-41d3-9a0c-0305e82c3301")


def scene(seq: int) -> Scene:
    return a_scene(0, scene_str=NAME, state=State.SCANNED, seq=seq)


def told(moves: LocalEcho) -> list[Notice]:
    """Have everything that is told written down here."""
    notices: list[Notice] = []
    moves.listen(notices.append)
    return notices


@contextmanager
def moving(moves: LocalEcho) -> Iterator[Callable[[Scene], None]]:
    """A move as a store makes it; call what this gives with the scene of the store's answer."""
    move = moves.begin(NAME)
    answers: list[Scene] = []
    try:
        yield answers.append
    finally:
        moves.end(move, answers[-1] if answers else None)


def scanned(moves: LocalEcho) -> None:
    """A scan whose login this server owes."""
    with moving(moves) as answered:
        answered(scene(2)._replace(owed=True))


@pytest.mark.gen_test
async def test_a_move_tells_of_itself() -> None:
    """Its result is there for all who want that state, or an older one."""
    moves = LocalEcho()
    notices = told(moves)
    with moving(moves) as answered:
        answered(scene(2))
    assert notices == [Notice(NAME, 2)]
    assert moves.get_nowait(NAME, 2) == moves.get_nowait(NAME, 1) == scene(2)
    assert moves.get_nowait(NAME, 3) is None


@pytest.mark.gen_test
async def test_an_answer_that_was_long_on_its_way_is_read_again() -> None:
    """Others may have moved the scene since: it is told of, and must be read."""
    moves = LocalEcho()
    notices = told(moves)
    with moving(moves) as answered:
        answered(scene(2))
        await asyncio.sleep(FRESH_SECONDS)
    assert notices == [Notice(NAME, 2)]
    assert moves.get_nowait(NAME, 2) is None


@pytest.mark.gen_test
async def test_a_move_without_an_answer_has_to_be_read() -> None:
    """Whether it happened is unknown, so the scene must be read."""
    moves = LocalEcho()
    notices = told(moves)
    with moving(moves) as answered:
        answered(scene(2))
    for failure in (ConnectionError, asyncio.CancelledError):
        with pytest.raises(failure), moving(moves):
            raise failure
    assert [notice.seq for notice in notices] == [2, NEVER, NEVER]
    assert moves.get_nowait(NAME, NEVER) is None


@pytest.mark.gen_test
async def test_a_notice_during_a_move_is_not_lost() -> None:
    """Its own comes early and tells nothing new; another node's is told of at the end."""
    moves = LocalEcho()
    notices = told(moves)
    for heard in (2, 3):
        with moving(moves) as answered:
            assert moves.expects(Notice(NAME, heard))
            answered(scene(2))
    assert notices == [Notice(NAME, 2), Notice(NAME, 3)]
    assert not moves.expects(Notice(NAME, 4))


@pytest.mark.gen_test
async def test_of_two_moves_the_last_to_end_still_tells() -> None:
    """Each tells what it knows, and what was noticed before either had its answer."""
    moves = LocalEcho()
    notices = told(moves)
    with moving(moves) as first:
        with moving(moves) as second:
            moves.expects(Notice(NAME, 5))
            second(scene(3))
        first(scene(2))
    assert [notice.seq for notice in notices] == [5, 5]
    assert moves.get_nowait(NAME, 0) == scene(3)


@pytest.mark.gen_test
async def test_what_was_replaced_is_always_heard() -> None:
    """A notice of a newer socket says more than that the scene has moved."""
    moves = LocalEcho()
    told(moves)
    with moving(moves):
        assert not moves.expects(Notice(NAME, 2, newest=7))


@pytest.mark.gen_test
async def test_without_a_listener_every_notice_is_heard() -> None:
    """Nothing else would tell of what was held back."""
    moves = LocalEcho()
    with moving(moves):
        assert not moves.expects(Notice(NAME, 2))


@pytest.mark.gen_test
async def test_what_is_remembered_is_forgotten_soon() -> None:
    """A node that slept wakes up with nothing to deliver from memory."""
    moves = LocalEcho()
    with moving(moves) as answered:
        answered(scene(2))
    await asyncio.sleep(FRESH_SECONDS + 0.05)
    assert moves.get_nowait(NAME, 2) is None


@pytest.mark.gen_test
async def test_a_scan_is_not_told_before_its_login() -> None:
    """The page sees the login at once, and the scan only where nothing follows it."""
    moves = LocalEcho()
    notices = told(moves)
    scanned(moves)
    assert moves.expects(Notice(NAME, 2))
    assert not notices
    with moving(moves) as answered:
        answered(scene(3))
    assert notices == [Notice(NAME, 3)]
    await asyncio.sleep(2 * HOLD_SECONDS)
    assert notices == [Notice(NAME, 3)]


@pytest.mark.gen_test
async def test_a_scan_that_nothing_follows_is_told() -> None:
    """The login may take a while, or fail: the page shows meanwhile that the code was scanned."""
    moves = LocalEcho()
    notices = told(moves)
    scanned(moves)
    await asyncio.sleep(2 * HOLD_SECONDS)
    assert notices == [Notice(NAME, 2)]
    assert not moves.expects(Notice(NAME, 2))


@pytest.mark.gen_test
async def test_what_is_held_holds_nothing_newer_back() -> None:
    """Another node may finish the login."""
    moves = LocalEcho()
    told(moves)
    scanned(moves)
    assert not moves.expects(Notice(NAME, 3))
