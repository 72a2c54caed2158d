"""``python -m simulator`` as a newcomer meets it."""

import re
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "simulator"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30
    )


def test_prints_settings_and_stops_cleanly() -> None:
    """It prints what config.yaml needs, and Ctrl-C ends it with status 0 and no traceback."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0"],
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
    assert re.search(r'encoding_aes_key: "[A-Za-z0-9]{43}"', "".join(lines))
    assert re.search(r'app_secret: "[0-9a-f]{32}"', "".join(lines))


def test_mistakes_are_one_line() -> None:
    """A wrong argument is explained without a traceback."""
    for arguments in (("--port", "x"), ("--callback-url", "ftp://x"), ("--host", "192.0.2.1")):
        result = run(*arguments)
        assert result.returncode in (1, 2) and "Traceback" not in result.stderr
        assert result.stderr.strip()


def test_help() -> None:
    """--help says what it is for."""
    assert "--callback-url" in run("--help").stdout
