"""Entries: their ids, their order, what is told of them, and their lines of the log."""

import json
import logging

import pytest

from services.events.entries import Entry, body, entry, entry_id
from services.events.service import note
from services.ids import UserId
from services.logs import JsonFormatter, short_hash


def line(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    (record,) = caplog.records
    return dict(json.loads(JsonFormatter().format(record)))


def test_an_event_is_one_structured_line(caplog: pytest.LogCaptureFixture) -> None:
    """Its type and its data are fields; what is not known is left out, but for the user."""
    caplog.set_level(logging.INFO, logger="scanpush.events")
    note(entry("kiosk.up", 1.0, screen="lobby"))
    told = line(caplog)
    assert (told["logger"], told["event"]) == ("scanpush.events", "kiosk.up")
    assert (told["user"], told["kiosk"]) == (None, "lobby")
    assert not {"account", "session", "person"} & set(told)


def test_an_event_names_no_openid(caplog: pytest.LogCaptureFixture) -> None:
    """Only its short hash, by which other lines of the person are found."""
    caplog.set_level(logging.INFO, logger="scanpush.events")
    openid = "o" + "A" * 27
    kept = entry("not_me", 1.0, openid=openid, user=UserId("u1"))
    note(kept)
    assert line(caplog)["person"] == kept.person == short_hash(openid)
    assert openid not in json.dumps(line(caplog)) + body(kept).decode() + repr(kept)


def test_what_tells_the_same_has_one_id() -> None:
    """Of the same type and scene; without words each has one of its own."""
    first, again = entry("login", 1.0, "scene"), entry("login", 2.0, "scene")
    assert first.id == again.id != entry("denied", 1.0, "scene").id
    assert first.id.startswith("evt_") and "." not in first.id
    assert entry_id() != entry_id()


def test_a_registration_comes_before_its_login() -> None:
    """Whatever the ids are; and a later login after both."""
    for n in range(50):
        told: list[Entry] = [
            entry("registered", 1_700_000_000.5, f"scene {n}"),
            entry("login", 1_700_000_000.5, f"scene {n}"),
            entry("login", 1_700_000_000.500001, f"other {n}"),
        ]
        assert sorted(told, key=lambda one: one.number) == told


def test_the_body_is_that_of_the_contract() -> None:
    """All members are always there; null is what is not known or has no part in it."""
    told = json.loads(body(entry("denied", 1_700_000_000.25, "s", account="main", scene="s")))
    assert told == {
        "type": "denied",
        "timestamp": "2023-11-14T22:13:20.250000Z",
        "data": {
            "user": None,
            "account": "main",
            "scene": "s",
            "kiosk": None,
            "session": None,
            "kind": None,
            "person": None,
        },
    }
