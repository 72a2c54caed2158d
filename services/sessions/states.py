"""A session, and what a refresh does to it, as pure functions of (session, request, now).

There are three sorts, kept alike and told apart by `client` and `parent`:

- a **login** of this server's own contract: ``login.refresh_token`` of the status document,
  redeemed at ``POST /api/token/refresh``. Neither client nor parent; its id is the token's ``sid``;
- a **browser session** of the OpenID Provider: `BROWSER` as client, no parent. Its id is the
  ``sid`` of all tokens of its clients; its secret is the cookie ``op_session``, never refreshed;
- a **client's** refresh family: the client's id as client, the browser session as parent (None for
  a device). It ends with its parent.

A refresh token names its session and its generation, and proves itself by its hash (`RefreshToken`
in tokens.py). Each works once and has one successor. RFC 9700, section 4.14.2.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple, NewType

from services.events.entries import Entry, entry
from services.ids import UserId

SessionId = NewType("SessionId", str)
"""Sixteen random bytes in 22 url-safe characters. It is public (the claim ``sid``), and proves
nothing."""

BROWSER = "@browser"
"""The `client` of browser sessions: no client can have that name (`settings.fields.Name`)."""

REPEAT_SECONDS = 10.0
"""For how long the token before the current one brings the same pair again: a lost answer."""

UNCONFIRMED_SECONDS = 60.0
"""How much longer than its scene the session of a login lives that never was acknowledged."""


class Session(NamedTuple):
    """One session. Times are unix seconds. Secrets are kept as SHA-256 only."""

    id: SessionId
    user_id: UserId
    client: str
    parent: SessionId | None
    account: str
    """The account of the login, as in the token's claim of that name."""
    kind: str
    """The login kind: a value of `scenes.states.Kind`."""
    label: str
    """What the person knows it by: the browser's claimed name, as in ``Chrome, Windows``."""
    amr: str
    """Values of the claim ``amr``, with blanks between."""
    scope: str
    """Of a client's session, as in RFC 6749, section 3.3."""
    begun_at: float
    auth_at: float
    """When the person last proved themself (the claim ``auth_time``)."""
    used_at: float
    ends_at: float
    """Of a login whose page has not acknowledged it, soon: `SessionStore.confirm` puts it off, and
    so does the first refresh."""
    generation: int
    """Of the current token. The first is 1."""
    token_hash: bytes
    """SHA-256 of the current token, or of a browser session's cookie."""
    previous_hash: bytes = b""
    """SHA-256 of the token before it; empty for the first."""
    rotated_at: float = 0.0
    """When the current token came in place of the previous one."""


class Refresh(NamedTuple):
    """One presented token, as data, so that every store carries it out atomically.

    The successor is computed before (it depends on the presented token alone), and used only if
    the presented token is current.
    """

    id: SessionId
    client: str
    generation: int
    token_hash: bytes
    next_hash: bytes
    is_genuine: bool
    """The token was issued by this server, whatever the store knows of it: its signature says so.
    Only such a token can end a session by being used again."""
    idle_seconds: float
    """A session that was not used for so long is over; 0: no such limit."""
    life_seconds: float = 0.0
    """How long after its begin the session ends once a token of it was used; 0: when it was to
    end anyway."""


class Refreshed(StrEnum):
    """What came of a refresh."""

    ROTATED = "rotated"
    """The token was current, and has a successor now."""
    REPEATED = "repeated"
    """The token came before the current one, moments ago: the same pair again."""
    REUSED = "reused"
    """The token was used before. Its session is over from now on."""
    REFUSED = "refused"
    """No such session, no such token, another client's, or over."""


class Refreshing(NamedTuple):
    """The answer of a store to a `Refresh`."""

    outcome: Refreshed
    session: Session | None = None
    """As it is now; after ``REUSED`` as it was."""
    ended: Sequence[Session] = ()
    """What ended by this call, after ``REUSED``."""


def refresh(
    session: Session | None, asked: Refresh, now: float
) -> tuple[Refreshed, Session | None]:
    """Carry out `asked` on `session` at `now`, or say why not.

    The session returned is the one to keep: changed after `ROTATED`, to be ended after `REUSED`.
    """
    if (
        session is None
        or session.client != asked.client
        or is_over(session, asked.idle_seconds, now)
    ):
        return Refreshed.REFUSED, session
    if asked.generation == session.generation and asked.token_hash == session.token_hash:
        return Refreshed.ROTATED, rotated(session, asked, now)
    if asked.generation == session.generation - 1 and asked.token_hash == session.previous_hash:
        if now >= session.rotated_at + REPEAT_SECONDS:
            return Refreshed.REUSED, session
        if asked.next_hash == session.token_hash:
            return Refreshed.REPEATED, session
        # The key was lost since: the successor cannot be told again, and that is no theft.
        return Refreshed.REFUSED, session
    if asked.is_genuine and asked.generation < session.generation:
        return Refreshed.REUSED, session
    return Refreshed.REFUSED, session


def rotated(session: Session, asked: Refresh, now: float) -> Session:
    """`session` after its current token was used at `now`."""
    return session._replace(
        generation=session.generation + 1,
        token_hash=asked.next_hash,
        previous_hash=session.token_hash,
        rotated_at=now,
        used_at=now,
        ends_at=max(session.ends_at, session.begun_at + asked.life_seconds),
    )


def reused(session: Session, now: float) -> Entry:
    """What is told of a session that ended because a token of it was used again."""
    return entry(
        "reused",
        now,
        session.id,
        user=session.user_id,
        account=session.account,
        kind=session.kind,
        session=session.id,
    )


def is_over(session: Session, idle_seconds: float, now: float) -> bool:
    """Whether its time, or the time it may stay unused (0: any), is up."""
    idle = bool(idle_seconds) and now >= session.used_at + idle_seconds
    return idle or now >= session.ends_at


def longest_unused(
    sessions: Iterable[Session], new: SessionId, most_per_user: int
) -> list[Session]:
    """Which of a person's sessions without a parent end where `new` is one too many."""
    # By a total order: of two that begin at once, not each may end the other.
    latest_first = sorted(sessions, key=lambda one: (one.used_at, one.id), reverse=True)
    return [one for one in latest_first[most_per_user:] if one.id != new] if most_per_user else []
