"""The file by which WeChat's console checks a domain."""

from pathlib import Path

from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def test_configured_files_are_served_and_no_others(tmp_path: Path) -> None:
    """At the top of the site, as plain text; the disk is not looked at."""
    files = {"MP_verify_aBc123.txt": "aBc123"}
    async with Stack(tmp_path, wechat={"verify_files": files}) as stack:
        answer = await stack.http.get("/MP_verify_aBc123.txt")
        assert (answer.status_code, answer.text) == (200, "aBc123")
        assert answer.headers["Content-Type"].startswith("text/plain")
        for other in ("/MP_verify_x.txt", "/robots.txt", "/a/MP_verify_aBc123.txt"):
            assert (await stack.http.get(other)).status_code == 404
