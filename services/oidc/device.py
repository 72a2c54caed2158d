"""The device flow (RFC 8628): a screen without a keyboard shows a code, and a person allows it on
the page ``/device`` of another machine.

Two secrets belong to one request. The **device code** (256 bits) is the device's own: it polls
with it. The **user code** (eight of twenty letters, 34.6 bits) is what people read and type; it
allows nothing by itself, and guesses are counted (`MOST_GUESSES`, `MOST_OPENED`). Both are kept by
their hashes in `KeyValues`, as is the person's answer: the first answer counts, and the login is
handed out once, whichever nodes are asked.
"""

import json
import logging
import secrets
from enum import StrEnum
from typing import NamedTuple

from services.clock import Clock
from services.errors import ApiError, OAuthError, StoreUnavailable
from services.ids import UserId, letter_code_of, new_letter_code, secret_hash
from services.key_values import KeyValues
from services.oidc.authorize import suffices
from services.oidc.clients import Client, Clients
from services.oidc.grants import Grant, family
from services.oidc.requests import PendingLogin
from services.oidc.sessions import BrowserSessions
from services.sessions.states import Session, SessionId

log = logging.getLogger("scanpush.oidc")

EXPIRES_SECONDS = 600
"""How long a person has to type the code and to log in (RFC 8628, section 3.2: ``expires_in``)."""

KEPT_SECONDS = EXPIRES_SECONDS + 120
"""How long a request is kept: an answer given in time is collected a little later, and a device
that polls on is told that its code has expired."""

INTERVAL_SECONDS = 5
"""Between two polls (section 3.2), and what each poll that comes too early adds (section 3.5)."""

EARLY_SECONDS = 1
"""How much earlier than the interval a poll may arrive: the network does not deliver evenly."""

MOST_SLOWED = EXPIRES_SECONDS // INTERVAL_SECONDS
"""Polls that come too early and are counted; by then the interval is as long as the code lives."""

MOST_GUESSES = 20
"""Wrong user codes that an address may send within `GUESS_SECONDS`. With a thousand codes waiting
at once, an address that never stops finds one in 1.3 million windows: 20 * 1000 / 20 ** 8."""

GUESS_SECONDS = 600

MOST_OPENED = 20
"""How often one user code may be opened, by whatever address: a link that is sent to hundreds of
people in the hope that one of them allows it is soon over."""

TRIES = 5
"""User codes drawn until one is free."""

_DENIED = "denied"


class DeviceCodes(NamedTuple):
    """What the device is told."""

    device_code: str
    user_code: str
    """As it is shown: ``BCDF-GHJK``."""


class Device(NamedTuple):
    """One request of a device, as it is kept under the hash of its device code."""

    client: str
    scope: str
    ends_at: float


class Answer(StrEnum):
    """What became of a request, as the person sees it."""

    WAITING = "waiting"
    """Not answered yet."""
    ALLOWED = "allowed"
    DENIED = "denied"
    TAKEN = "taken"
    """Another person allowed it."""
    UNKNOWN = "unknown"
    """No such code, or its time is up."""


class Opened(NamedTuple):
    """What the page knows of a user code. Only while it is `Answer.WAITING` there is a `device`."""

    answer: Answer
    id: str = ""
    device: Device | None = None
    person: UserId | None = None
    """Who has allowed it."""


class Refusal(StrEnum):
    """Why a poll brings no login: the error codes of RFC 8628, section 3.5, and RFC 6749."""

    AUTHORIZATION_PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    ACCESS_DENIED = "access_denied"
    EXPIRED_TOKEN = "expired_token"
    INVALID_GRANT = "invalid_grant"


