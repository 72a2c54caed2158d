"""The port to the people who log in: users, their identities, and what a login does to them.

A person has one user and one identity for each app_id they came by. Backends: `store_sqlite`,
`store_mongo`.
"""

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


class Login(NamedTuple):
    """What `UserStore.login` did, the same however often it is asked for one scene."""

    user: User
    is_new: bool


NOTHING_KNOWN = Profile()


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
    ) -> Login:
        """Find or register the person, note what is newly known of them, and note this login.

        Args:
            user_id: the id a new person is to get, from the operator's own system; where a user
                of that id exists, the new identity is theirs. Ignored for known identities.
        """

    async def find(self, identity: Identity) -> tuple[User, Identity] | None:
        """The user of (app_id, openid) and the identity as stored, or None.

        An identity that is new here, but whose unionid is given and known, finds that person: they
        came by another kind of login.
        """

    async def get(self, user_id: UserId) -> User | None:
        """The user with that id; an alias brings the user it became."""

    async def join(self, identity: Identity) -> None:
        """Note a unionid learned after the login, joining users where that shows them to be one."""

    async def follow(self, identity: Identity, at: float, *, following: bool) -> bool:
        """Note that the person follows the account, or no longer does; an unfollow also forgets
        the user's profile (WeChat: "on unsubscribe the developer must delete that user's data").

        Changes arrive in any order: one that is older (`at`, WeChat's CreateTime) than the last
        one noted changes nothing and returns False, as does an unknown identity.
        """

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the backend answers now."""
