"""``python -m simulator`` as a newcomer meets it."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from services.settings.models import Settings
from simulator.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "simulator"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30
    )


def settings_printed(*arguments: str) -> str:
    """What it prints until it is ready; then Ctrl-C ends it with status 0 and no traceback."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    lines = [process.stdout.readline()]
    while "Phone page" not in lines[-1]:
        lines.append(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    return "".join(lines)


def test_prints_settings_and_stops_cleanly() -> None:
    """It prints what config.yaml needs, as YAML that its models take, an account for each URL."""
    urls = ("--callback-url", "http://127.0.0.1:1/a", "--callback-url", "http://127.0.0.1:1/b")
    printed = settings_printed(*urls, "--format", "json", "--allow", "127.0.0.0/8")
    document = yaml.safe_load(printed.partition("Phone page")[0])
    settings = Settings.model_validate(document)
    assert list(settings.wechat.accounts) == ["default", "account2"]
    assert len({account.app_id for account in settings.wechat.accounts.values()}) == 2
    assert re.search(r'encoding_aes_key: "[A-Za-z0-9]{43}"', printed)
    assert re.search(r'app_secret: "[0-9a-f]{32}"', printed)


def test_a_state_file_repeats_the_settings(tmp_path: Path) -> None:
    """With --state the second start prints what the first did, the port included."""
    state = ("--state", str(tmp_path / "state.db"))
    assert settings_printed(*state) == settings_printed(*state)


def test_mistakes_are_one_line() -> None:
    """A wrong argument is explained without a traceback."""
    for arguments in (
        ("--port", "x"),
        ("--callback-url", "ftp://x"),
        ("--host", "192.0.2.1"),
        ("--allow", "10.0.0.1/8"),
        ("--state", "/dev/null/state"),
    ):
        result = run(*arguments)
        assert result.returncode in (1, 2) and "Traceback" not in result.stderr
        assert result.stderr.strip()


def test_help() -> None:
    """--help says what it is for."""
    assert "--callback-url" in run("--help").stdout


@pytest.mark.parametrize("option", ["--host", "--lan"])
@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "*", "0", "0x0", "0.0", "[::]", "::ffff:0.0.0.0", "8.8.8.8", "134744072"]
    + ["::ffff:8.8.8.8", "2001:4860:4860::8888", "no-such-host.invalid", "a..b", ""],
)
def test_it_never_listens_to_the_world(
    option: str, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """However the address is spelt: under it any client can be any person."""
    with pytest.raises(SystemExit) as ended:
        main([option, host, "--port", "0"])
    error = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and f"argument {option}: " in error


def test_certificates_matter_only_where_callbacks_go_over_tls(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the variable."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent.pem")
    with pytest.raises(SystemExit) as ended:
        main(["--callback-url", "https://127.0.0.1/wechat/callback"])
    error = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and "error: SSL_CERT_FILE: " in error
