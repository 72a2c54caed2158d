"""What an operator wants to hear of at once, told by the name that it has for other systems.

Each event is one line of the logger ``scanpush.events``, with its data as structured fields. It may
be told more than once: where a step is done again because a store failed in the middle.
"""

import logging
from typing import Literal

from services.logs import short_hash

log = logging.getLogger("scanpush.events")

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


def emit(type: EventType, *, openid: str = "", **data: str | None) -> None:
    """Tell that it happened. Neither raises nor waits.

    Args:
        openid: told as ``person``, by its short hash.
        data: ``user``, ``account``, ``scene``, ``kiosk``, ``session``; no secrets. None or empty is
            left out, but for ``user``, which is null where the person is not known.
    """
    told = {name: value for name, value in data.items() if value or name == "user"}
    if openid:
        told["person"] = short_hash(openid)
    log.info("event %s", type, extra={"event": type, **told})
