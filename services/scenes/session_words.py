"""What people say in the chat about their sessions: which there are, end that one, that was not me.

`read` finds such a word in a message; `SessionWords` does what it asks, for the person behind any
openid. Every step may be repeated: what a message is about is noted before anything is done, so
that its repeat, on any node, ends nothing else.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from services.clock import Clock
from services.events.entries import entry
from services.events.service import EventService
from services.ids import OpenId
from services.key_values import KeyValues
from services.logs import short_hash
from services.people.store import Identity, User, UserStore
from services.sessions.service import SessionService
from services.sessions.states import Session, SessionId
from services.wechat.accounts import Account
from services.wechat.replies import ago, inert, text
from services.wechat.reply_texts import LANGUAGES

log = logging.getLogger("scanpush.chat")

MOST_LISTED = 8
"""Sessions in a list, the latest begun. With long names in every line the reply stays below
WeChat's 2048 bytes."""

MAX_NAME = 40
"""Characters by which a session is named."""

LISTED_SECONDS = 600.0
"""How long the numbers of a list count."""

NOTED_SECONDS = 600.0
"""How long it is noted what a message was about: well over WeChat's retries (about 15 s)."""


class Wish(StrEnum):
    """What a word asks for."""

    LIST = "list"
    END = "end"
    NOT_ME = "not_me"


_WORDS: Mapping[Wish, Mapping[str, Sequence[str]]] = {
    Wish.LIST: {
        "zh-CN": ("设备",),
        "zh-TW": ("裝置", "設備"),
        "en": ("devices",),
        "ja": ("端末", "デバイス"),
    },
    Wish.END: {
        "zh-CN": ("退出",),
        "zh-TW": ("登出",),
        "en": ("end",),
        "ja": ("ログアウト", "終了"),
    },
    Wish.NOT_ME: {
        "zh-CN": ("不是我",),
        "zh-TW": ("不是我",),
        "en": ("not me",),
        "ja": ("私ではない", "私じゃない", "私ではありません"),
    },
}
"""By the languages in which the word is one; those of `END` are followed by a number."""

_LANGUAGES_OF: Mapping[tuple[Wish, str], Sequence[str]] = {
    (wish, word): [lang for lang in LANGUAGES if word in by_language[lang]]
    for wish, by_language in _WORDS.items()
    for words in by_language.values()
    for word in words
}

_NUMBERED = re.compile(r"(.*?) ?([0-9]{1,3})", re.DOTALL)

MOST_READ = 32
"""A longer message is no such word, and is not looked at."""


class Request(NamedTuple):
    """One such message: the wish, its number, and the languages of its words."""

    wish: Wish
    languages: Sequence[str]
    number: int = 0

    def language(self, wanted: str) -> str:
        """The language to reply in: `wanted` if the words are of it, else one of theirs."""
        return wanted if wanted in self.languages else self.languages[0]


def read(message: str) -> Request | None:
    """The wish in a message, if it is nothing else.

    Args:
        message: as `chat.plain` gives it; blanks within it do not matter.
    """
    if len(message) > MOST_READ:
        return None
    words, number = " ".join(message.split()), 0
    wishes = [Wish.LIST, Wish.NOT_ME]
    if numbered := _NUMBERED.fullmatch(words):
        words, number = numbered[1], int(numbered[2])
        wishes = [Wish.END]
    for wish in wishes:
        if languages := _LANGUAGES_OF.get((wish, words)):
            return Request(wish, languages, number)
    return None


class Answer(NamedTuple):
    """What became of a wish: a word for the metrics, and the reply."""

    outcome: str
    reply: str


class _Listed(NamedTuple):
    """A session as the person knows it."""

    id: str
    name: str
    begun: str


