"""What people do in an account's chat, and what it means for their scenes.

`ChatService.handle` takes one event. A scan or a follow claims a scene, and so does a typed code;
``1`` and ``0`` answer the question that a scan brought (``0`` alone where the page asks for a
number); an unfollow ends what is open. Words about
one's sessions are done by `SessionWords`, where they are on. Everything else is no login, and is
forwarded where another system wants it. `OpenScenes` knows which scene a
person has open, and so what their ``1`` means.
"""

import logging
import math
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from services.errors import ApiError
from services.events.entries import entry
from services.events.service import EventService
from services.ids import AppId, OpenId, SceneStr, is_scene_str
from services.logs import short_hash
from services.people.store import Identity, UserStore
from services.scenes import numbers
from services.scenes.login import BANNED, LoginService, is_claimed
from services.scenes.number_match import untold
from services.scenes.policy import NOT_REGISTERED, ChatTexts, LoginPolicy, LoginResult, Visit
from services.scenes.session_words import Request, SessionWords, Wish, read
from services.scenes.states import OPEN, Kind, Move, Outcome, Scene, State, Step, Verdict
from services.scenes.store import SceneStore
from services.scenes.typed_codes import TypedCodes
from services.sessions.service import SessionService
from services.wechat.accounts import Account
from services.wechat.messages import (
    ConsentRevoked,
    Event,
    ScanEvent,
    SubscribeEvent,
    TextMessage,
    Unreadable,
    UnsubscribeEvent,
)

log = logging.getLogger("scanpush.chat")

OPEN_SECONDS = 3600.0
"""How long a person's open scene is remembered: longer than any scene is open."""

REPLY_SECONDS = 600.0
"""How long the reply to an event that changed no scene is kept for its repeats."""

ALLOW = frozenset("1 是 好 允许 允許 同意 确认 確認 はい 許可 yes y ok allow".split())
DENY = frozenset("0 否 不 拒绝 拒絕 取消 いいえ 拒否 no n deny cancel".split())
"""The answers to the question in the chat, after `plain`."""

_FAILURES = frozenset({NOT_REGISTERED, BANNED})
"""Errors of a failed scene that have words of their own."""

_OUTCOMES: Mapping[State, str] = {
    State.WAITING: "expired",
    State.SCANNED: "failed",
    State.CONFIRMING: "confirm_ask",
    State.REGISTERING: "register_ask",
    State.AUTHORIZED: "repeated",
    State.CONSUMED: "repeated",
    State.EXPIRED: "expired",
    State.DENIED: "denied",
    State.CANCELLED: "cancelled",
    State.FAILED: "failed",
}
"""What a person reads whose event changed nothing, by the state the scene is in."""


class ChatReply(NamedTuple):
    """What became of an event: a word for the metrics, and the reply in the chat, if any.

    `login` is False for what is no login: another system may want to see it. Where there is a reply
    all the same, that other system's is not used.
    """

    outcome: str
    reply: str = ""
    login: bool = True


NOT_A_LOGIN = ChatReply("ignored", login=False)


def plain(message: str) -> str:
    """A message as it is compared: full-width characters made plain, case dropped, and so are
    spaces and full stops around it."""
    return unicodedata.normalize("NFKC", message).strip(" \t\r\n。.!").casefold()


