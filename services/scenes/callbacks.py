"""What WeChat tells us: one verified event in, one outcome and one reply out, before a deadline.

The order is the promise (docs/essays/truth.md): the scene is claimed, the person found, the scene
authorized together with the event's reply, and only then WeChat is answered 200. Whatever
fails before leaves no trace that could make WeChat's next try look like a repeat.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.clock import Clock
from services.errors import ApiError, StoreUnavailable, WeChatError
from services.ids import SceneStr, UnionId, is_scene_str
from services.metrics import Metrics
from services.people.store import Identity, UserStore
from services.scenes.login import LoginService
from services.scenes.states import Kind, Outcome, Scene, State, Step, Verdict
from services.scenes.store import SceneStore
from services.scrubbing import short_hash
from services.supervisor import Supervisor
from services.wechat.accounts import Account
from services.wechat.callback import CallbackRefused, Opened
from services.wechat.events import Event, ScanEvent, SubscribeEvent
from services.wechat.replies import text

log = logging.getLogger("scanpush.callback")

MOST_HELD = 1_000
"""Callbacks waiting for a failing store at once; more are answered 500 immediately."""

UNIONID_SECONDS = 1.0
"""How much of a callback's time user/info may take."""

NO_UNIONID_SECONDS = 600.0
"""For how long an account's answer "this follower has no unionid" is believed for everybody."""

