"""What happened to people and screens: the audit's entries, and the events that are told of them.

An `Entry` is one line of the audit. Those of a type in `TOLD` are also events: they are told to the
operator's server (`services/events/delivery.py`), in the order of their lane. An entry's id is made
of what it tells, so that telling it twice is harmless: the receiver knows it by ``webhook-id``.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import unquote

from services.ids import OpenId, UserId
from services.logs import short_hash

EventType = Literal[
    "login",
    "registered",
    "denied",
    "reused",
    "not_me",
    "banned",
    "unsubscribed",
    "kiosk.up",
    "kiosk.down",
]

TOLD: frozenset[str] = frozenset(get_args(EventType))
"""The other types are ``failed`` and ``operator``, which only the audit has."""

OUTCOMES: Mapping[str, str] = {
    "login": "authorized",
    "registered": "authorized",
    "denied": "denied",
    "failed": "failed",
    "reused": "ended",
    "not_me": "ended",
    "banned": "banned",
    "unsubscribed": "unsubscribed",
    "kiosk.up": "up",
    "kiosk.down": "down",
}
"""The outcome by type; that of ``operator`` is the deed, as in ``users ban``."""


MOST_NUMBER = 2**63 - 1


class Entry(NamedTuple):
    """One thing that happened. `at` is unix time; what is not known is empty.

    Nothing here is a secret; a person is named by the user's id and by `person`, the short hash of
    the openid.
    """

    id: str
    at: float
    type: str
    outcome: str
    user: UserId | None = None
    person: str = ""
    account: str = ""
    kind: str = ""
    screen: str = ""
    scene: str = ""
    session: str = ""
    detail: str = ""

    @property
    def number(self) -> int:
        """The place of the entry in the order of all: by time, then a person's registration before
        the login; the last bits tell entries of one microsecond apart."""
        # 63 bits until the year 2255.
        rank = 0 if self.type == "registered" else 1 << 9
        return number_at(self.at) | rank | int(self.id[-2:], 16) << 1

    @property
    def lane(self) -> str:
        """What is told one after the other: all of a person, or of a screen."""
        return self.user or self.person or self.screen or self.id


def number_at(at: float) -> int:
    """The least `Entry.number` of that time; no store keeps numbers beyond 63 bits, so what is
    searched before or after all of them is as good as the first or the last."""
    number = round(at * 1_000_000) << 10
    return number if 0 <= number <= MOST_NUMBER else MOST_NUMBER if number > 0 else 0


def time_of(number: int) -> float:
    return (number >> 10) / 1_000_000


def entry_id(*told: str) -> str:
    """The id of what those words tell, the same each time; without words, a new one."""
    if not told:
        return f"evt_{secrets.token_hex(16)}"
    text = "\n".join(told).encode("utf-8", "surrogatepass")
    return f"evt_{hashlib.sha256(text).hexdigest()[:32]}"


def entry(
    type: str,
    at: float,
    *told: str,
    outcome: str = "",
    openid: OpenId | str = "",
    **facts: Any,
) -> Entry:
    """An entry of that type.

    Args:
        told: the words of which its id is made, besides the type; none: it is told each time.
        facts: the other fields of `Entry`.
    """
    identity = entry_id(type, *told) if told else entry_id()
    person = short_hash(openid) if openid else ""
    return Entry(identity, at, type, outcome or OUTCOMES[type], person=person, **facts)


DELETION = "delete users"
"""The outcome of the deed by which the operator deletes a person. It goes on to name the id, by
which the operator can show that it was done."""


def nameless(entry: Entry, users: Sequence[UserId]) -> Entry:
    """What is kept of it when the person with those ids is forgotten."""
    # The detail of a deed holds the path, and with it the id, in any of the ways to quote it.
    words = [
        "/".join("…" if unquote(part) in users else part for part in word.split("/"))
        for word in entry.detail.split(" ")
    ]
    return entry._replace(user=None, person="", detail=" ".join(words))


def document(entry: Entry) -> dict[str, Any]:
    """The entry in the operator's audit."""
    return entry._asdict()


def data(entry: Entry) -> dict[str, Any]:
    """The member ``data`` of the event; null is what is not known, or has no part in it."""
    return {
        "user": entry.user,
        "account": entry.account or None,
        "scene": entry.scene or None,
        "kiosk": entry.screen or None,
        "session": entry.session or None,
        "kind": entry.kind or None,
        "person": entry.person or None,
    }


def body(entry: Entry) -> bytes:
    """The body of the webhook (Standard Webhooks, "Payload structure")."""
    told = {"type": entry.type, "timestamp": timestamp(entry.at), "data": data(entry)}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def timestamp(at: float) -> str:
    """ISO 8601, in UTC with microseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
