"""services.logs: one event is one line, with its fields and its request, and without secrets."""

import asyncio
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from services.logs import PacedLog, configure, request_id
from services.settings.models import LoggingSettings
from tests.conftest import UnexpectedLogs
from tests.processes import ROOT, environment

Configure = Callable[..., io.StringIO]


@pytest.fixture
def configured(logs: UnexpectedLogs) -> Iterator[Configure]:
    """Configures logging into a buffer, and puts everything back."""
    logs.expect("")
    root = logging.getLogger()
    loggers = [logging.getLogger(n) for n in ("scanpush", "httpx", "httpcore", "tornado.access")]
    handlers, levels = list(root.handlers), [(x, x.level) for x in (root, *loggers)]

    def start(**settings: str) -> io.StringIO:
        stream = io.StringIO()
        configure(LoggingSettings.model_validate(settings), stream)
        return stream

    yield start
    root.handlers = handlers
    for logger, level in levels:
        logger.setLevel(level)


def test_a_console_line_has_its_fields(configured: Configure) -> None:
    """Time, level, logger, message, then the fields."""
    stream = configured()
    logging.getLogger("scanpush.x").info("moved", extra={"seq": 2, "note": "two words"})
    time, rest = stream.getvalue().split(" ", 1)
    assert rest == 'INFO    scanpush.x: moved  seq=2 note="two words"\n'
    assert len(time) == len("2026-01-01T00:00:00.000Z") and time.endswith("Z")


def test_a_json_line_is_one_object(configured: Configure) -> None:
    """Fields keep their types, text stays readable."""
    stream = configured(format="json")
    logging.getLogger("scanpush.x").info("扫码 %d", 1, extra={"seq": 2, "ok": True})
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "seq": 2,
        "ok": True,
        "level": "INFO",
        "logger": "scanpush.x",
        "message": "扫码 1",
    }
    assert "扫码" in stream.getvalue()


def test_a_field_does_not_replace_a_member(configured: Configure) -> None:
    """A field that is named like a built-in member is dropped."""
    stream = configured(format="json")
    logging.getLogger("scanpush.x").info("m", extra={"level": "FATAL", "logger": "other"})
    line = json.loads(stream.getvalue())
    assert (line["level"], line["logger"]) == ("INFO", "scanpush.x")


@pytest.mark.parametrize("format", ["console", "json"])
def test_the_request_is_named(configured: Configure, format: str) -> None:
    """While it is served, and not before or after."""
    stream = configured(format=format)
    token = request_id.set("abc123")
    logging.getLogger("scanpush.x").info("inside")
    request_id.reset(token)
    logging.getLogger("scanpush.x").info("outside")
    inside, outside = stream.getvalue().splitlines()
    assert "abc123" in inside and "request_id" not in outside


@pytest.mark.parametrize("format", ["console", "json"])
def test_secrets_are_scrubbed_wherever_they_stand(configured: Configure, format: str) -> None:
    """In the message, its arguments, a field, an exception's text, a library's line."""
    stream = configured(format=format)
    log = logging.getLogger("scanpush.x")
    log.info("token=S3CRET %s", "secret=S3CRET", extra={"ticket": "S3CRET", "url": "/?S3CRET"})
    try:
        raise ValueError("GET /cgi-bin/token?secret=S3CRET&access_token=S3CRET")
    except ValueError:
        log.exception("failed")
    logging.getLogger("tornado.general").warning("bad request /x?code=S3CRET")
    log.info("openid %s", "x", extra={"openid": "oS3CRET"})
    assert "S3CRET" not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


def test_a_traceback_keeps_its_lines_on_the_console(configured: Configure) -> None:
    """People read it; in JSON it is one member of one line."""
    stream = configured()
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("scanpush.x").exception("failed")
    assert "\nTraceback (most recent call last):\n" in stream.getvalue()