class SessionWords:
    """Does what people ask about their sessions.

    Args:
        values: keeps which numbers a person was shown, and what a message was about.
        site_name: what people are told they are logged in to.
    """

    def __init__(
        self,
        values: KeyValues,
        users: UserStore,
        sessions: SessionService,
        clock: Clock,
        events: EventService,
        site_name: str,
    ) -> None:
        self._values = values
        self._users = users
        self._sessions = sessions
        self._clock = clock
        self._events = events
        self._site_name = site_name

    async def answer(
        self, account: Account, openid: OpenId, request: Request, *, created: int, key: str
    ) -> Answer:
        """Do it, and say so.

        Args:
            created: when the message was written, by WeChat's clock.
            key: names the message, for all its deliveries.

        Raises:
            StoreUnavailable: doing it again is safe.
        """
        found = await self._users.find(Identity(account.app_id, openid))
        user = None if found is None else found[0]
        lang = request.language(account.settings.language)
        match request.wish:
            case Wish.LIST:
                answer = await self._list(user, lang, created, key)
            case Wish.END:
                answer = await self._end(user, lang, request.number, created, key)
            case Wish.NOT_ME:
                answer = await self._not_me(account, openid, user, lang, created, key)
        log.info("%s: %s", answer.outcome, short_hash(openid))
        return answer

    async def _list(self, user: User | None, lang: str, created: int, key: str) -> Answer:
        sessions = await self._of(user)
        if user is None or not sessions:
            return self._said("sessions_none", lang)
        names = _names(sessions)
        now = self._clock.now()
        lines = [self._said("sessions_listed", lang).reply]
        shown = []
        for number, session in enumerate(sessions[:MOST_LISTED], 1):
            begun, used = ago(now - session.begun_at, lang), ago(now - session.used_at, lang)
            shown.append(_Listed(session.id, names[session.id], begun))
            lines.append(
                text(
                    "session_line",
                    lang,
                    number=str(number),
                    label=names[session.id],
                    begun=begun,
                    used=used,
                )
            )
        if more := len(sessions) - len(shown):
            lines.append(text("sessions_more", lang, number=str(more)))
        lines.append(text("sessions_hint", lang))
        # Of two deliveries at once one reply is sent, and its numbers are those that count.
        noted = await self._values.remember(
            f"listed:{key}", json.dumps([created, shown, "\n".join(lines)]), NOTED_SECONDS
        )
        *listed, reply = json.loads(noted)
        await self._values.replace(_listed_key(user), json.dumps(listed), LISTED_SECONDS)
        return Answer("sessions_listed", reply)

    async def _end(
        self, user: User | None, lang: str, number: int, created: int, key: str
    ) -> Answer:
        meant = None if user is None else await self._numbered(user, number, created)
        # Noted first: after a newer list the same number would mean another session.
        noted = await self._values.remember(f"ends:{key}", json.dumps(meant), NOTED_SECONDS)
        kept = json.loads(noted)
        if kept is None:
            return self._said("session_unknown", lang)
        session = _Listed(*kept)
        await self._sessions.end(SessionId(session.id))
        return self._said("session_ended", lang, label=session.name)

    async def _numbered(self, user: User, number: int, created: int) -> _Listed | None:
        """The session with that number in the person's last list, if the message was written after
        it."""
        kept = await self._values.recall(_listed_key(user))
        since, listed = json.loads(kept) if kept else (0, [])
        if created < since or not 1 <= number <= len(listed):
            return None
        return _Listed(*listed[number - 1])

    async def _not_me(
        self,
        account: Account,
        openid: OpenId,
        user: User | None,
        lang: str,
        created: int,
        key: str,
    ) -> Answer:
        sessions = await self._of(user)
        latest = None
        if sessions:
            begun = ago(self._clock.now() - sessions[0].begun_at, lang)
            latest = _Listed(sessions[0].id, _names(sessions)[sessions[0].id], begun)
        noted = await self._values.remember(f"ends:{key}", json.dumps(latest), NOTED_SECONDS)
        kept = json.loads(noted)
        session = None if kept is None else _Listed(*kept)
        if session is not None:
            await self._sessions.end(SessionId(session.id))
        if user is not None:
            await self._events.keep(
                entry(
                    "not_me",
                    created,
                    key,
                    openid=openid,
                    user=user.id,
                    account=account.name,
                    session=session.id if session is not None else "",
                )
            )
        if session is None:
            return self._said("not_me_none", lang)
        return self._said("not_me_ended", lang, label=session.name, begun=session.begun)

    async def _of(self, user: User | None) -> Sequence[Session]:
        """The person's sessions, the latest first."""
        if user is None:
            return []
        return await self._sessions.of_user(user.id)

    def _said(self, outcome: str, lang: str, **values: str) -> Answer:
        return Answer(outcome, text(outcome, lang, site=self._site_name, **values))


def _names(sessions: Sequence[Session]) -> Mapping[SessionId, str]:
    """By what the person knows each: its label, with the account where there are several."""
    several = len({session.account for session in sessions}) > 1
    names = {}
    for session in sessions:
        label = inert(session.label, MAX_NAME // 2 if several else MAX_NAME)
        account = inert(session.account, MAX_NAME // 2 - len(" ()"))
        if label and several:
            names[session.id] = f"{label} ({account})"
        else:
            names[session.id] = label or account
    return names


def _listed_key(user: User) -> str:
    return f"sessions_listed:{user.id}"
