"""``server.py`` as its operator meets it: arguments, mistakes, signals."""

import json
import re
import signal
import sqlite3
from pathlib import Path

import httpx
import pytest
import yaml
from tornado.netutil import bind_sockets
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from services.settings.models import Settings
from tests.processes import ROOT, ServerProcess, run, write_config

pytestmark = pytest.mark.gen_test(timeout=90)


APP = {"app_id": "wx0123456789abcdef", "app_secret": "0123456789abcdef" * 2}


async def refused(config: Path, key: str, **variables: str) -> str:
    """The one line on standard error with which the start stops."""
    code, out, err = await run("--config", str(config), **variables)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(f"scanpush: {key}") and "Traceback" not in err
    return err


async def test_check_config_says_ok_and_touches_nothing(tmp_path: Path) -> None:
    """Exit code 0, and neither a database nor a key is made."""
    config = write_config(tmp_path)
    assert await run("--config", str(config), "--check-config") == (0, f"{config}: ok\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


async def test_check_config_names_the_mistake(tmp_path: Path) -> None:
    """The same line as at the start."""
    config = write_config(tmp_path, login={"scene_ttl_seconds": 0})
    code, out, err = await run("--config", str(config), "--check-config")
    assert (code, out) == (2, "") and "login.scene_ttl_seconds" in err and err.count("\n") == 1


async def test_a_phone_of_a_wechat_that_is_not_simulated_is_a_mistake(tmp_path: Path) -> None:
    """``--lan`` has nothing to open there, and says so."""
    config = write_config(tmp_path, wechat={"mini_program": APP})
    code, out, err = await run("--config", str(config), "--lan")
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith("scanpush: --lan")


async def test_the_shipped_config_is_fine() -> None:
    """config.yaml runs as it is."""
    code, out, err = await run("--check-config")
    assert (code, err) == (0, "") and out.endswith("config.yaml: ok\n")


@pytest.mark.parametrize(
    ("argument", "expected"), [("--version", "scanpush "), ("--help", "usage:")]
)
async def test_version_and_help(argument: str, expected: str) -> None:
    """On standard output, exit code 0."""
    code, out, err = await run(argument)
    assert (code, err) == (0, "") and out.startswith(expected)


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--config"], ["extra"]])
async def test_wrong_arguments_are_2(arguments: list[str]) -> None:
    """With the usage, without a traceback."""
    code, out, err = await run(*arguments)
    assert (code, out) == (2, "") and "usage:" in err and "Traceback" not in err


async def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """Its name is in the line."""
    err = await refused(tmp_path / "none.yaml", "cannot read the settings file")
    assert "none.yaml" in err


async def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    """With the address and the reason."""
    (taken,) = bind_sockets(0, "127.0.0.1")
    port = taken.getsockname()[1]
    try:
        config = write_config(tmp_path, server={"port": port})
        assert f"127.0.0.1:{port}" in await refused(config, "server.port")
    finally:
        taken.close()


async def test_a_host_that_is_not_here_is_told(tmp_path: Path) -> None:
    """An address of another machine, and a name that is none."""
    for host in ("192.0.2.1", "no-such-host.invalid"):
        config = write_config(
            tmp_path,
            server={"port": 0, "host": host, "public_url": "http://127.0.0.1"},
            wechat={"simulator": False, "accounts": {"a": _account()}},
        )
        await refused(config, "server.")


async def test_data_below_a_file_is_told(tmp_path: Path) -> None:
    """A directory that cannot be made, whichever user runs the server."""
    (tmp_path / "file").write_text("")
    config = write_config(tmp_path, embedded={"path": "file/scanpush.db"})
    await refused(config, "embedded.path")
    config = write_config(tmp_path, jwt={"key_file": "file/keys.json"})
    await refused(config, "jwt.key_file")


async def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """Nor is it overwritten."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scanpush.db").write_bytes(b"my diary, not a database at all" * 100)
    await refused(write_config(tmp_path), "embedded.path")
    assert (tmp_path / "data" / "scanpush.db").read_bytes().startswith(b"my diary")


async def test_a_database_of_a_newer_scanpush_is_told(tmp_path: Path) -> None:
    """It is left as it is."""
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "scanpush.db") as database:
        database.execute("PRAGMA user_version=999")
    database.close()
    assert "newer" in await refused(write_config(tmp_path), "embedded.path")


async def test_a_broken_key_file_is_told(tmp_path: Path) -> None:
    """Without its content."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "jwt-keys.json").write_text('{"keys": [{"d": "topsecret"}]}')
    assert "topsecret" not in await refused(write_config(tmp_path), "jwt.key_file")


async def test_a_key_file_that_links_to_nothing_is_told(tmp_path: Path) -> None:
    """Exit code 2 and one line; no new key is made in its place."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "jwt-keys.json").symlink_to("unmounted/jwt-keys.json")
    assert "unmounted/jwt-keys.json" in await refused(write_config(tmp_path), "jwt.key_file")
    assert (tmp_path / "data" / "jwt-keys.json").is_symlink()


async def test_a_second_server_on_the_same_file_is_told(tmp_path: Path) -> None:
    """The first one goes on; once it has stopped, the second may start."""
    config = write_config(tmp_path)
    async with ServerProcess(config) as first:
        assert "another scanpush" in await refused(config, "embedded.path")
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{first.url}/readyz")).status_code == 200
        assert await first.stop() == 0
    async with ServerProcess(config) as second:
        assert await second.stop() == 0


async def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    """And a mistake there names the variable's key."""
    config = write_config(tmp_path)
    err = await refused(config, "login.scene_ttl_seconds", SCANPUSH_LOGIN__SCENE_TTL_SECONDS="x")
    assert "SCANPUSH_LOGIN__SCENE_TTL_SECONDS" in err


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_signals_end_it_in_good_order(tmp_path: Path, how: signal.Signals) -> None:
    """Sockets get 1001, nothing is printed but the banner and the leaving, exit code 0."""
    async with ServerProcess(write_config(tmp_path)) as server:
        async with httpx.AsyncClient() as http:
            begun = (await http.post(f"{server.url}/api/scenes")).json()
        socket_url = f"ws://127.0.0.1:{server.port}{begun['ws']}"
        subprotocols = ["scanpush.v1", f"watch.{begun['watch_token']}"]
        async with connect(socket_url, subprotocols=subprotocols) as socket:
            await socket.recv()
            server._process.send_signal(how)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 1001
        assert await server.end(signal.SIGCONT) == 0
        assert "Traceback" not in server.output and "ERROR" not in server.output


@pytest.mark.parametrize("event_loop", ["uvloop", "asyncio"])
async def test_a_login_on_either_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event_loop: str
) -> None:
    """uvloop's, and asyncio's where uvloop cannot be imported; the log says which."""
    if event_loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with ServerProcess(write_config(tmp_path)) as server, httpx.AsyncClient() as http:
        begun = (await http.post(f"{server.url}/api/scenes")).json()
        socket_url = f"ws://127.0.0.1:{server.port}{begun['ws']}"
        subprotocols = ["scanpush.v1", f"watch.{begun['watch_token']}"]
        phone = re.search(r"phone: (\S+)/phone", server.output)
        assert phone is not None
        async with connect(socket_url, subprotocols=subprotocols) as socket:
            assert json.loads(await socket.recv())["state"] == "waiting"
            scan = {"person": "alice", "url": begun["qr"]["content"]}
            await http.post(f"{phone[1]}/simulator/scan", json=scan)
            while (status := json.loads(await socket.recv()))["state"] != "authorized":
                pass
        bearer = {"Authorization": f"Bearer {status['login']['token']}"}
        assert (await http.get(f"{server.url}/api/me", headers=bearer)).status_code == 200
        assert await server.stop() == 0
        assert f"event loop: {event_loop}\n" in server.output


