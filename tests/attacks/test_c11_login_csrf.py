"""C11: nobody is logged in with somebody else's login behind their back."""

from pathlib import Path

from services.ids import SceneStr
from services.scenes.begin import begun_here
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def test_only_the_browser_that_began_counts_as_such(tmp_path: Path) -> None:
    """The cookie is the proof; the public scene, another browser's cookie or none are not."""
    async with Stack(tmp_path) as stack:
        page, other = await stack.begin(), await stack.begin()
        scene = await stack.container.backend.scenes.get(SceneStr(page.scene_str))
        assert scene is not None and page.begin_cookie != other.begin_cookie
        assert begun_here(scene, page.begin_cookie)
        for wrong in (None, "", other.begin_cookie, page.scene_str, "x" * 43):
            assert not begun_here(scene, wrong)


async def test_the_token_is_in_no_address(tmp_path: Path) -> None:
    """Nothing a page is given to open holds the watch token or a login."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        addresses = [page.document["ws"], page.document["status"], *page.document["qr"].values()]
        for secret in (page.document["watch_token"], page.begin_cookie):
            assert not any(secret in str(address) for address in addresses)
