"""Tries on scenes: their secrets, their ids, their ends, and what a request may say of a person."""

import asyncio
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from attack.target import ANSWER_SECONDS, Broken, NotApplicable, Scene, Target

REPLACED = 4409
"""The close code of a socket whose place a newer one of the same page has taken."""

NO_TOKEN = "A" * 43


async def watch_token(target: Target) -> None:
    """Who sees the code knows the scene's id: without the watch token it brings nothing."""
    scene, other = await target.scene("a"), await target.scene("b")
    unknown = await target.ask(
        "GET", f"/api/scenes/{uuid.uuid4()}", headers={"Authorization": f"Bearer {NO_TOKEN}"}
    )
    unknown.must_be(401, why="a scene that does not exist")
    token = scene.watch_token
    stolen: list[tuple[str, Mapping[str, str]]] = [
        ("", {}),
        ("", {"Authorization": f"Bearer {NO_TOKEN}"}),
        ("", other.bearer),
        ("", {"Authorization": f"Bearer {scene.scene_str}"}),
        ("", {"Authorization": f"Bearer {token[:-1]}"}),
        ("", {"Authorization": f"Bearer {token.swapcase()}"}),
        ("", {"Authorization": "Bearer null"}),
        ("", {"Cookie": scene.cookie}),
        (f"?watch_token={token}", {}),
        (f"?access_token={token}", {}),
        (f"?token={token}", {}),
    ]
    for query, headers in stolen:
        answer = await target.ask("GET", scene.path + query, headers=headers)
        answer.must_be(401, why="a status without its watch token")
        answer.must(answer.text == unknown.text, "the refusal tells that the scene exists")
    for method, path in (("DELETE", scene.path), ("POST", f"{scene.path}/ack")):
        answer = await target.ask(method, path, headers=other.bearer, body={"seq": 1})
        answer.must_be(401, why="another page's watch token")
        await target.must_be_untouched(scene, answer)


async def socket_token(target: Target) -> None:
    """The same for sockets, where the token travels as a subprotocol."""
    scene, other = await target.scene("a"), await target.scene("b")
    for token in (None, NO_TOKEN, other.watch_token, scene.scene_str, scene.watch_token[:-1]):
        await target.must_refuse_socket(scene.scene_str, token, None, "a socket, a wrong token")
    path = f"{scene.scene_str}?watch={scene.watch_token}&token={scene.watch_token}"
    await target.must_refuse_socket(path, None, None, "a token in a socket's address")


async def ticket(target: Target) -> None:
    """What the picture of a code holds opens nothing."""
    scene = await target.begin(kind="official_account")
    code = scene.document.get("qr", {})
    seen = [code.get("content", ""), code.get("wechat_image", "").rpartition("ticket=")[2]]
    seen += [seen[0].rpartition("/")[2]]
    for text in filter(None, seen):
        plain = re.sub(r"[^!-~]", "", text)
        answer = await target.ask("GET", scene.path, headers={"Authorization": f"Bearer {plain}"})
        answer.must_be(401, why="the text of a code as a watch token")
        scene.begun.must(
            scene.watch_token not in text and scene.cookie.partition("=")[2] not in text,
            "the code holds a secret of its page",
        )
        token = plain if re.fullmatch(r"[A-Za-z0-9_-]+", plain) else NO_TOKEN
        await target.must_refuse_socket(scene.scene_str, token, None, "the text of a code")


async def two_sockets(target: Target) -> None:
    """A second socket with the right token takes the place of the first; a wrong one does not."""
    scene = await target.begin()
    request = target.socket_request(scene.scene_str, scene.watch_token, None)
    async with target.socket(scene.scene_str, scene.watch_token) as first:
        if isinstance(first, int):
            raise NotApplicable(f"no socket can be opened ({first}): see the proxy")
        await _first_status(target, first, request)
        async with target.socket(scene.scene_str, scene.watch_token) as second:
            if isinstance(second, int):
                raise Broken(f"the page cannot come back: {second}", request)
            await _first_status(target, second, request)
            if await target.closed_with(first) != REPLACED:
                raise Broken(f"the first socket is not closed with {REPLACED}", request)
            await target.must_refuse_socket(scene.scene_str, NO_TOKEN, None, "a wrong token")
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await (await second.ping())
            except (ConnectionClosed, TimeoutError):
                raise Broken("a wrong token has ended the page's own socket", request) from None


async def _first_status(target: Target, socket: ClientConnection, request: str) -> dict[str, Any]:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            document = json.loads(await socket.recv())
    except (ConnectionClosed, TimeoutError, ValueError):
        raise Broken("the socket brings no status", request) from None
    return dict(document)


async def after_the_end(target: Target) -> None:
    """What has ended stays ended, whatever comes."""
    scene = await target.begin()
    await target.ask("DELETE", scene.path, headers=scene.bearer)
    seq = (await target.state(scene)).document().get("seq", 0)
    tries = [
        await target.ask("POST", f"{scene.path}/ack", headers=scene.bearer, body={"seq": number})
        for number in (1, seq, seq + 1)
    ]
    for answer in tries:
        answer.must_refuse("an ack of a scene that has ended")
    picture = await target.ask("GET", f"{scene.path}/qr.svg")
    picture.must_be(404, why="the picture of a code that has ended")
    status = await target.state(scene)
    status.must(status.document().get("state") == "cancelled", "a scene came back to life")
    request = target.socket_request(scene.scene_str, scene.watch_token, None)
    async with target.socket(scene.scene_str, scene.watch_token) as socket:
        if not isinstance(socket, int):
            document = await _first_status(target, socket, request)
            if "login" in document or document.get("state") != "cancelled":
                raise Broken("a socket revives a scene that has ended", request)


