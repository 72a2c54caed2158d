"""Codes that people type: how they look, how they are read, and how often one may guess."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from services.errors import ApiError
from services.ids import LETTERS, OpenId, SceneStr
from services.scenes.store_sqlite import SCHEMA, SqliteSceneStore
from services.scenes.typed_codes import (
    DIGITS,
    GUESS_SECONDS,
    MOST_GUESSES,
    SHOWN_SECONDS,
    TypedCodes,
)
from services.sqlite import Database
from tests.clocks import StandingClock

ALICE, BOB = OpenId("oAlice"), OpenId("oBob")
SCENE = SceneStr("3f2504e0-4f89-41d3-9a0c-0305e82c3301")
OTHER = SceneStr("3f2504e0-4f89-41d3-9a0c-0305e82c3302")


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def scenes(tmp_path: Path, clock: StandingClock, io_loop: IOLoop) -> Iterator[SqliteSceneStore]:
    database = Database(tmp_path / "scanpush.db", "NORMAL", (SCHEMA,))

    async def open_it() -> None:
        database.open()

    io_loop.run_sync(open_it)
    yield SqliteSceneStore(database, clock, lambda notice: None)
    io_loop.run_sync(database.close)


@pytest.fixture
def codes(scenes: SqliteSceneStore) -> TypedCodes:
    return TypedCodes(scenes, 6, "digits")


async def wrong(codes: TypedCodes, right: str, message: str, openid: OpenId = ALICE) -> None:
    """A guess that is certainly wrong."""
    code = str((int(right) + 1) % 10**6).zfill(6)
    assert await codes.guess("default", openid, code, message=message) is None


@pytest.mark.gen_test
async def test_a_code_leads_to_its_scene(codes: TypedCodes) -> None:
    """Six digits, found under its account only."""
    code = await codes.give("default", SCENE, 180)
    assert len(code) == 6 and set(code) <= set(DIGITS)
    assert await codes.guess("default", ALICE, code, message="1") == SCENE
    assert await codes.guess("second", ALICE, code, message="2") is None


@pytest.mark.gen_test
async def test_letters_have_no_vowels(scenes: SqliteSceneStore) -> None:
    """Eight letters of RFC 8628's alphabet; small ones, spaces and hyphens are understood."""
    codes = TypedCodes(scenes, 8, "letters")
    code = await codes.give("default", SCENE, 180)
    assert len(code) == 8 and set(code) <= set(LETTERS) and not set(LETTERS) & set("AEIOUY0123")
    assert codes.read(f" {code[:4].lower()}-{code[4:]} ") == code


READINGS = {
    "123456": "123456",
    " 123456\n": "123456",
    "１２３４５６": "123456",
    "123 456": "123456",
    "123-456": "123456",
    "12345": None,
    "1234567": None,
    "12345a": None,
    "code 123456": None,
    "": None,
    "一二三四五六": None,
    "١٢٣٤٥٦": None,
    "½23456": None,
    "1" * 100_000: None,
}


@pytest.mark.parametrize(("message", "code"), READINGS.items(), ids=range(len(READINGS)))
def test_a_message_is_a_code_or_none(codes: TypedCodes, message: str, code: str | None) -> None:
    """The whole message must look like one; full-width digits do."""
    assert codes.read(message) == code


@pytest.mark.gen_test
async def test_a_code_lives_as_long_as_its_scene(codes: TypedCodes, clock: StandingClock) -> None:
    """Then it is wrong, like one that never was, and may be given to another scene."""
    code = await codes.give("default", SCENE, 180)
    clock.seconds += 181
    assert await codes.guess("default", ALICE, code, message="1") is None


@pytest.mark.gen_test
async def test_no_two_scenes_have_one_code(scenes: SqliteSceneStore) -> None:
    """A code that waits is not given out again; when none is free, that is said."""
    codes = TypedCodes(scenes, 1, "digits")
    given: list[str] = []
    with pytest.raises(ApiError) as refused:
        for number in range(100):
            scene_str = SceneStr(f"{OTHER[:-3]}{number:03}")
            given.append(await codes.give("default", scene_str, 180))
    assert len(given) == len(set(given)) <= 10
    assert (refused.value.code, refused.value.retry_after) == ("overloaded", 5)


@pytest.mark.gen_test
async def test_codes_are_expected_while_some_may_be_shown(
    codes: TypedCodes, clock: StandingClock
) -> None:
    """Per account, as long as any scene may live, also when a shorter one follows."""
    assert not await codes.expected("default")
    await codes.give("default", SCENE, SHOWN_SECONDS)
    await codes.give("default", OTHER, 60)
    clock.seconds += SHOWN_SECONDS - 1
    assert await codes.expected("default") and not await codes.expected("second")
    clock.seconds += 2
    assert not await codes.expected("default")


@pytest.mark.gen_test
async def test_five_wrong_codes_lock_their_author(codes: TypedCodes, clock: StandingClock) -> None:
    """The right one is refused then, too; others are not touched; ten minutes later all is well."""
    code = await codes.give("default", SCENE, 1800)
    for number in range(MOST_GUESSES):
        await wrong(codes, code, f"m{number}")
    with pytest.raises(ApiError) as locked:
        await codes.guess("default", ALICE, code, message="right")
    assert locked.value.code == "rate_limited"
    assert await codes.guess("default", BOB, code, message="b") == SCENE
    clock.seconds += GUESS_SECONDS + 1
    assert await codes.guess("default", ALICE, code, message="later") == SCENE


@pytest.mark.gen_test
async def test_repeats_of_a_message_count_once(codes: TypedCodes) -> None:
    """WeChat delivers four times within a second; a slip of the finger is still one slip."""
    code = await codes.give("default", SCENE, 180)
    await asyncio.gather(*(wrong(codes, code, "the same") for _ in range(20)))
    assert await codes.guess("default", ALICE, code, message="right") == SCENE


@pytest.mark.gen_test
async def test_guesses_at_the_same_moment_gain_nothing(codes: TypedCodes) -> None:
    """Of fifty at once, five are looked up."""
    code = await codes.give("default", SCENE, 180)
    guesses = (wrong(codes, code, f"m{number}") for number in range(50))
    results = await asyncio.gather(*guesses, return_exceptions=True)
    assert sum(isinstance(result, ApiError) for result in results) == 45


@pytest.mark.gen_test
async def test_right_codes_neither_lock_nor_unlock(codes: TypedCodes) -> None:
    """Logging in ten times is no guessing, and one's own codes buy no further guesses."""
    code = await codes.give("default", SCENE, 1800)
    for number in range(10):
        assert await codes.guess("default", ALICE, code, message=f"r{number}") == SCENE
    for number in range(MOST_GUESSES):
        await wrong(codes, code, f"w{number}")
    with pytest.raises(ApiError):
        await codes.guess("default", ALICE, code, message="x")


@pytest.mark.gen_test
async def test_old_right_codes_buy_no_guesses_in_the_next_window(
    codes: TypedCodes, clock: StandingClock
) -> None:
    """What was right at the end of one window does not count in the next."""
    code = await codes.give("default", SCENE, 1800)
    await wrong(codes, code, "opens the window")
    clock.seconds += GUESS_SECONDS - 5
    for number in range(10):
        assert await codes.guess("default", ALICE, code, message=f"r{number}") == SCENE
    clock.seconds += 10
    for number in range(MOST_GUESSES):
        await wrong(codes, code, f"w{number}")
    with pytest.raises(ApiError):
        await codes.guess("default", ALICE, code, message="x")
