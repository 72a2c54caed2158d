"""The operator's hook: their server is asked about registrations and told of kiosk logins.

Each request is a POST of a JSON object with two headers:

    X-Scanpush-Timestamp: <unix seconds>
    X-Scanpush-Signature: sha256=<hex HMAC-SHA256 of "<timestamp>.<body>" under login.hook_secret>

The operator's server computes the same over the raw body, compares in constant time, and refuses a
timestamp more than five minutes off. ``scene_str`` names the matter: the same one may come twice.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from services.clock import Clock
from services.errors import ExchangeFailed, HookUnavailable
from services.http_client import post
from services.ids import UserId
from services.tasks import Supervisor

log = logging.getLogger("scanpush.hook")

TIMESTAMP_HEADER = "X-Scanpush-Timestamp"
SIGNATURE_HEADER = "X-Scanpush-Signature"

HOOK_SECONDS = 3.0
"""How long the operator's server may take for one answer."""

MAX_ANSWER_BYTES = 16 * 1024

MOST_DECISIONS = 200
"""Questions in flight; for more of them the hook counts as down."""

PAUSES = (1.0, 4.0, 15.0, 60.0, 240.0)
"""Seconds before the further tries to tell of a login, each made up to half longer."""

MOST_TELLING = 500
"""Logins being told at once; more are dropped with a warning."""

_USER_ID = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class Decision:
    """The operator's word on a registration. `user_id` is the operator's own id, if it gave one."""

    approved: bool
    user_id: UserId | None = None


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of `SIGNATURE_HEADER`."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


class Hook:
    """Asks and tells one address.

    Args:
        client: shared; redirects are not followed, so the body goes nowhere else.
        pauses: see `PAUSES`; a test makes them short.
    """

    def __init__(
        self,
        client: httpx.AsyncBaseTransport,
        supervisor: Supervisor,
        clock: Clock,
        url: str,
        secret: str,
        *,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self._client = client
        self._supervisor = supervisor
        self._clock = clock
        self._url = url
        self._secret = secret
        self._pauses = pauses
        self._asking = 0
        self._telling = 0

    async def decide(self, event: Mapping[str, Any]) -> Decision:
        """Ask whether a person is admitted; failing closed.

        The answers are ``{"decision": "approve"}``, ``{"decision": "deny"}`` and
        ``{"user_id": "..."}``, which approves and names the person by the operator's own id
        (1 to 128 printable ASCII characters).

        Raises:
            HookUnavailable: there is no answer, and so no admission.
        """
        if self._asking >= MOST_DECISIONS:
            raise HookUnavailable("too many decisions in progress")
        self._asking += 1
        try:
            return _decision(await self._post(event))
        finally:
            self._asking -= 1

    def tell_later(self, event: Mapping[str, Any]) -> None:
        """Tell of a login in the background, with further tries for about five minutes.

        Any 2xx answer ends it. What is not delivered when this process ends is lost.
        """
        if self._telling >= MOST_TELLING:
            log.warning("the hook is not told of a login: %d messages are in flight", self._telling)
            return
        self._telling += 1
        self._supervisor.spawn(self._tell(event), name="tell the hook")

    async def _tell(self, event: Mapping[str, Any]) -> None:
        where = {"scene_str": event["scene_str"]}
        try:
            # After the last try there is nothing to wait for.
            for pause in (*self._pauses, None):
                try:
                    await self._post(event)
                except HookUnavailable as error:
                    log.warning("the hook was not told of a login: %s", error, extra=where)
                else:
                    return
                if pause is not None:
                    await asyncio.sleep(pause * random.uniform(1.0, 1.5))
        finally:
            self._telling -= 1

    async def _post(self, event: Mapping[str, Any]) -> bytes:
        """The body of a 2xx answer."""
        body = json.dumps(event, ensure_ascii=False).encode()
        # At each try, for the receiver refuses an old timestamp.
        timestamp = str(int(self._clock.now()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: signature(self._secret, timestamp, body),
        }
        try:
            response = await post(
                self._client,
                self._url,
                content=body,
                headers=headers,
                seconds=HOOK_SECONDS,
                longest=MAX_ANSWER_BYTES,
            )
        except ExchangeFailed as error:
            raise HookUnavailable(str(error)) from None
        if not 200 <= response.status < 300:
            raise HookUnavailable(f"HTTP {response.status}")
        if response.body is None:
            raise HookUnavailable("the answer is too long")
        return response.body


def _decision(answer: bytes) -> Decision:
    try:
        said = json.loads(answer)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise HookUnavailable("the answer is no JSON object")
    decision, user_id = said.get("decision"), said.get("user_id")
    # `deny` wins over every other field, and an unknown decision does not admit.
    if decision == "deny":
        return Decision(approved=False)
    if decision not in ("approve", None):
        raise HookUnavailable("the decision is neither approve nor deny")
    if user_id is None:
        if decision is None:
            raise HookUnavailable("the answer holds no decision")
        return Decision(approved=True)
    if not isinstance(user_id, str) or not _USER_ID.fullmatch(user_id):
        raise HookUnavailable("the user_id is not 1 to 128 printable ASCII characters")
    return Decision(approved=True, user_id=UserId(user_id))
