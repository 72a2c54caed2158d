"""C20: who somebody is comes from WeChat alone, whatever a client sends."""

from pathlib import Path
from typing import Any

from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def test_identity_fields_of_clients_are_ignored(tmp_path: Path) -> None:
    """In bodies, queries, headers and cookies: the scene stays nobody's."""
    async with Stack(tmp_path) as stack:
        victim = stack.sender().openid("victim")
        lies: dict[str, Any] = {
            "openid": victim,
            "unionid": victim,
            "user_id": "1",
            "state": "authorized",
            "seq": 3,
            "sub": "1",
        }
        answer = await stack.http.post(
            "/api/scenes",
            json=lies,
            params={"openid": victim, "code": "x"},
            headers={"Cookie": f"openid={victim}", "X-Openid": victim, "X-WX-OPENID": victim},
        )
        assert answer.status_code == 201
        document = answer.json()
        headers = {"Authorization": f"Bearer {document['watch_token']}"}
        path = document["status"]
        await stack.http.post(f"{path}/ack", json={**lies, "seq": 1}, headers=headers)
        await stack.http.get(path, params={"openid": victim, "state": "scanned"}, headers=headers)
        status = (await stack.http.get(path, headers=headers)).json()
        assert (status["state"], status["seq"]) == ("waiting", 1)
        people = stack.container.backend.database.reader.execute("SELECT count(*) FROM users")
        assert people.fetchone() == (0,)


async def test_the_page_never_learns_the_openid(tmp_path: Path) -> None:
    """Not in a status, not in the token, not in /api/me."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        await stack.scan(page, "alice")
        poll = await page.poll()
        token = poll.json()["login"]["token"]
        me = await stack.http.get("/api/me", headers={"Authorization": f"Bearer {token}"})
        import base64

        payload = base64.urlsafe_b64decode(token.split(".")[1] + "==").decode()
        openid = stack.sender().openid("alice")
        for text in (poll.text, me.text, payload):
            assert openid not in text and "openid" not in text and "unionid" not in text
