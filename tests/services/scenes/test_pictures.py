"""QR pictures: drawn off the loop, once, and not for ever kept."""

import asyncio
import threading

import pytest

from services.errors import ApiError
from services.scenes.pictures import CACHED, Pictures

pytestmark = pytest.mark.gen_test(timeout=60)


@pytest.mark.parametrize(("kind", "begins"), [("svg", b"<svg"), ("png", b"\x89PNG\r\n")])
async def test_both_kinds_are_drawn(kind: str, begins: bytes) -> None:
    """Without anything that a browser would load or run."""
    drawer = Pictures()
    picture = await drawer.draw("http://weixin.qq.com/q/02abc", kind)
    assert picture.startswith(begins) and b"<script" not in picture and b"href" not in picture
    drawer.close()


async def test_the_same_picture_is_drawn_once() -> None:
    """Also when many ask at the same moment."""
    drawer = Pictures()
    drawn = await asyncio.gather(*(drawer.draw("http://q/1", "svg") for _ in range(50)))
    assert all(one is drawn[0] for one in drawn)
    assert await drawer.draw("http://q/2", "svg") != drawn[0]
    drawer.close()


async def test_the_oldest_are_forgotten() -> None:
    """Memory does not grow with the number of pages."""
    drawer = Pictures()
    for number in range(CACHED + 20):
        drawn: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        drawn.set_result(b"")
        drawer._drawn.keep((str(number), "svg"), drawn)
    await drawer.draw("http://q/new", "svg")
    assert len(drawer._drawn) == CACHED
    drawer.close()


async def test_who_gives_up_does_not_spoil_it_for_the_others() -> None:
    """A cancelled request leaves the drawing to those who still wait."""
    drawer = Pictures()
    first = asyncio.ensure_future(drawer.draw("http://q/3", "png"))
    second = asyncio.ensure_future(drawer.draw("http://q/3", "png"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).startswith(b"\x89PNG")
    drawer.close()


async def test_a_picture_that_waits_too_long_is_asked_for_again() -> None:
    """Others were to be drawn before: the caller is told when to come again, and nothing of it is a
    failure for the log."""
    drawer, freed = Pictures(drawing_seconds=0.01), threading.Event()
    drawer._threads.submit(freed.wait)
    with pytest.raises(ApiError) as caught:
        await drawer.draw("http://q/5", "svg")
    assert (caught.value.code, caught.value.retry_after) == ("overloaded", 2)
    freed.set()
    drawer.close()


async def test_a_drawing_that_failed_is_tried_again() -> None:
    """A failure is not kept like a picture."""
    drawer = Pictures()
    failed: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    failed.set_exception(MemoryError())
    drawer._drawn["http://q/4", "svg"] = failed
    assert (await drawer.draw("http://q/4", "svg")).startswith(b"<svg")
    drawer.close()
