"""The documents that `store_mongo` keeps, as pure functions.

The ``_id`` of a document names what it is about, and being unique it decides every race:

    openid:<length of app_id>:<app_id>:<openid>
        An identity. The first identity of a person is the person's **home** and holds the user;
        each further one is a **link** (``of``) to it.
    unionid:<unionid>
        Who has this unionid: a link to an identity.
"""

import uuid
from dataclasses import dataclass
from typing import Any

from services.ids import SceneStr, UnionId, UserId
from services.people.store import Identity, Profile, User

Document = dict[str, Any]

PROFILE = ("name", "avatar", "phone", "email")

SCHEMA = 1

RECENT = 32
"""Logins remembered by their scene. A repeat comes within half a minute of the first."""

LOGIN_FIELDS = (
    *("unionid", "born", "user_id", "name", "avatar"),
    *("account", "created_at", "last_login_at", "logins"),
)
"""What of a home a login reads; most of the rest of it are the scenes in `recent`."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a login brings besides the identity; see `UserStore.login`."""

    scene_str: SceneStr
    account: str
    now: float
    profile: Profile
    user_id: UserId | None


def key_of(identity: Identity) -> str:
    """The length keeps ``a:b`` + ``c`` and ``a`` + ``b:c`` apart."""
    return f"openid:{len(identity.app_id)}:{identity.app_id}:{identity.openid}"


def profile_fields(profile: Profile) -> Document:
    return {name: getattr(profile, name) for name in PROFILE}


def home_document(key: str, unionid: UnionId | None, wish: Wish) -> Document:
    """A new user with its first login counted. `born` is the scene that made it, for ever."""
    return {
        "_id": key,
        "v": SCHEMA,
        "home": True,
        "user_id": wish.user_id or uuid.uuid4().hex,
        **profile_fields(wish.profile),
        "account": wish.account,
        "created_at": wish.now,
        "last_login_at": wish.now,
        "logins": 1,
        "born": wish.scene_str,
        "recent": [wish.scene_str],
        "absorbed": [],
        "unionid": unionid,
        "following": True,
        "follow_changed_at": 0.0,
    }


def uncounted(key: str, wish: Wish) -> Document:
    """Matches the home at `key` unless this login is counted there."""
    return {"_id": key, "home": True, "recent": {"$nin": [wish.scene_str]}}


def counting(wish: Wish) -> Document:
    """The change that counts this login and notes what is newly known of the person."""
    change: Document = {
        "$inc": {"logins": 1},
        "$max": {"last_login_at": wish.now},
        "$push": {"recent": {"$each": [wish.scene_str], "$slice": -RECENT}},
    }
    if learned := {field: text for field, text in profile_fields(wish.profile).items() if text}:
        change["$set"] = learned
    return change


def link_document(key: str, of: str, unionid: UnionId | None) -> Document:
    """A further identity of the person whose document is named `of`."""
    return {
        "_id": key,
        "v": SCHEMA,
        "home": False,
        "of": of,
        "unionid": unionid,
        "following": True,
        "follow_changed_at": 0.0,
    }


def unionid_name(unionid: UnionId) -> str:
    """Under which the owner of a unionid is noted."""
    return f"unionid:{unionid}"


def claim_document(name: str, of: str) -> Document:
    """That the unionid of that name belongs to the identity `of`."""
    return {"_id": name, "v": SCHEMA, "home": False, "of": of}


def user_of(home: Document) -> User:
    return User(
        id=UserId(home["user_id"]),
        name=home["name"],
        avatar=home["avatar"],
        account=home["account"],
        created_at=home["created_at"],
        last_login_at=home["last_login_at"],
        logins=home["logins"],
    )
