"""A node of the distributed backend whose people live in its own memory.

    python -m bench.without_mongodb --config FILE

Only for measuring: what is left of a login's cost when MongoDB costs nothing.
"""

import sys
import uuid
from typing import Any

import server
from services import backends
from services.ids import AppId, SceneStr, UnionId, UserId
from services.people.store import NOTHING_KNOWN, Identity, Login, Profile, User


class PeopleInMemory:
    """As much of a `UserStore` as logins need."""

    def __init__(self, url: str, database: str) -> None:
        self._users: dict[tuple[str, str], User] = {}
        self._unionids: dict[tuple[str, str], UnionId | None] = {}
        self._first_scenes: dict[UserId, SceneStr] = {}

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def ping(self) -> None:
        """Always there."""

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
        key = (identity.app_id, identity.openid)
        user = self._users.get(key)
        if user is None:
            user = User(UserId(uuid.uuid4().hex), "", "", account, now, now, 0)
            self._first_scenes[user.id] = scene_str
        user = user._replace(last_login_at=now, logins=user.logins + 1)
        self._users[key] = user
        self._unionids[key] = identity.unionid or self._unionids.get(key)
        owes = unionid_wanted and self._unionids[key] is None
        return Login(user, self._first_scenes[user.id] == scene_str, owes)

    async def find(self, identity: Identity) -> tuple[User, Identity] | None:
        key = (identity.app_id, identity.openid)
        user = self._users.get(key)
        return None if user is None else (user, identity._replace(unionid=self._unionids[key]))

    async def join(self, identity: Identity) -> None:
        """No person has two identities here: the unionid is noted, and that is all."""
        self._unionids[identity.app_id, identity.openid] = identity.unionid

    async def owed_unionids(self, app_id: AppId, now: float, limit: int) -> list[Identity]:
        """The node asks soon after each login; nothing ends before it has."""
        return []

    async def count_owed_unionids(self, limit: int) -> int:
        return 0

    async def follow(self, identity: Identity, at: float, *, following: bool) -> bool:
        return True


class NoScreens:
    """As much of a `ScreenStore` as a node asks without ``operator.token``: no screen is paired."""

    def __init__(self, users: PeopleInMemory) -> None:
        pass

    async def open(self) -> None:
        """Nothing to open."""

    async def of_secret(self, secret_hash: bytes) -> None:
        return None


def main() -> int:
    people: Any = PeopleInMemory
    screens: Any = NoScreens
    backends.MongoUserStore = people  # type: ignore[misc]
    backends.MongoScreenStore = screens  # type: ignore[misc]
    return server.main()


if __name__ == "__main__":
    sys.exit(main())
