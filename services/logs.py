"""Logging: one line an event, structured, with the request's id, and without secrets.

Code logs through the standard library with ``extra={...}``; the formatters here write the extra
fields behind the message (console) or as members (json), and scrub everything they write, that of
libraries included.

Scrubbing is the last defence, not the first: code does not log secrets to begin with. But
exception texts and messages of libraries quote addresses, and WeChat wants secrets in the query
string. It masks too much rather than too little.
"""

import contextlib
import hashlib
import io
import json
import logging
import re
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import unquote_plus

from services.settings.models import LoggingSettings

MASK = "***"

MAX_URI_CHARACTERS = 400
"""Longer ones are cut: only attackers send them."""

SAFE_QUERY_KEYS = frozenset({"wait", "seq", "timestamp", "encrypt_type", "scene", "lang"})
"""What a logged address keeps the value of. Anything else might be a secret."""

SECRET_FIELDS = frozenset(
    {
        "access_token",
        "app_secret",
        "authorization",
        "callback_token",
        "cookie",
        "encoding_aes_key",
        "exchange_code",
        "js_code",
        "msg_signature",
        "refresh_token",
        "registration_token",
        "secret",
        "session_key",
        "signature",
        "ticket",
        "token",
        "url",
        "watch_token",
    }
)
"""Structured fields that are never written; ``url`` because it has a query."""

PERSON_FIELDS = frozenset({"openid", "unionid"})
"""Structured fields that are written as their `short_hash`."""

# Any name that ends so (app_secret, watch_token), and names that must stand alone (not errcode).
# A name begins where no letter precedes, or after a percent-encoded character, because addresses
# hold addresses.
_NAME = (
    r"(?:(?<![a-z_])|(?<=%[0-9a-f][0-9a-f]))"
    r"(?:[a-z_]*(?:secret|token|signature|ticket|session_key|openid|unionid|password|aes_key)"
    r"|js_code|exchange_code|auth_code|code|state|begin|key|sign)"
)
_PAIR = re.compile(rf"(?i)({_NAME})(=|%3d)((?:(?!%26)[^&\s\"'<>,;)])+)")
_QUOTED = re.compile(rf"(?i)([\"'])({_NAME})\1(\s*:\s*)([\"'])((?:(?!\4).)*)\4")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]+")
# Not from the middle of a run of its own characters: that would scan the run once for each.
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{5,}\.[\w-]+\.[\w-]*")
_WATCH = re.compile(r"\bwatch\.[\w-]{20,}")
# A line with an address that has a user part: its "user:" comes before any blank or delimiter.
_USER_PART = re.compile(r"://[^\s/?#@:]*:")
_BLANKS = re.compile(r"(\s+)")
# WeChat's openids: 28 characters that begin with "o".
_OPENID = re.compile(r"(?<![\w-])o[\w-]{27}(?![\w-])", re.ASCII)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def short_hash(openid: str) -> str:
    """Distinguishes people in the log without naming them: 10 hexadecimal digits of SHA-256."""
    return hashlib.sha256(openid.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def scrub(text: str) -> str:
    """`text` without the secrets that are known by name or form, and without the control characters
    that could forge a line (line feeds and tabs stay)."""
    # The cheap tests come first: most lines hold nothing of the kind.
    if "=" in text or "%3" in text:
        text = _PAIR.sub(rf"\1\2{MASK}", text)
    if ":" in text:
        text = _QUOTED.sub(rf"\1\2\1\3\4{MASK}\4", text)
    if "@" in text:
        text = "\n".join(map(_without_user_parts, text.split("\n")))
    lowered = text.lower()
    if "bearer " in lowered or "basic " in lowered:
        text = _BEARER.sub(rf"\1 {MASK}", text)
    if "eyJ" in text:
        text = _JWT.sub(MASK, text)
    if "watch." in text:
        text = _WATCH.sub(f"watch.{MASK}", text)
    text = _OPENID.sub(lambda found: f"openid#{short_hash(found[0])}", text)
    if text.isprintable():
        return text
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _without_user_parts(line: str) -> str:
    """`line` without what stands before an "@", which is a user part or a piece of one.

    A password that is not percent-encoded may hold any character, an "@" among them, so that only
    the last "@" is known to end it. After ``scheme://user:`` it may hold blanks too.
    """
    last = line.rfind("@")
    if last < 0:
        return line
    if (begin := _USER_PART.search(line, 0, last)) is not None:
        start = begin.start() + len("://")
        head, tail = line[:start], line[last:]
        return f"{_without_user_parts(head)}{MASK}{tail}"
    return "".join(_without_user(part) for part in _BLANKS.split(line))


def _without_user(word: str) -> str:
    before, at, host = word.rpartition("@")
    scheme, mark, user = before.partition("://")
    if not mark:
        return f"{MASK}@{host}" if any(map(str.isalnum, before)) else word
    return f"{scheme}://{MASK if user else ''}@{host}"


def scrub_uri(uri: str) -> str:
    """A request's path and the names in its query, for the access log.

    Values stay only under `SAFE_QUERY_KEYS`.
    """
    path, mark, query = uri[:MAX_URI_CHARACTERS].partition("?")
    pairs = []
    for pair in query.split("&"):
        key, equals, _ = pair.partition("=")
        if not pair or unquote_plus(key) in SAFE_QUERY_KEYS:
            pairs.append(pair)
        else:
            pairs.append(f"{key}={MASK}" if equals else MASK)  # without a name all of it is a value
    shown = "&".join(pairs)
    cut = "..." if len(uri) > MAX_URI_CHARACTERS else ""
    return scrub_line(f"{path}{mark}{shown}{cut}")


def scrub_line(text: str) -> str:
    """`scrub`, for what must stay on one line."""
    return scrub(text).replace("\n", "\\n").replace("\t", "\\t")


def scrub_field(name: str, value: object) -> object:
    """The value of a structured field as it may be written: a JSON scalar."""
    if name in SECRET_FIELDS:
        return MASK
    if name in PERSON_FIELDS and value:
        return short_hash(str(value))
    if value is None or isinstance(value, bool | int | float):
        return value
    return scrub_line(str(value))


request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request being served, for every line of that task; empty outside of a request."""

QUIET = ("httpx", "httpcore", "tornado.access")
"""Loggers that would write each address that is called (httpx) or served (tornado)."""

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure(settings: LoggingSettings, stream: TextIO | None = None) -> None:
    """Write to `stream` (by default stderr) from now on; calling again replaces the former call.

    The level of the settings is that of scanpush's own loggers. Libraries log from WARNING on.
    """
    # At DEBUG libraries would write whole commands and addresses.
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(handler)
    handler = _Handler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else ConsoleFormatter())
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("scanpush").setLevel(settings.level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Handler(logging.StreamHandler[TextIO]):
    """A class of its own, so that `configure` finds it again."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        # The base class would write the message and its arguments as they are.
        kind = sys.exc_info()[0]
        reason = "" if kind is None else f": {kind.__name__}"
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"a line of {record.name} cannot be written{reason}\n")


