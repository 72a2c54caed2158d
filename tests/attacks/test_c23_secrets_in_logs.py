"""C23: a whole life of the server at DEBUG, and none of its secrets is written anywhere."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from services.logs import configure
from services.settings.models import LoggingSettings
from simulator.messages import PushOptions
from tests.conftest import UnexpectedLogs
from tests.pushes import query_of
from tests.stack import ON_LOOP, Stack, until

pytestmark = ON_LOOP


@pytest.fixture(params=["console", "json"])
def written(request: pytest.FixtureRequest, logs: UnexpectedLogs) -> Iterator[io.StringIO]:
    """All that the server logs, as the operator's terminal or collector would get it."""
    logs.expect("")
    out = io.StringIO()
    form: Literal["console", "json"] = request.param
    before = list(logging.getLogger().handlers)
    configure(LoggingSettings(level="DEBUG", format=form), out)
    yield out
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
    logging.getLogger("scanpush").setLevel(logging.NOTSET)
    root.setLevel(logging.WARNING)


async def everything(stack: Stack) -> dict[str, str]:
    """A login by socket, one by polls, and every kind of failure; the secrets that were used."""
    page, other, sender = await stack.begin(), await stack.begin(), stack.sender()
    tokens = stack.simulation._simulated.world.tokens
    push = stack.scan_of(page)
    async with page.socket() as socket:
        await sender.send(push)
        document = await until(socket, "authorized")
        await socket.send('{"type":"ack","seq":3}')
        await until(socket, "consumed")
    await failures(stack, other, document["login"]["token"])
    await stack.scan(other, "bob")
    login = (await other.poll()).json()["login"]["token"]
    query, account = query_of(push), sender.account
    settings = stack.container.accounts.named(None).settings
    return {
        "watch token": page.document["watch_token"],
        "other watch token": other.document["watch_token"],
        "begin cookie": page.begin_cookie,
        "ticket": stack.code_of(page).ticket,
        "login": document["login"]["token"],
        "other login": login,
        "signature of the login": login.rsplit(".", 1)[1],
        "app_secret": settings.app_secret.get_secret_value(),
        "callback_token": account.callback_token,
        "encoding_aes_key": account.encoding_aes_key,
        "access_token": tokens.stable(account.app_id, False)[0],
        "signature": query["signature"],
        "msg_signature": query["msg_signature"],
        "openid": sender.openid("alice"),
        "other openid": sender.openid("bob"),
        "body": push.body.decode()[60:100],
    }


async def failures(stack: Stack, page: Any, login: str) -> None:
    """Requests that are refused, stores and WeChats that fail, secrets in wrong places."""
    sender, token = stack.sender(), page.document["watch_token"]
    for options in ({"bad_signature": True}, {"stale_seconds": 900}, {"wrong_app_id": True}):
        await sender.send(stack.scan_of(page, options=PushOptions(**options)))
    http, path = stack.http, page.document["status"]
    await http.get(f"{path}?watch_token={token}&ticket={stack.code_of(page).ticket}")
    await http.get(f"/nothing/{login}?token={login}#x")
    await http.get("/api/me", headers={"Authorization": f"Bearer {login}x"})
    await http.get(f"/ws/{page.scene_str}?watch_token={token}")
    for fault in ({"errcode": 48001}, {"status": 500}, {"drop": True}, {"errcode": 40001}):
        await stack.simulator("faults", path="/cgi-bin/qrcode/create", **fault)
        await http.post("/api/scenes", headers={"Cookie": f"begin={page.begin_cookie}"})
    await stack.simulator("faults", path="/cgi-bin/user/info", drop=True)
    for operation in ("advance", "get"):
        stack.scenes.refuse(operation, times=2)
        await page.poll()
        await sender.send(stack.scan_of(page, "carol", Event="SCAN", EventKey=page.scene_str[::-1]))
    stack.scenes.heal()
    account = stack.container.accounts.named(None)
    broken = account.gate.open
    account.gate.open = lambda *_: 1 / 0  # type: ignore[method-assign]
    await sender.send(stack.scan_of(page))
    account.gate.open = broken  # type: ignore[method-assign]


async def test_no_secret_is_written(
    tmp_path: Path, written: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither to the log, in both formats, nor past it to the terminal."""
    async with Stack(tmp_path, faulty=True, wechat={"codes_ahead": 0}) as stack:
        secrets = await everything(stack)
    printed = capfd.readouterr()
    output = written.getvalue() + printed.out + printed.err
    assert "DEBUG" in output and "ZeroDivisionError" in output and "scene" in output
    assert [name for name, secret in secrets.items() if secret in output] == []
    assert not any(len(line) > 5_000 for line in output.splitlines())


async def test_errors_hold_no_secret_and_no_trace(
    tmp_path: Path, written: io.StringIO, logs: UnexpectedLogs
) -> None:
    """An internal failure is 500 with an id to look up in the log, and nothing else."""
    logs.expect("unexpected failure|500 GET")
    async with Stack(tmp_path) as stack:
        stack.container.issuer.jwks = lambda: 1 / 0  # type: ignore[method-assign]
        answer = await stack.http.get("/.well-known/jwks.json")
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
        assert "Zero" not in answer.text
    failures = [line for line in written.getvalue().splitlines() if "unexpected failure" in line]
    assert failures and all(answer.headers["X-Request-Id"] in line for line in failures)


REFUSED = [
    ("GET", "/static/none.js", None),
    ("POST", "/static/scan-login.js", None),
    ("GET", "/oauth/allow", None),
    ("POST", "/api/scenes", "multipart/form-data"),
    ("GET", "/nothing/here", None),
]


@pytest.mark.parametrize(("method", "path", "content_type"), REFUSED)
async def test_every_refusal_in_the_log_has_its_id(
    tmp_path: Path, written: io.StringIO, method: str, path: str, content_type: str | None
) -> None:
    """Also of files, and of what is refused before any handler has looked at it."""
    headers = {"Content-Type": content_type} if content_type else {}
    async with Stack(tmp_path) as stack:
        answer = await stack.http.request(method, path, headers=headers, content=b"x")
        assert answer.status_code in (400, 404, 405)
    lines = [line for line in written.getvalue().splitlines() if f" {method} {path}" in line]
    assert lines and all(answer.headers["X-Request-Id"] in line for line in lines)


@pytest.mark.parametrize(("path", "length"), [("/ws/x", 0), ("/api/scenes", 70_000)])
async def test_refusals_below_the_application_have_their_ids_too(
    tmp_path: Path, written: io.StringIO, path: str, length: int
) -> None:
    """A socket that is refused, and a body that is not read."""
    async with Stack(tmp_path) as stack:
        answer = await stack.http.request("GET", path, content=bytes(length))
        assert answer.status_code in (413, 426)
    assert answer.headers["X-Request-Id"] in written.getvalue()
