"""C20: who a person is comes from WeChat alone, whatever a client sends."""

from pathlib import Path
from typing import Any

from tests.flows.browsers import Walker, value_of
from tests.flows.test_mini_program_login import Program
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def test_identity_fields_of_clients_are_ignored(tmp_path: Path) -> None:
    """In bodies, queries, headers and cookies: they claim no scene."""
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


def _lies(stack: Stack) -> dict[str, Any]:
    victim = stack.sender().openid("victim")
    names = ("openid", "unionid", "user_id", "person", "sub", "app_id", "appid")
    return dict.fromkeys(names, victim)


async def test_the_mini_program_cannot_say_who_it_is(tmp_path: Path) -> None:
    """Only the code counts; a person who is named beside it is not logged in."""
    async with Stack(tmp_path) as stack:
        lies, program = _lies(stack), Program(stack, "mallory")
        honest = (await program.post("login")).json()["login"]["user"]["id"]
        assert (await program.post("login", **lies)).json()["login"]["user"]["id"] == honest
        page = await stack.begin(kind="mini_program")
        for action in ("scan", "confirm"):
            body = {"scene": page.scene_str, "allow": True, **lies}
            assert (await program.post(action, **body)).status_code == 200
        assert (await page.poll()).json()["login"]["user"]["id"] == honest
        without = await stack.http.post("/api/miniprogram/login", json=lies)
        assert without.status_code == 400


async def test_browsers_cannot_say_who_they_are(tmp_path: Path) -> None:
    """In a web login, on the way to WeChat and back, and in the answer to the question."""
    async with Stack(tmp_path) as stack:
        honest, page = await stack.begin(kind="web"), await stack.begin(kind="web")
        lies = _lies(stack)
        async with Walker(stack, honest) as phone:
            await phone.walk(honest, "mallory")
        async with Walker(stack) as phone:
            off = await phone.start(page, **lies)
            back = await phone.decide_at_wechat(off.headers["Location"], "mallory")
            query = "".join(f"&{name}={value}" for name, value in lies.items())
            shown = await phone.http.get(back + query)
            origin = {"Origin": f"http://127.0.0.1:{stack.port}"}
            data = {"value": value_of(shown), "allow": "1", **lies}
            await phone.http.post("/oauth/allow", data=data, headers=origin)
        ids = {(await p.poll()).json()["login"]["user"]["id"] for p in (honest, page)}
        assert len(ids) == 1
