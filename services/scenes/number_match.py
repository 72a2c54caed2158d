"""What a page answers to ``login.confirm: number``, and how a person hears of a wrong one.

Each scene has one try. It is spent before anything follows from it, so that of a hundred answers at
once one counts: the first.
"""

import logging

from services.errors import ApiError, StoreUnavailable, WeChatError, WeChatRefused
from services.events.service import EventService
from services.ids import OpenId, SceneStr
from services.logs import short_hash
from services.people.store import Identity
from services.scenes import numbers
from services.scenes.login import LoginService
from services.scenes.policy import ChatTexts, LoginPolicy, Visit
from services.scenes.states import Move, Outcome, Scene, State, Verdict
from services.scenes.store import SceneStore
from services.tasks import Supervisor
from services.wechat.accounts import Account, Accounts

log = logging.getLogger("scanpush.number")

TRIED_SECONDS = 3600.0
"""Longer than any scene waits for its number."""

MOST_IN_FLIGHT = 100
"""Messages on their way to WeChat; of more wrong numbers people hear in the chat's next reply."""


class NumberMatch:
    """Judges the numbers that pages send."""

    def __init__(
        self,
        scenes: SceneStore,
        login: LoginService,
        policy: LoginPolicy,
        accounts: Accounts,
        texts: ChatTexts,
        events: EventService,
        supervisor: Supervisor,
    ) -> None:
        self._scenes = scenes
        self._login = login
        self._policy = policy
        self._accounts = accounts
        self._texts = texts
        self._events = events
        self._supervisor = supervisor
        self._in_flight = 0

    async def answer(self, scene_str: SceneStr, seq: int, number: str) -> None:
        """The page of that scene says `number`. The right one lets the login go on, any other ends
        the scene in ``denied``.

        The same number again, after a failure in between, is the same try.

        Args:
            number: two digits, as `numbers.is_number` has it.

        Raises:
            ApiError: ``stale_seq``: that is not the seq of a status that asks for a number, or
                another number was sent before. The try is not spent.
            StoreUnavailable: doing it again is safe.
        """
        scene = await self._scenes.get(scene_str)
        if (
            scene is None
            or scene.openid is None
            or scene.state is not State.CONFIRMING
            or scene.seq != seq
            or numbers.HASH not in scene.details
        ):
            raise _stale_seq()
        account = self._accounts.named(scene.account)
        typed = numbers.hash_of(account, scene, number)
        # Spent first: an authorization takes several steps, between which other answers would fit.
        if await self._scenes.remember(f"tried:{scene_str}", typed, TRIED_SECONDS) != typed:
            raise _stale_seq()
        if numbers.matches(scene, typed):
            visit = Visit(account, scene, Identity(account.app_id, scene.openid))
            result = await self._policy.admit(visit)
            log.info("scene %s: number right, %s", scene_str, result.outcome)
        else:
            await self._deny(account, scene, scene.openid)

    async def _deny(self, account: Account, scene: Scene, openid: OpenId) -> None:
        text = self._texts.about("number_wrong", scene)
        move = Move(
            State.DENIED,
            frozenset({State.CONFIRMING}),
            openid=openid,
            user_id=await self._events.user_of(Identity(account.app_id, openid)),
            seq=scene.seq,
            # With the move, so that no crash ends the scene without a word to its person.
            outcome=_untold(scene.scene_str, text),
        )
        step = await self._login.end(scene.scene_str, move)
        if step.verdict is not Verdict.MOVED:
            return
        log.info("scene %s: number wrong %s", scene.scene_str, short_hash(openid))
        if self._in_flight < MOST_IN_FLIGHT:
            self._in_flight += 1
            self._supervisor.spawn(
                self._send(account, openid, scene.scene_str, text), name="wrong number"
            )

    async def _send(self, account: Account, openid: OpenId, scene_str: SceneStr, text: str) -> None:
        try:
            await account.api.send_text(openid, text)
            await _told(self._scenes, scene_str, "message")
        except (WeChatError, StoreUnavailable) as error:
            errcode = error.errcode if isinstance(error, WeChatRefused) else None
            log.info(
                "told of a wrong number with the next reply: %s",
                error,
                extra={"scene_str": scene_str, "errcode": errcode},
            )
        finally:
            self._in_flight -= 1


async def untold(scenes: SceneStore, scene_str: SceneStr, message: str) -> str:
    """What the person of that scene has still to be told, for the reply to their next message;
    empty for nothing. A repeat of the message gets it again.

    Args:
        message: by which a repeat of the message is known.
    """
    # A move without sources moves nothing: it looks up what was kept with the denial.
    step = await scenes.advance(
        scene_str, Move(State.DENIED, frozenset(), outcome=_untold(scene_str))
    )
    if step.reply is None or await _told(scenes, scene_str, message) != message:
        return ""
    return step.reply


def _untold(scene_str: SceneStr, reply: str | None = None) -> Outcome:
    return Outcome(f"untold:{scene_str}", reply)


async def _told(scenes: SceneStore, scene_str: SceneStr, how: str) -> str:
    """By what the person was told first: `how`, if by nothing yet."""
    return await scenes.remember(f"told:{scene_str}", how, TRIED_SECONDS)


def _stale_seq() -> ApiError:
    message = "That is not the seq of a status that asks for a number."
    return ApiError("stale_seq", message, field="seq")
