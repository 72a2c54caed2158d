"""Template and subscribe messages: what may be sent, to whom, and that nothing is sent twice.

Facts: WeChat's pages "Send a template message" and "Subscribe messages", and the 2023 announcement
of category templates.
"""

import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator.clock import TurnableClock
from simulator.config import SimulatedAccount, SimulatedApp, Template
from simulator.people import People, Person
from simulator.refusals import Refusal

SAME_MESSAGE_SECONDS = 600
MAX_URL = 2_048

LENGTHS: Mapping[str, int] = {
    "thing": 20,
    "number": 32,
    "letter": 32,
    "symbol": 5,
    "character_string": 32,
    "time": 24,
    "date": 32,
    "phone_number": 17,
    "car_number": 8,
    "name": 20,
    "phrase": 5,
    "const": 20,
}
"""Longest value of each type of key; ``thing1`` is of the type ``thing``."""


@dataclass(frozen=True)
class Notice:
    """An accepted template message. `fresh` is False for one that was sent before."""

    message_id: int
    person: Person
    text: str
    fresh: bool = True


class Notices:
    """Accepts template and subscribe messages."""

    def __init__(self, people: People, clock: TurnableClock, rng: random.Random) -> None:
        self._people = people
        self._clock = clock
        self._rng = rng
        self._sent: dict[tuple[str, str], tuple[float, Notice]] = {}
        self._agreed: Counter[tuple[str, str, str]] = Counter()

    def accept(self, account: SimulatedAccount, request: Mapping[str, Any]) -> Notice:
        """Check one request of ``message/template/send``.

        Raises:
            Refusal: 40003, 40037, 40039, 43004, 47003 (its text names the field).
        """
        openid = str(request.get("touser", ""))
        person = self._people.by_openid(account.app_id, openid)
        if person is None:
            raise Refusal(40003)
        if account.app_id not in person.follows:
            raise Refusal(43004)
        template = _template(account, request)
        if len(str(request.get("url", ""))) > MAX_URL:
            raise Refusal(40039)
        return self._once(openid, request.get("client_msg_id"), person, _text(template, request))

    def agree(self, person: Person, app_id: str, template_id: str, times: int) -> None:
        """The person allows so many more subscribe messages of this template."""
        self._agreed[app_id, person.name, template_id] += times

    def accept_subscribed(
        self, app: SimulatedAccount | SimulatedApp, request: Mapping[str, Any]
    ) -> Notice:
        """Check one request of ``message/subscribe/send`` or ``bizsend``, and use up one consent.

        Raises:
            Refusal: 40003, 40037, 41030 for the page, 43101 without a consent, 47003.
        """
        person = self._people.by_openid(app.app_id, str(request.get("touser", "")))
        if person is None:
            raise Refusal(40003)
        template = _template(app, request)
        page = request.get("page", "")
        if not isinstance(page, str) or page.startswith("/"):
            raise Refusal(41030)
        text = _text(template, request)
        key = (app.app_id, person.name, template.template_id)
        if self._agreed[key] < 1:
            raise Refusal(43101)
        self._agreed[key] -= 1
        return Notice(self._rng.randrange(10**8, 10**18), person, text)

    def _once(self, openid: str, client_id: object, person: Person, text: str) -> Notice:
        now, key = self._clock.now(), (openid, str(client_id))
        # Without a client_msg_id every request is another message.
        at, known = self._sent.get(key, (0.0, None))
        if client_id and known is not None and now - at < SAME_MESSAGE_SECONDS:
            return Notice(known.message_id, person, text, fresh=False)
        notice = Notice(self._rng.randrange(10**8, 10**18), person, text)
        if client_id:
            self._sent[key] = (now, notice)
        return notice


def _template(app: SimulatedAccount | SimulatedApp, request: Mapping[str, Any]) -> Template:
    template_id = request.get("template_id")
    for template in app.templates:
        if template.template_id == template_id:
            return template
    raise Refusal(40037)


def _text(template: Template, request: Mapping[str, Any]) -> str:
    """The message as the person reads it, a line for each key."""
    data = request.get("data")
    values = data if isinstance(data, dict) else {}
    return "\n".join(f"{key}: {_value(key, values.get(key))}" for key in template.keys)


def _value(key: str, given: object) -> str:
    value = given.get("value") if isinstance(given, dict) else None
    # A type that the table does not know is held to the limit of most others.
    limit = LENGTHS.get(re.sub(r"\d+$", "", key), 20)
    if not isinstance(value, str) or not 1 <= len(value) <= limit:
        raise Refusal(47003, f"argument invalid! data.{key}.value invalid")
    return value