class ChatService:
    """Handles one event at a time; every step may be repeated and ends in the same outcome.

    Args:
        words: for what people say about their sessions; without it that is forwarded.
        ends_on_unsubscribe: whose sessions end when their person unfollows; None: they do not.
    """

    def __init__(
        self,
        scenes: SceneStore,
        users: UserStore,
        login: LoginService,
        policy: LoginPolicy,
        codes: TypedCodes,
        open_scenes: "OpenScenes",
        texts: ChatTexts,
        events: EventService,
        words: SessionWords | None = None,
        ends_on_unsubscribe: SessionService | None = None,
    ) -> None:
        self._scenes = scenes
        self._users = users
        self._login = login
        self._policy = policy
        self._matches_numbers = policy.matches_numbers
        self._codes = codes
        self._open = open_scenes
        self._texts = texts
        self._events = events
        self._words = words
        self._ends_on_unsubscribe = ends_on_unsubscribe

    async def handle(self, account: Account, event: Event) -> ChatReply:
        """What `event` means for the scenes of its sender, done and answered.

        Raises:
            StoreUnavailable: doing it again is safe.
        """
        match event:
            case SubscribeEvent() | ScanEvent() if is_scene_str(event.scene or ""):
                scene_str = SceneStr(event.scene or "")
                answer = await self._claim(account, event, scene_str, Kind.OFFICIAL_ACCOUNT)
            case Unreadable():
                answer = await self._unreadable(account, event)
            case TextMessage():
                answer = await self._message(account, event)
                if self._matches_numbers:
                    answer = await self._with_untold(account, event, answer)
            case _:
                answer = NOT_A_LOGIN
        if not isinstance(event, ScanEvent | TextMessage):
            await self._follow(account, event)
        if self._matches_numbers and (asking := numbers.scene_in(answer.reply)):
            answer = await self._with_number(account, answer, asking)
        return answer

    async def _with_number(
        self, account: Account, answer: ChatReply, scene_str: SceneStr
    ) -> ChatReply:
        """The answer with the number of that scene, which is kept nowhere and derived each time."""
        scene = await self._scenes.get(scene_str)
        if scene is None or numbers.NONCE not in scene.details:
            return answer._replace(reply=self._texts.general("expired", account.settings.language))
        number = numbers.number_of(account, scene)
        return answer._replace(reply=numbers.with_number(answer.reply, number))

    async def _with_untold(
        self, account: Account, event: TextMessage, answer: ChatReply
    ) -> ChatReply:
        """The answer below what the person has still to be told of a wrong number."""
        scene_str = await self._open.scene_str_of(account.name, event.openid)
        if scene_str is None:
            return answer
        told = await untold(self._scenes, scene_str, _outcome_key(account.app_id, event))
        return answer._replace(reply="\n\n".join(filter(None, (told, answer.reply))))

    # Claims.

    async def _claim(
        self, account: Account, event: Event, scene_str: SceneStr, kind: Kind
    ) -> ChatReply:
        identity = Identity(account.app_id, event.openid)
        key = _outcome_key(identity.app_id, event)
        # The usual login, in one call. What follows is for policies that ask something first.
        result = await self._policy.complete_login(
            account, scene_str, identity, kind=kind, outcome_key=key
        )
        if result is None:
            step = await self._login.claim(
                scene_str, account=account.name, kind=kind, openid=event.openid, outcome_key=key
            )
            if step.scene is None or not is_claimed(step):
                return await self._reply(account, LoginResult("", step), event.openid, key, kind)
            # Before the person is asked, so that no crash leaves a question without its scene.
            await self._open.note(account.name, event.openid, scene_str, event.created)
            result = await self._policy.ask(Visit(account, step.scene, identity, key))
            log.info("scene %s: %s %s", scene_str, result.outcome, short_hash(event.openid))
        return await self._reply(account, result, event.openid, key, kind)

    async def finish_owed(self, account: Account, scene: Scene) -> None:
        """Finish a login that was claimed and then left, as the sweeper finds it."""
        assert scene.openid is not None
        other = await self._open.of(account.name, scene.openid)
        if other is not None and other.scene_str != scene.scene_str and self._policy.confirms:
            # The person has gone on to a newer scene, which superseded this one: asked about both,
            # they could not say with ``1`` which they mean.
            move = Move(State.DENIED, frozenset({State.SCANNED}), openid=scene.openid)
            await self._login.end(scene.scene_str, move)
            return
        # Since 0: the time of the scan was lost with the callback that left this scene.
        await self._open.note(account.name, scene.openid, scene.scene_str, 0)
        await self._policy.ask(Visit(account, scene, Identity(account.app_id, scene.openid)))

    async def _reply(
        self, account: Account, result: LoginResult, openid: OpenId, key: str, kind: Kind
    ) -> ChatReply:
        step = result.step
        if step.reply is not None:
            return ChatReply("repeated", step.reply)
        if step.verdict is Verdict.MOVED and step.scene is not None:
            # The text that was kept with the move: the same scene and outcome give the same.
            return ChatReply(result.outcome, self._texts.about(result.outcome, step.scene))
        return await self._kept(key, self._refusal(account, step, openid, kind))

    def _refusal(self, account: Account, step: Step, openid: OpenId, kind: Kind) -> ChatReply:
        """What a person reads whose event changed nothing."""
        scene = step.scene
        if scene is None:
            return ChatReply("expired", self._texts.general("expired", account.settings.language))
        if scene.account != account.name or scene.kind is not kind:
            return ChatReply("wrong_door")
        outcome = _OUTCOMES[scene.state]
        if scene.openid is not None and scene.openid != openid:
            outcome = "already_used"
        elif scene.state is State.FAILED and scene.error in _FAILURES:
            outcome = scene.error
        return ChatReply(outcome, self._texts.about(outcome, scene))

    # Messages.

    async def _unreadable(self, account: Account, event: Unreadable) -> ChatReply:
        """As any text that is no answer: who is being asked is asked again."""
        answer = NOT_A_LOGIN
        if event.openid and event.msg_type in ("", "text"):
            answer = await self._message(account, event)
        return answer._replace(outcome="unreadable")

    async def _message(self, account: Account, event: TextMessage) -> ChatReply:
        key = _outcome_key(account.app_id, event)
        request = None if self._words is None else read(plain(event.text))
        if self._words is not None and request is not None:
            return await self._about_sessions(account, event, self._words, request, key)
        if self._policy.confirms:
            scene = await self._open.of(account.name, event.openid, event.created)
            asked = scene.scene_str if scene is not None and scene.state is State.CONFIRMING else ""
            # Which question the message answers is noted before anything is done about it, and so
            # is that there is none: a repeat of the message that comes after the person has been
            # asked (about another scene) is no answer to that.
            noted = await self._scenes.remember(f"asked:{key}", asked, REPLY_SECONDS)
            scene = await self._scenes.get(SceneStr(noted)) if noted else None
            if scene is not None:
                return await self._decision(account, event, scene, key)
        # A postcode has that form, too: where no page has shown a code lately, the message is left
        # to other systems.
        code = self._codes.read(event.text)
        if code is not None and await self._codes.expected(account.name):
            return await self._typed(account, event, code, key)
        return NOT_A_LOGIN

    async def _about_sessions(
        self,
        account: Account,
        event: TextMessage,
        words: SessionWords,
        request: Request,
        key: str,
    ) -> ChatReply:
        # A repeat gets the first reply, and ends nothing more.
        kept = await self._scenes.recall(key)
        if kept is not None:
            return ChatReply("repeated", kept)
        if request.wish is Wish.NOT_ME:
            scene_str = await self._undecided(account, event, key)
            if scene_str:
                return await self._disown(account, event, scene_str, key)
        answer = await words.answer(account, event.openid, request, created=event.created, key=key)
        return await self._kept(key, ChatReply(answer.outcome, answer.reply))

    async def _undecided(self, account: Account, event: TextMessage, key: str) -> str:
        """The scene of theirs that waited for a decision when the message first came, if any."""
        noted = ""
        for find in (self._open.of, self._open.asked):
            scene = await find(account.name, event.openid, event.created)
            if scene is not None and scene.state in OPEN:
                noted = scene.scene_str
                break
        # Noted, so that a repeat does not take the end of that scene for none, and ends a session.
        return await self._scenes.remember(f"undecided:{key}", noted, REPLY_SECONDS)

    async def _disown(
        self, account: Account, event: TextMessage, scene_str: str, key: str
    ) -> ChatReply:
        """Another person is behind that scene, says the one who is asked about it."""
        identity = Identity(account.app_id, event.openid)
        scene = await self._scenes.get(SceneStr(scene_str))
        if scene is None:
            reply = self._texts.general("denied", account.settings.language)
            return await self._kept(key, ChatReply("denied", reply))
        if scene.state in OPEN:
            found = await self._users.find(identity)
            user_id = None if found is None else found[0].id
            # Before the move: a repeat after a crash in between tells the same.
            await self._events.keep(
                entry(
                    "not_me",
                    event.created,
                    scene_str,
                    outcome="denied",
                    openid=event.openid,
                    user=user_id,
                    account=account.name,
                    kind=scene.kind.value,
                    screen=scene.details.get("kiosk", ""),
                    scene=scene_str,
                )
            )
        if scene.state is State.REGISTERING:
            outcome = Outcome(key, self._texts.about("confirm_denied", scene))
            sources = frozenset({State.REGISTERING})
            move = Move(State.CANCELLED, sources, openid=event.openid, outcome=outcome)
            result = LoginResult("confirm_denied", await self._login.end(scene.scene_str, move))
        else:
            result = await self._policy.deny(Visit(account, scene, identity, key))
        log.info("scene %s: %s %s", scene_str, result.outcome, short_hash(event.openid))
        return await self._reply(account, result, event.openid, key, scene.kind)

    async def _decision(
        self, account: Account, event: TextMessage, scene: Scene, key: str
    ) -> ChatReply:
        answer = plain(event.text)
        visit = Visit(account, scene, Identity(account.app_id, event.openid), key)
        if scene.state is not State.CONFIRMING:
            # A repeat, or too late. A move without sources moves nothing; it looks up the reply
            # that was kept with the first answer.
            move = Move(State.AUTHORIZED, frozenset(), openid=event.openid, outcome=Outcome(key))
            result = LoginResult("late", await self._scenes.advance(scene.scene_str, move))
        elif answer in ALLOW and numbers.HASH not in scene.details:
            result = await self._policy.admit(visit, allowed="confirm_allowed")
        elif answer in DENY:
            result = await self._policy.deny(visit)
        else:
            return await self._kept(
                key, ChatReply("confirm_ask", self._texts.about("confirm_ask", scene))
            )
        log.info("scene %s: %s %s", scene.scene_str, result.outcome, short_hash(event.openid))
        return await self._reply(account, result, event.openid, key, scene.kind)

    async def _typed(self, account: Account, event: TextMessage, code: str, key: str) -> ChatReply:
        # A repeat gets the first reply, even if that code has been given to a page since.
        kept = await self._scenes.recall(key)
        if kept is not None:
            return ChatReply("repeated", kept)
        try:
            scene_str = await self._codes.guess(account.name, event.openid, code, message=key)
        except ApiError:
            outcome = "code_locked"
        else:
            if scene_str is not None:
                return await self._claim(account, event, scene_str, Kind.CODE)
            outcome = "code_unknown"
        reply = self._texts.general(outcome, account.settings.language)
        return await self._kept(key, ChatReply(outcome, reply))

    # Followers.

    async def _follow(self, account: Account, event: Event) -> None:
        """Keep up with who follows. Unfollowing, and taking back consent, end what is open."""
        identity = Identity(account.app_id, event.openid)
        if isinstance(event, SubscribeEvent):
            await self._users.follow(identity, event.created, following=True)
            return
        # WeChat also tells of consent to the owner's other apps, which ends nothing here.
        revokes = isinstance(event, ConsentRevoked) and event.app_id in (None, account.app_id)
        if isinstance(event, UnsubscribeEvent) or revokes:
            is_last = await self._users.follow(identity, event.created, following=False)
            if is_last and isinstance(event, UnsubscribeEvent):
                await self._unsubscribed(account, identity, event.created)
            for find in (self._open.of, self._open.asked):
                scene = await find(account.name, event.openid, event.created)
                if scene is not None:
                    move = Move(State.CANCELLED, OPEN, openid=event.openid)
                    await self._login.end(scene.scene_str, move)
        if isinstance(event, ConsentRevoked):
            # Whether all that is kept of them has to go, WeChat leaves to law and agreement.
            app_id = event.app_id or account.app_id
            known = await self._users.find(Identity(app_id, event.openid, event.unionid))
            if known is not None:
                log.info(
                    "user %s took consent back at WeChat: docs/operations.md tells what to do",
                    known[0].id,
                    extra={"app_id": app_id, "revoke_info": event.revoke_info},
                )

    async def _unsubscribed(self, account: Account, identity: Identity, at: int) -> None:
        sessions = self._ends_on_unsubscribe
        if sessions is None and not self._events.on:
            return
        found = await self._users.find(identity)
        if found is None:
            return
        user_id = found[0].id
        if sessions is not None:
            await sessions.end_of_user(user_id)
        await self._events.keep(
            entry(
                "unsubscribed",
                at,
                *(identity.app_id, identity.openid, str(at)),
                openid=identity.openid,
                user=user_id,
                account=account.name,
            )
        )

    async def _kept(self, key: str, answer: ChatReply) -> ChatReply:
        """Keep what was answered to an event that changed no scene: its repeat gets the same."""
        kept = await self._scenes.remember(key, answer.reply, REPLY_SECONDS)
        return ChatReply(answer.outcome, kept)