def guard_output() -> None:
    """Let nothing be written by Python itself, past the log, as a library worded it.

    Uncaught exceptions, those of threads and finalizers too, are written scrubbed; warnings become
    lines of the log. Characters that the terminal's encoding lacks are written as escapes.
    """
    sys.excepthook = _write_uncaught
    threading.excepthook = lambda thread: _write_uncaught(
        thread.exc_type, thread.exc_value, thread.exc_traceback
    )
    sys.unraisablehook = lambda ignored: _write_uncaught(
        ignored.exc_type, ignored.exc_value, ignored.exc_traceback
    )
    logging.captureWarnings(True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _write_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    lines = "".join(traceback.format_exception(kind, error, trace))
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(scrub(lines))


REPEAT_SECONDS = 60
"""How often `PacedLog` writes the same line."""


class PacedLog:
    """For lines that clients or a failing system could have written without end: each at most once
    a minute, with the number of those left out since as the field ``left_out``.

    Lines are the same whose level and text before formatting are. Each server has its own.
    """

    def __init__(self, log: logging.Logger, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._written: dict[tuple[int, str], float] = {}
        self._left_out: Counter[tuple[int, str]] = Counter()

    def log(self, level: int, text: str, *args: object, **fields: object) -> None:
        """Write the line with `fields` behind it, or count it."""
        line, now = (level, text), self._now()
        if now - self._written.get(line, float("-inf")) < REPEAT_SECONDS:
            self._left_out[line] += 1
            return
        self._written[line] = now
        if left_out := self._left_out.pop(line, 0):
            fields["left_out"] = left_out
        self._log.log(level, text, *args, extra=fields)


class ConsoleFormatter(logging.Formatter):
    """Time, level, logger, message, fields; a traceback on the lines below."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={_quoted(str(value))}" for name, value in _fields(record))
        line = (
            f"{_time(record.created)} {record.levelname:<7} {record.name}: {_message(record)}"
            f"{'  ' if fields else ''}{fields}"
        )
        trace = _traceback(self, record)
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line. The members named here win over extra fields of the same name."""

    def format(self, record: logging.LogRecord) -> str:
        members: dict[str, Any] = dict(_fields(record))
        members |= {
            "time": _time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        if trace := _traceback(self, record):
            members["traceback"] = trace
        return json.dumps(members, ensure_ascii=False)


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    current = request_id.get()
    if current and "request_id" not in record.__dict__:
        yield "request_id", current
    for name, value in record.__dict__.items():
        if name not in _STANDARD:
            yield name, scrub_field(name, value)


def _message(record: logging.LogRecord) -> str:
    return scrub_line(record.getMessage())


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    # Not cached on the record: another handler would find it scrubbed, or this one unscrubbed.
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return scrub("\n".join(parts))


def _quoted(text: str) -> str:
    """`text`, in quotes where the field's end would not be seen."""
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text


def _time(created: float) -> str:
    """UTC with milliseconds, as RFC 3339 writes it."""
    whole, fraction = divmod(created, 1)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int(fraction * 1000):03d}Z"
