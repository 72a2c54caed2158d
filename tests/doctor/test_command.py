"""``server.py --doctor`` as its operator meets it: arguments, exit codes, JSON, Ctrl-C."""

import json
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

import server
from doctor import on_this_machine
from doctor.findings import State
from tests.doctor.benches import doctor, settings_of
from tests.processes import ROOT, Program, write_config
from tests.servers import RedisServer
from tests.stack import ON_LOOP, Stack

APP = {"app_id": "wx0123456789abcdef", "app_secret": "0123456789abcdef" * 2}
ACCOUNT = {
    **APP,
    "callback_token": "token123",
    "encoding_aes_key": "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C",
}


NOWHERE = {"simulator": False, **dict.fromkeys(("api_base", "open_base"), "http://127.0.0.1:1")}


def examined(config: Path, *arguments: str) -> int:
    return server.main(["--doctor", "--config", str(config), *arguments], {"LANG": "en_US"})


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out))


def test_without_an_account_the_rest_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shipped settings are well; nothing is made, and no server has to run."""
    config = write_config(tmp_path, server={"port": 1})
    assert examined(config, "--json") == 0
    document = told(capsys)
    assert document["ok"] is True
    states = {one["check"]: one["state"] for one in document["findings"]}
    assert states["account"] == "skipped" and states["stores"] == "ok"
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_wechat_that_is_not_reached_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line a finding, in the language asked for, and no secret in any."""
    config = write_config(
        tmp_path, server={"port": 1}, wechat={**NOWHERE, "accounts": {"default": ACCOUNT}}
    )
    assert examined(config, "--lang", "zh") == 1
    out = capsys.readouterr()
    assert "有误  credentials: 连不上微信 127.0.0.1:1：端口拒绝连接 → 请" in out.out
    assert out.out.splitlines()[-1].startswith("下一步：先解决 credentials：")
    assert out.err == ""
    for secret in ("app_secret", "callback_token", "encoding_aes_key"):
        assert ACCOUNT[secret] not in out.out


@pytest.mark.parametrize(
    ("account", "check"),
    [
        ({"encoding_aes_key": "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2"}, "encoding_aes_key"),
        ({"encoding_aes_key": ""}, "encoding_aes_key"),
        ({"callback_token": "a b"}, "callback_token"),
        ({"callback_token": ""}, "callback_token"),
        ({"app_secret": "short"}, "credentials"),
        ({"app_secret": ""}, "credentials"),
        ({"website": "short"}, "website"),
        ({"mini_program": "short"}, "mini_program"),
    ],
)
def test_a_malformed_secret_is_a_finding(
    account: dict[str, str], check: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, named by its check and its key; it is what to mend first."""
    accounts = {"default": {**ACCOUNT, **account}}
    (field,) = account
    wechat: dict[str, Any] = {"accounts": accounts}
    is_app = field in ("website", "mini_program")
    if is_app:
        wechat = {field: {**APP, "app_secret": account[field]}}
    config = write_config(tmp_path, wechat=wechat)
    assert examined(config, "--json") == 1
    document = told(capsys)
    (finding,) = document["findings"]
    assert (finding["check"], finding["state"]) == (check, "bad") and finding["remedy"]
    key = f"wechat.{field}.app_secret" if is_app else f"wechat.accounts.default.{field}"
    assert finding["what"].startswith(f"{key}: ") and document["next"]["check"] == check
    events = write_config(tmp_path, events={"url": "https://e.test", "secret": "whsec_c2hvcnQ="})
    assert examined(events, "--json") == 1
    assert told(capsys)["findings"][0]["check"] == "events"


def test_what_cannot_be_looked_at_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No file, an unknown setting, an unknown account, options without --doctor."""
    assert examined(tmp_path / "none.yaml") == 2
    assert "none.yaml" in capsys.readouterr().out
    assert examined(write_config(tmp_path, login={"nonsense": 1}), "--json") == 2
    assert told(capsys)["ok"] is False
    assert examined(write_config(tmp_path), "--account", "third") == 2
    assert "--account: there is no such account; there are default" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        server.main(["--json"], {})
    assert stopped.value.code == 2


@pytest.mark.gen_test(timeout=60)
async def test_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    """While the server hangs: exit code 2, and not a word of Python's."""
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        wechat = {**NOWHERE, "accounts": {"default": ACCOUNT}}
        config = write_config(tmp_path, server={"port": 1, "public_url": url}, wechat=wechat)
        program = Program(
            sys.executable,
            str(ROOT / "server.py"),
            "--doctor",
            "--config",
            str(config),
            ready="clock",
        )
        await program.start()
        assert await program.end(signal.SIGINT) == 2
        assert "Traceback" not in program.output


def stores_of(found: list[Any]) -> list[tuple[State, str]]:
    return [(one.state, one.text) for one in found]


@ON_LOOP
async def test_an_embedded_store_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file of another kind, a path below a file; the one in use is well, and stays as it is."""
    async with Stack(tmp_path) as stack:
        for path, expected in (
            (stack.settings.embedded.path, (State.OK, "sqlite")),
            (tmp_path / "other.db", (State.BAD, "sqlite_bad")),
            (tmp_path / "other.db" / "deeper.db", (State.BAD, "sqlite_bad")),
            (tmp_path / "new" / "scanpush.db", (State.OK, "sqlite")),
        ):
            (tmp_path / "other.db").write_text("no database, but a text of some length" * 9)
            settings = settings_of(stack)
            embedded = settings.embedded.model_copy(update={"path": path})
            async with doctor(settings.model_copy(update={"embedded": embedded})) as exam:
                found = [one async for one in on_this_machine.stores(exam)]
            assert stores_of(found) == [expected], path
        assert not (tmp_path / "new").exists()
        assert (await stack.http.get("/readyz")).status_code == 200


@ON_LOOP
@pytest.mark.redis
async def test_a_redis_that_evicts_and_a_mongodb_that_is_gone(tmp_path: Path) -> None:
    """Each by its own line, with the version and the setting."""
    redis = RedisServer(tmp_path, "--maxmemory-policy", "volatile-lru")
    redis.start()
    try:
        async with Stack(tmp_path) as stack:
            settings = settings_of(stack)
            secret = type(settings.redis.url)
            gone = secret("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100")
            update = {
                "backend": "distributed",
                "redis": settings.redis.model_copy(update={"url": secret(redis.url)}),
                "mongodb": settings.mongodb.model_copy(update={"url": gone}),
            }
            async with doctor(settings.model_copy(update=update)) as exam:
                found = [one async for one in on_this_machine.stores(exam)]
        assert stores_of(found) == [(State.WARN, "redis_evicts"), (State.BAD, "store_bad")]
        assert "volatile-lru" in found[0].what("en") and "mongodb.url" in found[1].what("en")
    finally:
        redis.stop()