def _outcome_key(app_id: AppId, event: Event) -> str:
    return f"outcome:{event.outcome_key(app_id)}"


class OpenScenes:
    """Which scene a person has open at an account: one at most, so that ``1`` has one meaning.

    Kept with the time of the scan by WeChat's clock (CreateTime): what happened before that is not
    about this scene.
    """

    def __init__(self, scenes: SceneStore, login: LoginService, policy: LoginPolicy) -> None:
        self._scenes = scenes
        self._login = login
        self._policy = policy

    async def note(self, account: str, openid: OpenId, scene_str: SceneStr, since: int) -> None:
        """The person has claimed that scene; an older one of theirs ends.

        To be called before they are asked anything, so that no crash leaves a question behind
        whose answer leads nowhere.
        """
        # Where the settings leave nothing to wait for, a login is spared this write.
        if not self._policy.asks:
            return
        kept = await self._scenes.replace(
            _open_key(account, openid), f"{scene_str} {since}", OPEN_SECONDS
        )
        older = (kept or "").partition(" ")[0]
        if older == scene_str or not is_scene_str(older):
            return
        if self._policy.confirms:
            undecided = frozenset({State.SCANNED, State.CONFIRMING})
            move = Move(State.DENIED, undecided, openid=openid)
            await self._login.end(SceneStr(older), move)
        # Each move names the states it ends, so only the one that fits is carried out.
        move = Move(State.CANCELLED, frozenset({State.REGISTERING}), openid=openid)
        await self._login.end(SceneStr(older), move)

    async def of(self, account: str, openid: OpenId, at: float = math.inf) -> Scene | None:
        """The person's scene at that CreateTime, in whatever state it is by now."""
        return await self._kept(_open_key(account, openid), openid, at)

    async def scene_str_of(self, account: str, openid: OpenId) -> SceneStr | None:
        """The id of the person's newest scene, which may be forgotten by now."""
        kept = await self._scenes.recall(_open_key(account, openid))
        scene_str = (kept or "").partition(" ")[0]
        return SceneStr(scene_str) if is_scene_str(scene_str) else None

    async def asked(self, account: str, openid: OpenId, at: float) -> Scene | None:
        """The scene about which a page on the person's phone asks them (see `asked_key`)."""
        return await self._kept(asked_key(account, openid), openid, at)

    async def _kept(self, key: str, openid: OpenId, at: float) -> Scene | None:
        kept = await self._scenes.recall(key)
        scene_str, _, since = (kept or "").partition(" ")
        if not is_scene_str(scene_str) or at < int(since):
            return None
        scene = await self._scenes.get(SceneStr(scene_str))
        return scene if scene is not None and scene.openid == openid else None


def asked_key(account: str, openid: OpenId) -> str:
    """Where a login kind with a page on the phone keeps "scene_str time" while that page asks.

    It is not answered in the chat, so it displaces nothing there; an unfollow ends it all the same.
    """
    return f"asked:{account}:{openid}"


def _open_key(account: str, openid: OpenId) -> str:
    return f"open:{account}:{openid}"
