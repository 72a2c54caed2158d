"""The kinds of strings that must never stand in one another's place."""

import re
from typing import NewType

SceneStr = NewType("SceneStr", str)
"""A scene's public id: a lower-case version-4 UUID with hyphens. It proves nothing."""

WatchToken = NewType("WatchToken", str)
"""The secret of the browser that began a scene: 43 url-safe characters, 256 bits."""

AppId = NewType("AppId", str)
"""WeChat's name of one account, mini program or website app (its wire name: appid)."""

OpenId = NewType("OpenId", str)
"""One person within one `AppId`."""

UnionId = NewType("UnionId", str)
"""One person across all the `AppId`s of one Open Platform account; may be unknown."""

UserId = NewType("UserId", str)
"""Our own id of a person: the `sub` of the token."""

_SCENE_STR = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def is_scene_str(text: str) -> bool:
    """Whether `text` has the one form a `SceneStr` has."""
    return _SCENE_STR.fullmatch(text) is not None
