"""What WeChat calls the server for: one verified event in, one reply out, before a deadline.

The order is the promise (docs/essays/truth.md): the scene is claimed, the person found, the scene
authorized together with the event's reply, and only then WeChat is answered 200. A failure on the
way leaves no trace that could make WeChat's next try look like a repeat.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import NamedTuple

from services.clock import Clock
from services.errors import ApiError, StoreUnavailable
from services.logs import PacedLog
from services.metrics import Metrics
from services.scenes.chat import ChatReply, ChatService
from services.scenes.store import SceneStore
from services.wechat.accounts import Account
from services.wechat.callback import CallbackRefused, Opened
from services.wechat.messages import TemplateResult, Unreadable
from services.wechat.replies import SUCCESS

log = logging.getLogger("scanpush.callback")

MOST_HELD = 1_000
"""Callbacks waiting for a failing store at once; more are answered 500 immediately."""

FIRST_PAUSE_SECONDS = 0.05
MOST_PAUSE_SECONDS = 0.5
"""Between two tries while a store fails; each pause is twice as long as the one before."""


class CallbackRequest(NamedTuple):
    """A POST to the callback address, as it came; another server may have passed it on."""

    query: Mapping[str, str]
    raw_query: str
    body: bytes
    content_type: str
    hops: int = 0


class Reply(NamedTuple):
    """The body of a 200 answer. An empty `content_type`: that of the server's own replies."""

    body: bytes
    content_type: str = ""


class CallbackService:
    """Verifies, handles, forwards and answers.

    Args:
        deadline_seconds: below WeChat's five; a failing store is waited for until then.
    """

    def __init__(
        self,
        scenes: SceneStore,
        chat: ChatService,
        clock: Clock,
        metrics: Metrics,
        *,
        deadline_seconds: float,
    ) -> None:
        self._scenes = scenes
        self._chat = chat
        self._clock = clock
        self._metrics = metrics
        self._deadline_seconds = deadline_seconds
        self._held = 0
        self._paced_log = PacedLog(log)

    async def receive(self, account: Account, request: CallbackRequest) -> Reply:
        """The body of a 200 answer: ``success``, a sealed reply, or another system's answer.

        Raises:
            Forbidden, Malformed: see `CallbackGate.open`; nothing has changed.
            ApiError: ``internal`` when the stores did not answer in time; WeChat tries again.
        """
        began = self._clock.monotonic()
        outcome, opened = "failed", None
        try:
            opened = account.gate.open(request.query, request.body, self._clock.now())
            deadline = asyncio.get_running_loop().time() + self._deadline_seconds
            async with asyncio.timeout_at(deadline):
                answer = await self._handle_patiently(account, opened)
            outcome = answer.outcome
            # Another system has what is left of the deadline, and its own timeout.
            return await self._reply(account, request, opened, answer, deadline)
        except CallbackRefused as refused:
            outcome = refused.reason
            raise
        except TimeoutError:
            raise ApiError("internal", "Not finished in time.") from None
        finally:
            self._metrics.callback(outcome, self._clock.monotonic() - began)
            account.watch.callback(
                outcome,
                encrypted="encrypt_type" in request.query,
                as_json=opened is not None and opened.as_json,
            )

    async def _reply(
        self,
        account: Account,
        request: CallbackRequest,
        opened: Opened,
        answer: ChatReply,
        deadline: float,
    ) -> Reply:
        forwarder = account.forwarder
        if answer.login or answer.reply:
            # A copy is never waited for: the answer to a login is this server's.
            if forwarder is not None and (account.settings.forward_logins or not answer.login):
                forwarder.copy_later(
                    request.raw_query, request.body, request.content_type, hops=request.hops
                )
            if answer.reply and opened.event.to_user:
                return Reply(account.gate.seal(opened, answer.reply, self._clock.now()))
        elif forwarder is not None:
            left = deadline - asyncio.get_running_loop().time()
            forwarded = await forwarder.forward(
                request.raw_query,
                request.body,
                request.content_type,
                hops=request.hops,
                within_seconds=left,
            )
            if forwarded is not None:
                return Reply(forwarded.body, forwarded.content_type)
        return Reply(SUCCESS)

    async def _handle_patiently(self, account: Account, opened: Opened) -> ChatReply:
        """Try again while a store fails. Every step is safe to repeat."""
        # A failover may be over before the deadline. To fail at once would leave the login to
        # WeChat's next try, while the person looks at the phone.
        pause = FIRST_PAUSE_SECONDS
        held = False
        try:
            while True:
                try:
                    return await self._handle(account, opened)
                except StoreUnavailable as error:
                    if not held and self._held >= MOST_HELD:
                        raise ApiError("internal", "Too many callbacks are waiting.") from error
                    if not held:
                        self._paced_log.log(
                            logging.WARNING, "a store fails, the callback waits: %s", error
                        )
                        self._held += 1
                        held = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, MOST_PAUSE_SECONDS)
        finally:
            self._held -= held

    async def _handle(self, account: Account, opened: Opened) -> ChatReply:
        if opened.nonce_key:
            # In plaintext mode the signature does not cover the body: one query, one body. The
            # timestamp may be off to both sides, so a query is good for two windows.
            key = f"nonce:{account.name}:{opened.nonce_key}"
            window = 2 * account.gate.timestamp_window_seconds
            if await self._scenes.remember(key, opened.body_hash, window) != opened.body_hash:
                log.warning("a signed query came again with another body")
                raise ApiError("forbidden", "Forbidden.")
        if isinstance(opened.event, TemplateResult):
            self._metrics.notice("delivered" if opened.event.delivered else "refused")
            log.info("login notice %s: %s", opened.event.msg_id, opened.event.status)
        elif isinstance(opened.event, Unreadable):
            log.info("a callback of WeChat's is unreadable: %s", opened.event.problem)
        return await self._chat.handle(account, opened.event)
