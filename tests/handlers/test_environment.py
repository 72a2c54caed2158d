"""``server.py`` in other people's environments: one line and exit code 2, or it starts."""

import logging
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import server
from tests.conftest import UnexpectedLogs
from tests.processes import ROOT, Program, ServerProcess, run, write_config

ACCOUNT = {
    "app_id": "wx1234567890abcdef",
    "app_secret": "0123456789abcdef" * 2,
    "callback_token": "pushtoken2024",
    "encoding_aes_key": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
}

Checked = Callable[..., tuple[int, str, str]]


@pytest.fixture
def checked(
    tmp_path: Path, logs: UnexpectedLogs, capsys: pytest.CaptureFixture[str]
) -> Iterator[Checked]:
    """Runs ``--check-config`` in this process, with an account (or without), in an environment."""
    logs.expect("")
    root, own = logging.getLogger(), logging.getLogger("scanpush")
    handlers, levels = list(root.handlers), (root.level, own.level)

    def check(*, real: bool = True, **environ: str) -> tuple[int, str, str]:
        wechat = {"wechat": {"accounts": {"default": ACCOUNT}}} if real else {}
        config = write_config(tmp_path, **wechat)
        code = server.main(["--config", str(config), "--check-config"], environ)
        out, err = capsys.readouterr()
        return code, out, err

    yield check
    root.handlers = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])


BAD = [
    ("HTTP_PROXY", "ftp://127.0.0.1:21"),
    ("https_proxy", "socks5h://127.0.0.1:7890"),
    ("ALL_PROXY", "socks5://127.0.0.1:7890"),
    ("all_proxy", "socks://127.0.0.1:7890"),
    ("HTTPS_PROXY", "socks4://127.0.0.1:1"),
    ("HTTP_PROXY", ":8080"),
    ("HTTPS_PROXY", "http://127.0.0.1:7890\n"),
    ("HTTPS_PROXY", "http://user:Kranich7/Elbe4@127.0.0.1:7890"),
    ("SSL_CERT_FILE", "/nonexistent.pem"),
    ("SSL_CERT_FILE", "/"),
    ("SSL_CERT_FILE", __file__),
    ("SSL_CERT_DIR", "/nonexistent"),
    ("SCANPUSH_PORT", "8889"),
    ("SCANPUSH_SERVICE_HOST", "example"),
]


@pytest.mark.parametrize(("variable", "value"), BAD)
def test_the_check_names_the_variable(checked: Checked, variable: str, value: str) -> None:
    """In one line, with exit code 2, and without a password."""
    code, out, err = checked(**{variable: value})
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"scanpush: {variable}: ") and "Kranich7" not in err


@pytest.mark.parametrize(
    ("variable", "value"), [pair for pair in BAD if not pair[0].startswith("SCANPUSH_")]
)
def test_none_of_it_matters_to_a_first_try(checked: Checked, variable: str, value: str) -> None:
    """Where WeChat is simulated, nothing leaves the machine."""
    code, out, err = checked(real=False, **{variable: value})
    assert (code, err) == (0, "") and out.endswith(": ok\n")


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "[::1],fd00::/8,::1/128,[::1]:8080"}, ""),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "[::1,b"}, "WARNING .*NO_PROXY: entry 1 of 2"),
        ({"SSLKEYLOGFILE": "/nonexistent/keys"}, "WARNING .*SSLKEYLOGFILE: "),
        (
            {"SCANPUSH_PORT": "tcp://10.0.0.1:8888", "SCANPUSH_REDIS_SERVICE_HOST": "10.0.0.2"},
            "INFO .*skipped: SCANPUSH_PORT, SCANPUSH_REDIS_SERVICE_HOST$",
        ),
    ],
)
def test_what_is_skipped_is_told_in_one_line(
    checked: Checked, environ: dict[str, str], line: str
) -> None:
    """And all else is used."""
    code, out, err = checked(**environ)
    assert code == 0 and out.endswith(": ok\n")
    assert err.count("\n") == bool(line) and re.search(line, err)


def test_a_host_without_an_address_is_told_by_the_check(checked: Checked) -> None:
    """Before anything is opened."""
    code, _, err = checked(SCANPUSH_SERVER__HOST="no-such-host.invalid")
    assert code == 2 and err.startswith("scanpush: server.host: ") and err.count("\n") == 1


@pytest.mark.gen_test(timeout=90)
async def test_a_login_page_in_a_bad_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real process that simulates WeChat starts, whatever the environment says of the way out."""
    for variable, value in {
        "SSL_CERT_FILE": "/nonexistent.pem",
        "SSLKEYLOGFILE": "/nonexistent/keys",
        "ALL_PROXY": "socks5://127.0.0.1:1",
        "NO_PROXY": "[::1",
        "PYTHONSAFEPATH": "1",
        "PYTHONIOENCODING": "ascii:strict",
        "TZ": "Nowhere/Odd",
        "TMPDIR": "/nonexistent",
        "LC_ALL": "xx_YY.none",
        "COLUMNS": "wide",
    }.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("HOME", raising=False)
    async with ServerProcess(write_config(tmp_path)) as process:
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            assert (await http.post(f"{process.url}/api/scenes")).status_code == 201
        assert await process.stop() == 0
        assert "Traceback" not in process.output


@pytest.mark.gen_test(timeout=90)
async def test_a_server_on_every_address_answers_on_both_families(tmp_path: Path) -> None:
    """And says so below an address that a person on this machine can open."""
    wechat = {"accounts": {"default": ACCOUNT}}
    config = write_config(tmp_path, server={"host": "::", "port": 0}, wechat=wechat)
    command = (sys.executable, str(ROOT / "server.py"), "--config", str(config))
    process = Program(*command, ready=r" at http://127\.0\.0\.1:(\d+) .*\nListening on (.*)\n")
    port, listening = (await process.start()).groups()
    try:
        assert listening.startswith(f"0.0.0.0:{port}") and "every" in listening
        families = ["127.0.0.1", "[::1]"] if "[::]" in listening else ["127.0.0.1"]
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            for host in families:
                assert (await http.get(f"http://{host}:{port}/healthz")).status_code == 200
    finally:
        assert await process.stop() == 0


@pytest.mark.gen_test(timeout=90)
async def test_ctrl_c_during_the_imports_is_no_traceback(tmp_path: Path) -> None:
    """A module that is imported early stands in for a slow disk: the signal comes from within."""
    (tmp_path / "yaml.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    code, out, err = await run("--check-config", PYTHONPATH=str(tmp_path))
    assert (code, out, err) == (-signal.SIGINT, "", "")
