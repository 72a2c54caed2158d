"""What the operator's other systems ask about people and accounts: find, copy and remove a person,
and the one access_token of an account.

Who asks has shown the operator's token (handlers/operator_api.py).
"""

import base64
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from services.clock import Clock
from services.errors import ApiError
from services.events.service import EventService
from services.ids import AppId, OpenId, UnionId, UserId, base64url
from services.people.store import Identity, Record, User, UserStore, users_of_openid
from services.sessions.service import SessionService
from services.sessions.states import BROWSER, Session
from services.sessions.store import SessionStore
from services.wechat.accounts import Account, Accounts

log = logging.getLogger("scanpush.operator")

PAGE = 50
"""Users in one answer."""

LONGEST = 256
"""Characters of a search: ids of the operator's own system have up to 128."""

Find = Callable[[str], Awaitable[User | None]]


class PeopleService:
    """Finds, copies and removes people.

    Args:
        app_ids: within which an openid is looked for: those of the settings.
        store: of `sessions`; both None where neither logins nor OpenID clients have sessions.
    """

    def __init__(
        self,
        users: UserStore,
        sessions: SessionService | None,
        store: SessionStore | None,
        events: EventService,
        clock: Clock,
        app_ids: Iterable[AppId],
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._store = store
        self._events = events
        self._clock = clock
        self._app_ids = tuple(app_ids)
        self._finds: Mapping[str, Find] = {
            "id": lambda text: self._users.get(UserId(text)),
            "openid": self._by_openid,
            "unionid": self._by_unionid,
        }

    async def find(self, asked: Mapping[str, str], cursor: str) -> dict[str, Any]:
        """The document of ``GET /api/operator/users``.

        Args:
            asked: one of ``id``, ``openid``, ``unionid``, and ``name``: the beginning of a name.
            cursor: of the page before; empty for the first one.

        Raises:
            ApiError: ``bad_request``.
            StoreUnavailable
        """
        if len(asked) != 1:
            raise ApiError("bad_request", "Ask by one of id, openid, unionid, name.")
        ((by, text),) = asked.items()
        if not text or len(text) > LONGEST:
            message = f"{by} must be a text of 1 to {LONGEST} characters."
            raise ApiError("bad_request", message, field=by)
        if cursor and by != "name":
            raise ApiError("bad_request", "Only a search by name has a cursor.", field="cursor")
        following = None
        if by == "name":
            found = await self._users.named(text, _position(cursor), PAGE)
            if len(found) == PAGE:
                following = _cursor(found[-1])
        else:
            user = await self._finds[by](text)
            found = [] if user is None else [user]
        return {"users": [_listed(user) for user in found], "cursor": following}

    async def _by_openid(self, text: str) -> User | None:
        found = await users_of_openid(self._users, self._app_ids, OpenId(text))
        return found[0] if found else None

    async def _by_unionid(self, text: str) -> User | None:
        # As of an identity that is new here.
        found = await self._users.find(Identity(AppId(""), OpenId(""), UnionId(text)))
        return None if found is None else found[0]

    async def export(self, user_id: UserId) -> dict[str, Any] | None:
        """The document of ``GET /api/operator/users/<id>/export``: everything that is kept of the
        person, without secrets; None for an unknown id.

        Raises `StoreUnavailable`.
        """
        record = await self._users.record(user_id)
        if record is None:
            return None
        user, ids = record.user, (record.user.id, *record.aliases)
        entries = await self._events.entries_of(ids, _openids(record))
        log.info("user %s: the operator took a copy of all that is kept", user.id)
        return {
            "exported_at": self._clock.now(),
            "user": {
                **_listed(user),
                "avatar": user.avatar,
                "phone": record.phone,
                "email": user.email,
                "logins": user.logins,
                "banned_at": record.banned_at,
            },
            "aliases": list(record.aliases),
            "identities": [identity._asdict() for identity in record.identities],
            "sessions": [_copied(session) for session in await self._sessions_of(user.id)],
            "audit": entries,
        }

    async def _sessions_of(self, user_id: UserId) -> Sequence[Session]:
        """The person's sessions, each followed by those below it."""
        found: list[Session] = []
        if self._store is not None:
            now = self._clock.now()
            for session in await self._store.of_user(user_id, now):
                found += [session, *await self._store.below(session.id, now)]
        return found

    async def remove(self, user_id: UserId) -> bool:
        """Forget the person under every id and identity, and end all that goes on in their name;
        False for an unknown id.

        A login of theirs after that is one of a new person. Entries of the audit name them no more,
        and events that are not told yet never are. What a failure leaves is done by asking again.

        Raises `StoreUnavailable`.
        """
        # Before, so that the clients' log-outs are told while there is someone to tell of, and
        # while it is known which openids are theirs.
        ended = await self._end([user_id])
        record = await self._users.record(user_id)
        openids = [] if record is None else _openids(record)
        if record is not None:
            await self._events.forget((record.user.id, *record.aliases), openids)
        ids = await self._users.remove(user_id)
        # And after: what began before the person was removed is found here, and nothing begins
        # from then on. Under each id, since none leads to the others any more.
        ended += await self._end(ids or [user_id])
        await self._events.forget(ids or [user_id], openids)
        if ids:
            log.info("user %s is removed, %d sessions ended", ids[0], ended)
        return bool(ids or ended)

    async def _end(self, ids: Sequence[UserId]) -> int:
        if self._sessions is None:
            return 0
        return sum([len(await self._sessions.end_of_user(user_id)) for user_id in ids])


def operators_account(accounts: Accounts, name: str) -> Account:
    """The account that the operator names; empty: the only one.

    Raises `ApiError`: ``not_found``; ``bad_request`` for no name where there are several accounts,
    of which the other system could be given a wrong one's credential.
    """
    if not name and len(list(accounts)) > 1:
        raise ApiError("bad_request", "account is missing: there are several.", field="account")
    try:
        return accounts.named(name)
    except ApiError:
        raise ApiError("not_found", "There is no such account here.") from None


async def access_token(account: Account, now: float) -> dict[str, Any]:
    """The document of ``GET /api/operator/access_token``: the token that this server uses itself,
    for another system of the account. It is renewed when its time is nearly up, never for this.

    Raises:
        ApiError: ``not_found``: the account has none.
        WeChatError, StoreUnavailable: there is no token, and none can be had.
    """
    if account.tokens is None:
        raise ApiError("not_found", "That account has no app_id.")
    token = await account.tokens.current()
    log.info("account %s: the operator was given its credential", account.name)
    return {"access_token": token.value, "expires_in": max(0, int(token.expires_at - now))}


def _openids(record: Record) -> Sequence[OpenId]:
    return [identity.openid for identity in record.identities]


def _listed(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "account": user.account,
        "banned": user.banned,
        "created_at": user.created_at,
        "last_login_at": user.last_login_at,
    }


def _copied(session: Session) -> dict[str, Any]:
    """A session but for its hashes: an allow-list."""
    names = ("id", "parent", "account", "kind", "label", "amr", "scope")
    times = ("begun_at", "auth_at", "used_at", "ends_at")
    client = "" if session.client == BROWSER else session.client
    return {
        **{name: getattr(session, name) for name in (*names, *times)},
        "client": client,
        "browser": session.client == BROWSER,
    }


def _cursor(last: User) -> str:
    return base64url(json.dumps([last.name, last.id]).encode())


def _position(cursor: str) -> tuple[str, UserId] | None:
    if not cursor:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        name, user_id = map(str, json.loads(base64.b64decode(padded, b"-_", validate=True)))
        # As a store keeps it: no half of a character that has two.
        (name + user_id).encode()
    except (ValueError, TypeError, RecursionError):
        raise ApiError("bad_request", "This is no cursor.", field="cursor") from None
    return name, UserId(user_id)