async def test_a_second_ctrl_c_is_harmless(tmp_path: Path) -> None:
    """Impatience is no traceback."""
    async with ServerProcess(write_config(tmp_path)) as server:
        for _ in range(3):
            server._process.send_signal(signal.SIGINT)
        assert await server.end(signal.SIGCONT) == 0
        assert "Traceback" not in server.output


async def test_the_banner_says_where_and_that_wechat_is_simulated(tmp_path: Path) -> None:
    """What a newcomer needs to know, in a few lines."""
    async with ServerProcess(write_config(tmp_path)) as server:
        assert server.url in server.output and await server.stop() == 0
        assert "SIMULATED" in server.output and "/phone" in server.output


async def test_the_key_file_is_the_owners_alone(tmp_path: Path) -> None:
    """Made at the first start with mode 0600, and kept: tokens outlive a restart."""
    config = write_config(tmp_path)
    kids = []
    for _ in range(2):
        async with ServerProcess(config) as server:
            async with httpx.AsyncClient() as http:
                jwks = (await http.get(f"{server.url}/.well-known/jwks.json")).json()
            kids.append([key["kid"] for key in jwks["keys"]])
            await server.stop()
    assert kids[0] == kids[1]
    assert (tmp_path / "data" / "jwt-keys.json").stat().st_mode & 0o777 == 0o600


def _account() -> dict[str, str]:
    return {
        "app_id": "wx1234567890abcdef",
        "app_secret": "0123456789abcdef" * 2,
        "callback_token": "pushtoken2024",
        "encoding_aes_key": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
    }


async def test_the_shipped_config_names_every_default() -> None:
    """What config.yaml says is what the code would do without it."""
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert Settings.model_validate(shipped) == Settings()


async def test_what_is_allowed_and_still_odd_is_warned_about_once(tmp_path: Path) -> None:
    """One line in the log at the start."""
    kiosks = {"lobby": {"label": "Lobby", "secret": "a-secret-for-the-lobby"}}
    async with ServerProcess(write_config(tmp_path, kiosks=kiosks)) as server:
        assert await server.stop() == 0
        assert server.output.count("operator.token: is empty, so no server can exchange") == 1
