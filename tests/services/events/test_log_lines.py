"""Events for the operator, as lines of the log."""

import json
import logging

import pytest

from services.events import emit
from services.logs import JsonFormatter, short_hash


def line(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    (record,) = caplog.records
    return dict(json.loads(JsonFormatter().format(record)))


def test_an_event_is_one_structured_line(caplog: pytest.LogCaptureFixture) -> None:
    """Its type and its data are fields; what is not known is left out, but for the user."""
    caplog.set_level(logging.INFO, logger="scanpush.events")
    emit("kiosk.up", user=None, kiosk="lobby", account="", session=None)
    told = line(caplog)
    assert (told["logger"], told["event"]) == ("scanpush.events", "kiosk.up")
    assert (told["user"], told["kiosk"]) == (None, "lobby")
    assert not {"account", "session", "person"} & set(told)


def test_an_event_names_no_openid(caplog: pytest.LogCaptureFixture) -> None:
    """Only its short hash, by which other lines of the person are found."""
    caplog.set_level(logging.INFO, logger="scanpush.events")
    openid = "o" + "A" * 27
    emit("not_me", openid=openid, user="u1")
    told = line(caplog)
    assert told["person"] == short_hash(openid) and openid not in json.dumps(told)
