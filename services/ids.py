"""The kinds of strings that must never stand in one another's place."""

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