class DeviceGrants:
    """The requests of devices, from the device code to the grant.

    Raises `StoreUnavailable` from every method.
    """

    def __init__(self, store: KeyValues, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    # The device's side.

    async def begin(self, client: str, scope: str) -> DeviceCodes:
        """Two new codes for a device of `client`.

        Raises:
            ApiError: ``overloaded``: no user code is free.
        """
        device_code = secrets.token_urlsafe(32)
        named = _id(device_code)
        for _ in range(TRIES):
            user_code = new_letter_code()
            kept = await self._store.remember(_user_key(user_code), named, KEPT_SECONDS)
            if kept == named:
                break
        else:
            raise ApiError("overloaded", "No user code is free.", retry_after=INTERVAL_SECONDS)
        device = Device(client, scope, self._clock.now() + EXPIRES_SECONDS)
        await self._store.remember(_device_key(named), json.dumps(device), KEPT_SECONDS)
        return DeviceCodes(device_code, shown(user_code))

    async def redeem(self, device_code: str, client: str) -> Grant | Refusal:
        """The person's grant to that device, for the first poll that finds it; else why not.

        The grant's `session` is the device's own, `family(device_code)`: it lies below no browser
        session, for the browser where it was allowed may be anyone's.
        """
        named = _id(device_code)
        kept = await self._store.recall(_device_key(named))
        device = None if kept is None else Device(*json.loads(kept))
        if device is None or device.client != client:
            return Refusal.INVALID_GRANT
        # Before the pace: `slow_down` is a way to say that the answer is pending (section 3.5).
        answer = await self._store.recall(_answer_key(named))
        if answer == _DENIED:
            return Refusal.ACCESS_DENIED
        if answer is not None:
            # A mark of this call. Where the connection to the store is lost, it may have been kept
            # although no answer came: the second try finds its own then.
            mark = secrets.token_hex(8)
            taken = f"oidc-device-taken:{named}"
            try:
                first = await self._store.remember(taken, mark, KEPT_SECONDS)
            except StoreUnavailable:
                first = await self._store.remember(taken, mark, KEPT_SECONDS)
            if first != mark:
                return Refusal.INVALID_GRANT
            return Grant(*json.loads(answer))._replace(session=family(device_code))
        if self._clock.now() >= device.ends_at:
            return Refusal.EXPIRED_TOKEN
        return await self._pace(named)

    async def _pace(self, named: str) -> Refusal:
        slowed = int(await self._store.recall(_slowed_key(named)) or 0)
        if slowed >= MOST_SLOWED:
            return Refusal.SLOW_DOWN
        poll = secrets.token_hex(8)
        wait = INTERVAL_SECONDS * (1 + slowed) - EARLY_SECONDS
        if await self._store.remember(_poll_key(named), poll, wait) == poll:
            return Refusal.AUTHORIZATION_PENDING
        slowed = await self._store.count(_slowed_key(named), KEPT_SECONDS)
        wait = INTERVAL_SECONDS * (1 + slowed) - EARLY_SECONDS
        await self._store.replace(_poll_key(named), poll, wait)
        return Refusal.SLOW_DOWN

    # The person's side.

    async def open(self, user_code: str, guesser: str) -> Opened:
        """What is behind a user code, which somewhere a screen shows; this allows nothing.

        Args:
            user_code: as it was typed.
            guesser: the address that wrong codes count against.

        Raises:
            ApiError: ``rate_limited``: too many wrong codes of that address, or this one was
                opened too often.
        """
        code = letter_code_of(user_code)
        if code is None:
            return Opened(Answer.UNKNOWN)
        # Both counts belong to one window, so that neither outlives the other.
        window = await self._store.remember(
            f"oidc-guesses:{guesser}", secrets.token_hex(8), GUESS_SECONDS
        )
        tries, hits = f"oidc-tries:{window}", f"oidc-hits:{window}"
        # Counted before the code is looked up, so that guesses at the same moment gain nothing.
        tried = await self._store.count(tries, 2 * GUESS_SECONDS)
        if tried - int(await self._store.recall(hits) or 0) > MOST_GUESSES:
            raise _too_often()
        named = await self._store.recall(_user_key(code))
        if named is None:
            return Opened(Answer.UNKNOWN)
        await self._store.count(hits, 2 * GUESS_SECONDS)
        if await self._store.count(f"oidc-opened:{named}", KEPT_SECONDS) > MOST_OPENED:
            raise _too_often()
        answer = await self._store.recall(_answer_key(named))
        if answer == _DENIED:
            return Opened(Answer.DENIED, named)
        if answer is not None:
            return Opened(Answer.ALLOWED, named, person=Grant(*json.loads(answer)).user_id)
        kept = await self._store.recall(_device_key(named))
        device = None if kept is None else Device(*json.loads(kept))
        if device is None or self._clock.now() >= device.ends_at:
            return Opened(Answer.UNKNOWN)
        return Opened(Answer.WAITING, named, device)

    async def answer(
        self, opened: Opened, session: Session, *, allow: bool, label: str = ""
    ) -> Answer:
        """Keep the answer of the person who is logged in by `session`; the first one counts.

        Returns what is kept, as that person sees it: a second tap on the button is told the same.

        Args:
            label: what the person will know the device's session by.
        """
        if opened.device is None:
            return opened.answer
        value = _DENIED
        if allow:
            grant = Grant(
                client=opened.device.client,
                redirect_uri="",
                scope=opened.device.scope,
                nonce="",
                code_challenge="",
                session=SessionId(""),
                user_id=session.user_id,
                account=session.account,
                amr=session.amr,
                auth_at=session.auth_at,
                kind=session.kind,
                label=label,
            )
            value = json.dumps(grant)
        kept = await self._store.remember(_answer_key(opened.id), value, KEPT_SECONDS)
        if kept == _DENIED:
            return Answer.DENIED
        person: UserId = Grant(*json.loads(kept)).user_id
        return Answer.ALLOWED if person == session.user_id else Answer.TAKEN


class Question(NamedTuple):
    """Whether the person allows the device."""

    client: Client
    user_code: str
    """As the device shows it."""
    sid: SessionId
    """The session that was asked: should another person log in meanwhile, they are asked again."""


class DeviceService:
    """The page ``/device``: whose code it is, who is logged in, and what they answer.

    Args:
        session_ttl_seconds: how long after a login a browser needs no other.
    """

    def __init__(
        self,
        grants: DeviceGrants,
        clients: Clients,
        sessions: BrowserSessions,
        clock: Clock,
        *,
        session_ttl_seconds: float,
    ) -> None:
        self._grants = grants
        self._clients = clients
        self._sessions = sessions
        self._clock = clock
        self._session_ttl_seconds = session_ttl_seconds

    async def begin(self, client: Client, scope: str) -> DeviceCodes:
        """Codes for a device of `client`.

        Raises:
            OAuthError: ``invalid_scope``.
            ApiError: ``overloaded``.
        """
        granted = client.granted(scope)
        if "openid" not in granted.split():
            raise OAuthError("invalid_scope", "scope must hold openid.")
        return await self._grants.begin(client.id, granted)

    async def visit(
        self, user_code: str, guesser: str, session_cookie: str | None
    ) -> Answer | PendingLogin | Question:
        """What a browser is shown that brings a user code: what became of it, a login, or the
        question.

        Raises:
            ApiError: see `DeviceGrants.open`.
        """
        opened = await self._grants.open(user_code, guesser)
        session = await self._sessions.of_cookie(session_cookie)
        client = self._client(opened)
        if client is None:
            return await self._over(opened, session)
        code = shown(letter_code_of(user_code) or "")
        if session is None or self._needs_login(session, client):
            # `back`: a person who comes back without a login is not sent to it once more.
            return PendingLogin(client.id, None, next=f"/device?user_code={code}&back=1")
        return Question(client, code, session.id)

    async def answer(
        self, user_code: str, guesser: str, session_cookie: str | None, sid: str, *, allow: bool
    ) -> Answer | PendingLogin | Question:
        """Keep the answer to the question that the session `sid` was asked.

        Raises:
            ApiError: see `DeviceGrants.open`.
        """
        session = await self._sessions.of_cookie(session_cookie)
        if session is None or session.id != sid:
            return await self.visit(user_code, guesser, session_cookie)
        opened = await self._grants.open(user_code, guesser)
        client = self._client(opened)
        if client is None:
            return await self._over(opened, session)
        if self._needs_login(session, client):
            return await self.visit(user_code, guesser, session_cookie)
        answer = await self._grants.answer(opened, session, allow=allow, label=client.name)
        log.info("device of %s: %s", client.id, answer)
        return answer

    async def _over(self, opened: Opened, session: Session | None) -> Answer:
        """What became of it, for the person of that session."""
        if opened.person is None or session is None:
            return opened.answer
        is_own = await self._sessions.is_same(opened.person, session.user_id)
        return opened.answer if is_own else Answer.TAKEN

    def _client(self, opened: Opened) -> Client | None:
        """Whose device waits for an answer; a client may have been taken out of the settings."""
        return None if opened.device is None else self._clients.get(opened.device.client)

    def _needs_login(self, session: Session, client: Client) -> bool:
        """Whether the person has to log in first, as for the client's other authorizations."""
        now, longest = self._clock.now(), self._session_ttl_seconds
        return not suffices(session.auth_at, session.kind, client, now, longest)


def shown(user_code: str) -> str:
    """A user code as people read it: ``BCDF-GHJK``."""
    half = len(user_code) // 2
    return f"{user_code[:half]}-{user_code[half:]}"


def _too_often() -> ApiError:
    return ApiError("rate_limited", "Too many attempts. Please wait.", retry_after=GUESS_SECONDS)


def _id(device_code: str) -> str:
    return secret_hash(device_code).hex()


def _user_key(code: str) -> str:
    return f"oidc-user-code:{secret_hash(code).hex()}"


def _device_key(named: str) -> str:
    return f"oidc-device:{named}"


def _answer_key(named: str) -> str:
    return f"oidc-device-answer:{named}"


def _poll_key(named: str) -> str:
    return f"oidc-device-poll:{named}"


def _slowed_key(named: str) -> str:
    return f"oidc-device-slowed:{named}"
