"""What deploy/nginx.conf lets one address do."""

import asyncio
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from deploy.cluster import rendered_nginx
from deploy.programs import free_port
from tests.servers import need
from tests.stack import WITHIN_SECONDS

pytestmark = [pytest.mark.nginx, pytest.mark.gen_test(timeout=60)]

REQUESTS = 900
"""Below what nginx serves on one connection."""


async def statuses(folder: Path, path: str, *, exempt: bool) -> Counter[bytes]:
    """The answers to many requests at once on one connection."""
    nginx = need("nginx", hint="scripts/test installs it")
    port = free_port()
    conf = folder / "nginx.conf"
    conf.write_text(rendered_nginx(folder, port, [free_port()]))
    site = folder / "site.conf"
    if not exempt:
        site.write_text(site.read_text().replace("127.0.0.0/8  0;", "127.0.0.0/8  1;"))
    # No node is needed: its answer is an empty file.
    www = folder / "www"
    (www / "wechat").mkdir(parents=True)
    for name in ("healthz", "wechat/callback"):
        (www / name).touch()
    site.write_text(site.read_text().replace("proxy_pass http://scanpush;", f"root {www};"))
    process = subprocess.Popen([str(nginx), "-c", str(conf), "-p", str(folder)])
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except OSError:
                    await asyncio.sleep(0.02)
        request = f"GET {path} HTTP/1.1\r\nHost: a\r\n".encode()
        writer.write((REQUESTS - 1) * (request + b"\r\n") + request + b"Connection: close\r\n\r\n")
        async with asyncio.timeout(WITHIN_SECONDS):
            answers = await reader.read()
        writer.close()
    finally:
        process.terminate()
        process.wait(WITHIN_SECONDS)
    return Counter(line.split()[1] for line in answers.split(b"\r\n") if line[:9] == b"HTTP/1.1 ")


async def test_a_flood_of_one_address_is_refused(tmp_path: Path) -> None:
    """Beyond what a page needs, and an office of pages."""
    answers = await statuses(tmp_path, "/healthz", exempt=False)
    assert answers[b"200"] >= 500 and answers[b"429"] >= 1


@pytest.mark.parametrize(("path", "exempt"), [("/wechat/callback", False), ("/healthz", True)])
async def test_wechat_and_this_machine_are_not_limited(
    tmp_path: Path, path: str, exempt: bool
) -> None:
    """All of WeChat's messages come from few addresses; load is made on this machine."""
    assert await statuses(tmp_path, path, exempt=exempt) == {b"200": REQUESTS}
