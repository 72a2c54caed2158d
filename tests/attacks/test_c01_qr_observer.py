"""C1: knowing the scene, the ticket or the QR code shows and gives nothing."""

import re
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def upgrade(stack: Stack, scene_str: str, *subprotocols: str) -> tuple[int, bytes]:
    """What an upgrade with those subprotocols is refused with."""
    url = f"ws://127.0.0.1:{stack.port}/ws/{scene_str}"
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(url, subprotocols=["scanpush.v1", *subprotocols] or None):
            pass
    return refusal.value.response.status_code, bytes(refusal.value.response.body)


async def test_every_wrong_secret_gets_the_same_answer(tmp_path: Path) -> None:
    """None, the ticket, a wrong one, one of another scene, an unknown scene: no difference."""
    async with Stack(tmp_path) as stack:
        page, other = await stack.begin(), await stack.begin()
        await stack.scan(page)
        ticket = stack.code_of(page).ticket
        unknown = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
        tries = [
            (page.scene_str, ""),
            (page.scene_str, ticket),
            (page.scene_str, "x" * 43),
            (page.scene_str, page.scene_str),
            (page.scene_str, other.document["watch_token"]),
            (unknown, page.document["watch_token"]),
            ("not-a-scene", page.document["watch_token"]),
        ]
        bodies, upgrades = set(), set()
        for scene_str, secret in tries:
            headers = {"Authorization": f"Bearer {secret}"} if secret else {}
            path = f"/api/scenes/{scene_str}"
            for method, url in (("GET", path), ("DELETE", path), ("POST", f"{path}/ack")):
                body = {"seq": 3} if method == "POST" else None
                answer = await stack.http.request(method, url, headers=headers, json=body)
                bodies.add((answer.status_code, answer.content))
            offer = [f"watch.{secret}"] if re.fullmatch(r"[\w-]+", secret) else []
            upgrades.add(await upgrade(stack, scene_str, *offer))
        assert len(bodies) == 1 and bodies.pop()[0] == 401
        assert len(upgrades) == 1 and upgrades.pop()[0] == 403
        assert await page.state() == "authorized"


async def test_the_secret_is_never_taken_from_the_query(tmp_path: Path) -> None:
    """Addresses end up in logs and histories."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        token = page.document["watch_token"]
        for name in ("watch_token", "token", "access_token", "bearer"):
            path = f"{page.document['status']}?{name}={token}"
            assert (await stack.http.get(path)).status_code == 401
            assert (await upgrade(stack, f"{page.scene_str}?{name}={token}"))[0] == 403


async def test_only_the_hash_of_the_secret_is_stored(tmp_path: Path) -> None:
    """Nor are the begin cookie and the token in the database or its log."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page)
        login = (await page.poll()).json()["login"]
        stored = b"".join(path.read_bytes() for path in tmp_path.glob("scanpush.db*"))
        assert page.scene_str.encode() in stored
        for secret in (page.document["watch_token"], page.begin_cookie, login["token"]):
            assert secret.encode() not in stored


async def test_the_public_routes_tell_nothing_of_the_person(tmp_path: Path) -> None:
    """The pictures are the only thing without a secret, and are gone at the scan."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        assert (await stack.http.get(page.document["qr"]["svg"])).status_code == 200
        await stack.scan(page)
        answer = await stack.http.get(page.document["qr"]["svg"])
        assert answer.status_code == 404 and "alice" not in answer.text
