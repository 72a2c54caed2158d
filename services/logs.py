"""Logging: one line an event, structured, with the request's id, and without secrets.

Code logs through the standard library with ``extra={...}``; the formatters here write the extra
fields behind the message (console) or as members (json), and scrub everything they write, so that
no logger and no library can get round it.
"""

import json
import logging
import random
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, TextIO

from services.scrubbing import scrub, scrub_field, scrub_line
from services.settings import LoggingSettings

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request being served, for every line written meanwhile; empty outside of one."""

QUIET = ("httpx", "httpcore", "tornado.access")
"""Loggers that would write addresses: httpx each one it calls, tornado each one it serves."""

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def new_request_id() -> str:
    """Names a request in answers and logs; it keeps no secret, so no entropy is spent on it."""
    return f"{random.getrandbits(64):016x}"


def configure(settings: LoggingSettings, stream: TextIO | None = None) -> None:
    """Write to `stream` (by default stderr) from now on; calling again replaces the former call.

    The level of the settings is ours. Libraries are heard from WARNING on, whatever it is: at
    DEBUG they would write whole commands and addresses.
    """
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
    """Ours, so that `configure` finds it again."""


class ConsoleFormatter(logging.Formatter):
    """For people: time, level, logger, message, fields; a traceback on the lines below."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={_shown(value)}" for name, value in _fields(record))
        line = (
            f"{_time(record.created)} {record.levelname:<7} {record.name}: {_message(record)}"
            f"{'  ' if fields else ''}{fields}"
        )
        traceback = _traceback(self, record)
        return f"{line}\n{traceback}" if traceback else line


class JsonFormatter(logging.Formatter):
    """For machines: one JSON object a line. Our own members win over fields of the same name."""

    def format(self, record: logging.LogRecord) -> str:
        members: dict[str, Any] = dict(_fields(record))
        members |= {
            "time": _time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        if traceback := _traceback(self, record):
            members["traceback"] = traceback
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
    """Not cached on the record, where another handler would find it scrubbed or we unscrubbed."""
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return scrub("\n".join(parts))


def _shown(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text


def _time(created: float) -> str:
    """UTC with milliseconds, as RFC 3339 writes it."""
    whole, fraction = divmod(created, 1)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int(fraction * 1000):03d}Z"