REPLY_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a callback: a word for the metrics, and the reply in the chat, if any."""

    outcome: str
    reply: str = ""


class CallbackService:
    """Turns a callback into the state of a scene and a passive reply.

    Args:
        deadline_seconds: below WeChat's five; a failing store is waited for until then.
        site_name: named in the replies.
    """

    def __init__(
        self,
        scenes: SceneStore,
        users: UserStore,
        login: LoginService,
        clock: Clock,
        supervisor: Supervisor,
        metrics: Metrics,
        *,
        deadline_seconds: float,
        site_name: str,
    ) -> None:
        self._scenes = scenes
        self._users = users
        self._login = login
        self._clock = clock
        self._supervisor = supervisor
        self._metrics = metrics
        self._deadline_seconds = deadline_seconds
        self._site_name = site_name
        self._held = 0

    async def receive(self, account: Account, query: Mapping[str, str], body: bytes) -> bytes:
        """The body of a 200 answer: ``success``, or a sealed reply.

        Raises:
            Forbidden, Malformed: see `CallbackGate.open`; nothing has changed.
            ApiError: ``internal`` when the stores did not answer in time; WeChat tries again.
        """
        began = self._clock.monotonic()
        outcome = "failed"
        try:
            opened = account.gate.open(query, body, self._clock.now())
            async with asyncio.timeout(self._deadline_seconds):
                answer = await self._patiently(account, opened)
            outcome = answer.outcome
        except CallbackRefused as refused:
            outcome = refused.reason
            raise
        except TimeoutError:
            raise ApiError("internal", "Not finished in time.") from None
        finally:
            self._metrics.callback(outcome, self._clock.monotonic() - began)
        if not answer.reply:
            return b"success"
        return account.gate.seal(opened, answer.reply, self._clock.now())

    async def _patiently(self, account: Account, opened: Opened) -> Answer:
        """Ask again while the store fails. Every step is safe to repeat."""
        pause = 0.05
        held = False
        try:
            while True:
                try:
                    return await self._once(account, opened)
                except StoreUnavailable as error:
                    if not held and self._held >= MOST_HELD:
                        raise ApiError("internal", "Too many callbacks are waiting.") from error
                    if not held:
                        log.warning("a store fails, the callback waits: %s", error)
                        self._held += 1
                        held = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, 0.5)
        finally:
            self._held -= held

    async def _once(self, account: Account, opened: Opened) -> Answer:
        await self._bind_nonce(account, opened)
        event = opened.event
        if isinstance(event, ScanEvent | SubscribeEvent) and is_scene_str(event.scene or ""):
            return await self._scan(account, event, SceneStr(event.scene or ""))
        return Answer("ignored")

    async def _bind_nonce(self, account: Account, opened: Opened) -> None:
        """In plaintext mode the signature does not cover the body: one query, one body."""
        if opened.nonce_key:
            key = f"nonce:{account.name}:{opened.nonce_key}"
            window = 2 * account.gate.timestamp_window_seconds
            if await self._scenes.remember(key, opened.body_hash, window) != opened.body_hash:
                log.warning("a signed query came again with another body")
                raise ApiError("forbidden", "Forbidden.")

    async def _scan(self, account: Account, event: Event, scene_str: SceneStr) -> Answer:
        identity = Identity(account.app_id, event.openid)
        key = f"outcome:{event.outcome_key(account.app_id)}"
        step = await self._login.claim(
            scene_str,
            account=account.name,
            kind=Kind.OFFICIAL_ACCOUNT,
            openid=event.openid,
            outcome_key=key,
            details={},
        )
        if step.reply is not None:
            return Answer("repeated", step.reply)
        claimed = step.verdict is not Verdict.REFUSED and step.scene is not None
        if claimed and step.scene is not None and step.scene.state is State.SCANNED:
            return await self._log_in(account, step.scene, identity, key)
        return await self._keep_reply(key, self._refusal(account, step, identity))

    async def _log_in(self, account: Account, scene: Scene, identity: Identity, key: str) -> Answer:
        login = await self._login.log_in(scene, await self._with_unionid(account, identity))
        outcome = "registered" if login.is_new else "logged_in"
        reply = self._text(outcome, scene)
        step = await self._login.authorize(scene, login, Outcome(key, reply))
        log.info(
            "scene %s: %s by %s",
            scene.scene_str,
            step.verdict,
            short_hash(identity.openid),
        )
        if step.verdict is Verdict.MOVED:
            return Answer(outcome, reply)
        if step.reply is not None:
            return Answer("repeated", step.reply)
        return await self._keep_reply(key, self._refusal(account, step, identity))

    async def _with_unionid(self, account: Account, identity: Identity) -> Identity:
        """Ask WeChat for a unionid we do not know; a login never fails for want of it."""
        if self._clock.monotonic() < account.unionid_unavailable_until:
            return identity
        known = await self._users.find(identity)
        if known is not None and known[1].unionid is not None:
            return known[1]
        asking = self._supervisor.spawn(self._unionid(account, identity), name="user/info")
        answered, _ = await asyncio.wait({asking}, timeout=UNIONID_SECONDS)
        if not answered:
            self._supervisor.spawn(self._join_later(asking, identity), name="join unionid")
            return identity
        return replace(identity, unionid=asking.result())

    async def _unionid(self, account: Account, identity: Identity) -> UnionId | None:
        try:
            follower = await account.api.user_info(identity.openid)
        except WeChatError as error:
            log.info("no unionid this time: %s", error)
            return None
        if follower.subscribed and follower.unionid is None:
            account.unionid_unavailable_until = self._clock.monotonic() + NO_UNIONID_SECONDS
        return follower.unionid

    async def _join_later(self, asking: asyncio.Task[UnionId | None], identity: Identity) -> None:
        """The answer came after the login went on without it."""
        unionid = await asking
        if unionid is not None:
            await self._users.join(replace(identity, unionid=unionid))

    async def finish_owed(self, account: Account, scene: Scene) -> None:
        """Finish a login that was claimed and then left, as the sweeper finds it."""
        assert scene.openid is not None
        identity = await self._with_unionid(account, Identity(account.app_id, scene.openid))
        await self._login.authorize(scene, await self._login.log_in(scene, identity))

    async def _keep_reply(self, key: str, answer: Answer) -> Answer:
        """Keep what was answered to an event that changed no scene: its repeat gets the same."""
        kept = await self._scenes.remember(key, answer.reply, REPLY_SECONDS)
        return Answer(answer.outcome, kept)

    def _refusal(self, account: Account, step: Step, identity: Identity) -> Answer:
        scene = step.scene
        if scene is None:
            reply = text("expired", account.settings.language, site=self._site_name)
            return Answer("expired", reply)
        if scene.account != account.name or scene.kind is not Kind.OFFICIAL_ACCOUNT:
            return Answer("wrong_door")
        outcome = _OUTCOMES[scene.state]
        if scene.openid is not None and scene.openid != identity.openid:
            outcome = "already_used"
        return Answer(outcome, self._text(outcome, scene))

    def _text(self, outcome: str, scene: Scene) -> str:
        return text(outcome, scene.lang, site=self._site_name)


_OUTCOMES: Mapping[State, str] = {
    State.WAITING: "expired",
    State.SCANNED: "failed",
    State.CONFIRMING: "failed",
    State.REGISTERING: "register_ask",
    State.AUTHORIZED: "repeated",
    State.CONSUMED: "repeated",
    State.EXPIRED: "expired",
    State.DENIED: "denied",
    State.CANCELLED: "cancelled",
    State.FAILED: "failed",
}
"""What a person reads whose scan changed nothing, by the state the scene is in."""
