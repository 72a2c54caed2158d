"""The port to the people who log in: users, their identities, and what a login does to them.

A person has one user and one identity for each app_id they came by. Backends: `store_sqlite`,
`store_mongo`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from services.ids import AppId, OpenId, SceneStr, UnionId, UserId


class Identity(NamedTuple):
    """How WeChat names a person to one app_id. `unionid` is None while unknown."""

    app_id: AppId
    openid: OpenId
    unionid: UnionId | None = None


class Profile(NamedTuple):
    """What is known of a person besides; empty text is unknown and never overwrites.

    `phone` and `email` are what the person typed: not verified, and never a reason to merge users.
    """

    name: str = ""
    avatar: str = ""
    phone: str = ""
    email: str = ""


class User(NamedTuple):
    """One person, by whichever kind of login. Times are unix seconds."""

    id: UserId
    name: str
    avatar: str
    account: str
    created_at: float
    last_login_at: float
    logins: int
    banned: bool = False
    """The operator keeps this person out."""
    email: str = ""
    """What the person typed at registration (`Profile`)."""


class Login(NamedTuple):
    """What `UserStore.login` did, the same however often it is asked for one scene.

    Where `user` is banned, nothing was done.
    """

    user: User
    is_new: bool
    owes_unionid: bool = False
    """WeChat is still to be asked for the unionid of the identity that logged in."""


class Person(NamedTuple):
    """Who a user id stands for: what sessions need to know of the person."""

    ids: tuple[UserId, ...]
    """All ids of the person: the one that stayed first, then its aliases."""
    banned: bool = False
    known: bool = True
    """False where there is no such user, or no more: no session begins then."""


class StoredIdentity(NamedTuple):
    """An identity as it is kept, with what WeChat said last of its following."""

    app_id: AppId
    openid: OpenId
    unionid: UnionId | None
    following: bool
    follow_changed_at: float
    """WeChat's CreateTime of that; 0.0: nothing was heard of it."""


class Record(NamedTuple):
    """Everything that is kept of one person, but for their sessions."""

    user: User
    phone: str
    banned_at: float | None
    aliases: tuple[UserId, ...]
    identities: tuple[StoredIdentity, ...]
    """By app_id and openid."""


NOTHING_KNOWN = Profile()

UNIONID_DUE_SECONDS = 3.0
"""How long after a login a unionid that is owed is left to the node of the login."""

LEASE_SECONDS = 30.0
"""How long a unionid that is owed is left to the node that took it up: more than asking takes."""


LAST_CHARACTER = "\U0010ffff"
"""After every other: what begins with a text sorts before that text and this."""


class UserStore(Protocol):
    """Keeps people and their identities.

    Guarantees every backend gives, held by tests/contracts/test_user_store.py:

    - **One person, one user**: any number of simultaneous first logins of one identity, on any
      number of nodes, make one user, and exactly one of them is ``is_new``.
    - **Idempotent by scene**: `login` again with the same `scene_str` returns the same user and
      the same ``is_new`` and counts once.
    - **unionid joins**: a new identity whose unionid is known belongs to the user who has it. When
      two users turn out to be one, the older id stays and the other is its alias for ever, no
      identity is lost, and one log line says so. What is known of the other fills what is not
      known of the older, and is kept nowhere else.
    - **A ban is of the person**: it holds under every id and identity of theirs, also those that
      turn out later to be theirs, and once `ban` has returned no login of theirs is counted.
    - **Removed is removed**: once `remove` has returned, nothing of the person is kept, and a login
      of any of their identities is that of a new person. A login, join or follow at the same moment
      either comes before and is removed, or after and finds nothing; no identity is left without
      its user, and no unionid without its identity.
    - **A unionid that is owed is not forgotten**: that is noted with the login itself, and stands
      until `join` has done all that follows from WeChat's answer. Whatever ends in between (this
      process, the store, WeChat) is made up for by the next caller of `owed_unionids`.

    Raises `errors.StoreUnavailable`, and only that; doing it again is then safe.
    """

    async def login(
        self,
        identity: Identity,
        scene_str: SceneStr,
        account: str,
        now: float,
        *,
        profile: Profile = NOTHING_KNOWN,
        user_id: UserId | None = None,
        unionid_wanted: bool = False,
    ) -> Login:
        """Find or register the person, note what is newly known of them, and note this login.

        Of a banned person nothing is noted but further identities and a unionid that is owed.

        Args:
            user_id: the id a new person is to get, from the operator's own system; where a user
                of that id exists, the new identity is theirs. Ignored for known identities.
            unionid_wanted: WeChat can be asked for the unionid of this identity. Where none is
                known, it is owed from now on.
        """

    async def find(self, identity: Identity) -> tuple[User, Identity] | None:
        """The user of (app_id, openid) and the identity as stored, or None.

        An identity that is new here, but whose unionid is given and known, finds that person: they
        came by another kind of login.
        """

    async def get(self, user_id: UserId) -> User | None:
        """The user with that id; an alias brings the user it became."""

    async def ban(self, user_id: UserId, banned: bool, now: float) -> User | None:
        """Keep the person out from now on, or let them in again; None for an unknown id.

        The user as it is then. Doing it again is no error.
        """

    async def person(self, user_id: UserId) -> Person:
        """Who has that id or alias; an id that is unknown stands for itself."""

    async def named(
        self, prefix: str, after: tuple[str, UserId] | None, limit: int
    ) -> Sequence[User]:
        """Users whose name begins with `prefix`, which is not empty, in the order of name and id.

        Upper and lower case differ. By an index: it costs what it returns.

        Args:
            after: name and id of the last user of the page before.
        """

    async def record(self, user_id: UserId) -> Record | None:
        """Everything that is kept of the person, for a copy of it; None for an unknown id."""

    async def remove(self, user_id: UserId) -> Sequence[UserId]:
        """Forget the person with all aliases and identities. Returns their ids, none where the id
        is unknown.

        Sessions are not touched: end those of all ids returned, afterwards.
        """

    async def join(self, identity: Identity) -> None:
        """Note what was learned of a unionid after the login; it is owed no more.

        Users whom it shows to be one are joined; if one of them is banned, so is the user who
        stays. Without a unionid: WeChat tells none.
        """

    async def owed_unionids(self, app_id: AppId, now: float, limit: int) -> Sequence[Identity]:
        """Take up unionids that are owed since `UNIONID_DUE_SECONDS`, the longest due first.

        For `LEASE_SECONDS` no other caller is given them; of two callers at once each gets others.
        """

    async def count_owed_unionids(self, limit: int) -> int:
        """How many unionids are owed, of all apps; `limit` stands for more as well."""

    async def follow(self, identity: Identity, at: float, *, following: bool) -> bool:
        """Note that the person follows the account, or no longer does; an unfollow also forgets
        the user's profile (WeChat: "on unsubscribe the developer must delete that user's data").

        Changes arrive in any order: one that is older (`at`, WeChat's CreateTime) than the last
        one noted changes nothing and returns False, as does an unknown identity. The last one
        noted returns True however often it comes, so that what follows from it can be repeated.
        """

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the backend answers now."""


async def users_of_openid(
    users: UserStore, app_ids: Iterable[AppId], openid: OpenId
) -> Sequence[User]:
    """The users with that openid within any of those app_ids. Raises `StoreUnavailable`."""
    found = [await users.find(Identity(app_id, openid)) for app_id in app_ids]
    return [one[0] for one in found if one is not None]