def test_json_stays_one_line_with_a_traceback(configured: Configure) -> None:
    """Whatever collects the lines expects that."""
    stream = configured(format="json")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("scanpush.x").exception("fai\nled", stack_info=True)
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: no" in json.loads(line)["traceback"]


@pytest.mark.parametrize("name", ["httpx", "httpcore.connection", "tornado.access", "pymongo"])
def test_libraries_are_quiet_even_at_debug(configured: Configure, name: str) -> None:
    """They would write addresses and commands with all that is in them."""
    stream = configured(level="DEBUG")
    logging.getLogger(name).info("GET https://api.test/?anything=at-all")
    assert stream.getvalue() == ""


def test_the_level_is_ours(configured: Configure) -> None:
    """DEBUG shows scanpush's debug lines, WARNING hides its information."""
    stream = configured(level="DEBUG")
    logging.getLogger("scanpush.x").debug("seen")
    assert "seen" in stream.getvalue()
    stream = configured(level="WARNING")
    logging.getLogger("scanpush.x").info("hidden")
    assert stream.getvalue() == ""


def test_configuring_again_replaces(configured: Configure) -> None:
    """No line is written twice."""
    first, second = configured(), configured()
    logging.getLogger("scanpush.x").info("once")
    assert first.getvalue() == "" and second.getvalue().count("once") == 1


GUARDED = """
import gc, threading, warnings
from services.logs import configure, guard_output
from services.settings.models import LoggingSettings

def fail():
    raise RuntimeError("no way to redis://:pa@ss/Kranich7@host")

class Last:
    def __del__(self):
        fail()

guard_output()
configure(LoggingSettings())
warnings.warn("ssl of mongodb://u:Kranich7@host")
Last()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
print("\\u626b", flush=True)
fail()
"""


def test_what_python_itself_writes_is_scrubbed() -> None:
    """Tracebacks of the process, of a thread and of a finalizer; a warning is a line of the log;
    a terminal without Chinese gets escapes."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", GUARDED],
        cwd=ROOT,
        env={**environment(), "PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "Kranich7" not in done.stdout + done.stderr
    assert done.stderr.count("RuntimeError: no way to redis://***@host") == 3
    assert re.search(r"WARNING py\.warnings: .*mongodb://\*\*\*@host", done.stderr)
    assert done.stdout == "\\u626b\n"


def test_what_the_event_loop_reports_is_scrubbed(configured: Configure) -> None:
    """A task whose exception was never looked at ends in a line of the log."""
    stream = configured()
    loop = asyncio.new_event_loop()
    try:
        error = OSError("no way to redis://:pa@ss/Kranich7@host")
        loop.call_exception_handler({"message": "never retrieved", "exception": error})
    finally:
        loop.close()
    assert "never retrieved" in stream.getvalue() and "Kranich7" not in stream.getvalue()


def test_a_line_that_cannot_be_written_is_told_without_its_content(
    configured: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """The library would print the message and its arguments as they are."""
    configured()
    configure(LoggingSettings(), io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    logging.getLogger("scanpush.test").warning("\u626b Kranich7")
    assert capsys.readouterr().err == (
        "a line of scanpush.test cannot be written: UnicodeEncodeError\n"
    )


def test_a_line_is_repeated_once_a_minute(
    caplog: pytest.LogCaptureFixture, logs: UnexpectedLogs
) -> None:
    """With the number of those left out; another text or level is another line."""
    logs.expect("full|empty")
    now = 1000.0
    paced = PacedLog(logging.getLogger("scanpush.paced"), lambda: now)
    for _ in range(4):
        paced.log(logging.WARNING, "full: %s", "disk", errno=28)
    paced.log(logging.ERROR, "full: %s", "disk")
    paced.log(logging.WARNING, "empty")
    now += 61
    paced.log(logging.WARNING, "full: %s", "table")
    lines = [(record.getMessage(), getattr(record, "left_out", 0)) for record in caplog.records]
    assert lines == [("full: disk", 0), ("full: disk", 0), ("empty", 0), ("full: table", 3)]
