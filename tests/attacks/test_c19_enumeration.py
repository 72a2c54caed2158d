"""C19: guessing scenes tells nothing."""

from pathlib import Path

from services.clock import SystemClock
from simulator.clock import TurnableClock
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def test_unknown_ended_foreign_and_forgotten_scenes_answer_alike(tmp_path: Path) -> None:
    """Without the secret: one status, one body, the same headers but the request's id."""
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock) as stack:
        forgotten = await stack.begin()
        await stack.advance(300)
        ended, foreign = await stack.begin(), await stack.begin()
        await ended.cancel()
        unknown = "00000000-0000-4000-8000-000000000000"
        answers = []
        for scene_str in (forgotten.scene_str, ended.scene_str, foreign.scene_str, unknown):
            headers = {"Authorization": f"Bearer {'z' * 43}"}
            answer = await stack.http.get(f"/api/scenes/{scene_str}", headers=headers)
            ignored = ("x-request-id", "date")
            kept = [(k, v) for k, v in answer.headers.items() if k not in ignored]
            answers.append((answer.status_code, answer.content, tuple(kept)))
        assert len(set(answers)) == 1 and answers[0][0] == 401


async def test_pictures_of_unknown_and_ended_scenes_answer_alike(tmp_path: Path) -> None:
    """404 for both."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await page.cancel()
        answers = set()
        for scene_str in (page.scene_str, "00000000-0000-4000-8000-000000000000", "x"):
            answer = await stack.http.get(f"/api/scenes/{scene_str}/qr.svg")
            answers.add((answer.status_code, answer.content))
        assert len(answers) == 1 and answers.pop()[0] == 404


async def test_secrets_have_256_bits_and_never_repeat(tmp_path: Path) -> None:
    """Scenes are version-4 UUIDs, secrets 43 url-safe characters."""
    async with Stack(tmp_path) as stack:
        pages = [await stack.begin() for _ in range(20)]
        for values in (
            {page.scene_str for page in pages},
            {page.document["watch_token"] for page in pages},
            {page.begin_cookie for page in pages},
        ):
            assert len(values) == 20
        assert {len(page.document["watch_token"]) for page in pages} == {43}