async def enumeration(target: Target) -> None:
    """Unknown, ended and foreign scenes are told apart by nothing."""
    ended, foreign = await target.begin(), await target.scene("a")
    await target.ask("DELETE", ended.path, headers=ended.bearer)
    wrong = {"Authorization": f"Bearer {NO_TOKEN}"}
    names = [ended.scene_str, foreign.scene_str, str(uuid.uuid4()), "x", "0" * 36]
    for method, tail in (("GET", ""), ("DELETE", ""), ("POST", "/ack")):
        answers = [
            await target.ask(method, f"/api/scenes/{name}{tail}", headers=wrong, body={"seq": 1})
            for name in names
        ]
        for answer in answers:
            answer.must_be(401, why="a scene that is not the caller's")
            answer.must(answer.text == answers[0].text, "refusals differ by what there is")
    for name in names:
        await target.must_refuse_socket(name, NO_TOKEN, None, "a scene that is not the caller's")


async def ids(target: Target) -> None:
    """Ids are random, secrets have 256 bits, and none comes twice."""
    scenes = [await target.scene("a"), await target.scene("b")]
    for scene in scenes:
        try:
            version = uuid.UUID(scene.scene_str).version
        except ValueError:
            version = None
        scene.begun.must(version == 4, "the scene's id is no random UUID")
        for secret in (scene.watch_token, scene.cookie.partition("=")[2]):
            full = re.fullmatch(r"[A-Za-z0-9_-]{43,}", secret)
            scene.begun.must(full, "a secret is shorter than 256 bits")
    secrets = {scene.watch_token for scene in scenes} | {scene.cookie for scene in scenes}
    scenes[1].begun.must(len(secrets) == 4, "a secret is given out twice")


async def identity_by_parameter(target: Target) -> None:
    """A person comes from WeChat only: no field, query or header makes one."""
    claims = {"openid": "oAttacker", "unionid": "uAttacker", "user_id": "1", "state": "authorized"}
    scene = await target.begin(said=claims)
    headers = {"X-WX-OPENID": "oAttacker", "X-WX-UNIONID": "uAttacker", "X-Forwarded-User": "admin"}
    path = f"{scene.path}?wait=1&seq=0&openid=oAttacker&state=authorized"
    answer = await target.ask("GET", path, headers=scene.bearer | headers)
    await target.must_be_untouched(scene, answer)
    answer.must("login" not in answer.document(), "a parameter logs in")
    me = await target.ask("GET", "/api/me?openid=oAttacker&user_id=1", headers=headers)
    me.must_be(401, why="a person by parameter")


async def numbers(target: Target) -> None:
    """Only the page of a scene answers with a number, once it is asked, and in no other form. What
    a guess brings cannot be seen without a person who scans."""
    scene, other = await target.scene("a"), await target.scene("b")
    path, body = f"{scene.path}/number", {"seq": 1, "number": "42"}
    for headers in ({}, {"Authorization": f"Bearer {NO_TOKEN}"}, other.bearer):
        answer = await target.ask("POST", path, headers=headers, body=body)
        answer.must_be(401, why="a number from another browser")
    for value in (42, "4", "042", "４２", ["42"], {"$ne": None}, None):
        answer = await target.ask(
            "POST", path, headers=scene.bearer, body={"seq": 1, "number": value}
        )
        answer.must_be(400, why="something else in place of two digits")
    answer = await target.ask("POST", path, headers=scene.bearer, body=body)
    answer.must_be(409, why="a number that no person was asked for")
    await target.must_be_untouched(scene, answer)


def _nested(names: Mapping[str, object]) -> Iterator[dict[str, object]]:
    """The object with one field at a time made what a database would read as an operator."""
    for name in names:
        for value in ({"$ne": None}, {"$gt": ""}, ["x"], 1):
            yield {**names, name: value}


async def operators(target: Target) -> None:
    """Objects, lists and numbers where texts belong are refused, by every route that reads JSON."""
    scene: Scene = await target.scene("a")
    texts = {"kind": "web", "account": "default", "lang": "en", "kiosk": "x"}
    for body in _nested(texts):
        if body.get("kiosk") == "x":
            body.pop("kiosk")
        answer = await target.ask("POST", "/api/scenes", body=body)
        answer.must_be(400, why="an object in place of a text")
    for value in ({"$gt": 0}, [1], "1", True, 1e400, None):
        answer = await target.ask(
            "POST", f"{scene.path}/ack", headers=scene.bearer, body={"seq": value}
        )
        answer.must_be(400, why="something else in place of a number")
    tries: list[tuple[str, dict[str, object]]] = [
        ("/api/register", {"registration_token": {"$ne": None}, "name": "x"}),
        ("/api/exchange", {"exchange_code": {"$ne": None}}),
        ("/api/token/refresh", {"refresh_token": {"$ne": None}}),
        ("/api/miniprogram/login", {"code": {"$ne": None}}),
        ("/api/miniprogram/scan", {"code": {"$ne": None}, "scene": {"$ne": None}}),
    ]
    for path, strange in tries:
        answer = await target.ask("POST", path, body=strange)
        answer.must_refuse("an object in place of a text")
