"""A screen in public, and the port to the screens. Backends: `store_sqlite`, `store_mongo`."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from services.ids import SceneStr

MOST_SCENES = 32
"""Scenes remembered of a screen, the newest: a page shows one and has a spare one, and what it left
behind ends by itself within half an hour."""


class Beginning(NamedTuple):
    """A scene that a screen's page has begun."""

    scene_str: SceneStr
    at: float
    page: str
    browser: str


class Screen(NamedTuple):
    """What is kept of a screen: who it is, what the operator wants of it, when it was seen.

    A screen of the settings has such a record as well, once it was seen or cared for; its secret
    and its label are those of the settings, and `secret_hash` is empty.

    Times are unix times, 0 for never.
    """

    id: str
    """For the store only: the name may change."""
    name: str
    label: str = ""
    keypad: bool = False
    secret_hash: bytes = b""
    next_hash: bytes = b""
    """Of the secret that takes the place of the other at its first use; empty for none."""
    paired_at: float = 0.0
    revoked_at: float = 0.0
    notice: str = ""
    reload: int = 0
    """The id of the newest reload that was asked for; ids grow."""
    seen_at: float = 0.0
    begun_at: float = 0.0
    """When its newest code was made."""
    page: str = ""
    """The version of its page, as that says itself."""
    browser: str = ""
    transport: str = ""
    """How the page was connected last: ``socket``, ``long_poll`` or ``poll``."""
    scenes: tuple[SceneStr, ...] = ()
    """Its newest scenes, the newest last, at most `MOST_SCENES`."""

    def with_scene(self, beginning: Beginning) -> "Screen":
        """The screen once its page has begun that scene."""
        return self._replace(
            seen_at=beginning.at,
            begun_at=beginning.at,
            page=beginning.page,
            browser=beginning.browser,
            scenes=(*self.scenes, beginning.scene_str)[-MOST_SCENES:],
        )

    def revoked(self, at: float) -> "Screen":
        """The screen once it has ended. Its scenes are kept, for their pages are to be told."""
        # No screen can be named so.
        return self._replace(name=f"-{self.id}", secret_hash=b"", next_hash=b"", revoked_at=at)


def new_id() -> str:
    return secrets.token_hex(16)


class ScreenStore(Protocol):
    """Keeps screens.

    Guarantees every backend gives, held by tests/contracts/test_screen_store.py:

    - **A name is one screen's**: of any number of `pair` and renaming `change` at once, on any
      number of nodes, one gets it.
    - **Revoked is revoked**: after `revoke` has returned, no `begun` of the screen succeeds, and
      the screen it returned has every scene of one that did.
    - **One secret after the other**: from the first `begun` with the next secret on, the one before
      is unknown.

    Raises `errors.StoreUnavailable`, and only that; doing it again is then safe.
    """

    async def all(self) -> Sequence[Screen]:
        """Every screen, by name; also the revoked ones that were not forgotten."""

    async def of_secret(self, secret_hash: bytes) -> Screen | None:
        """The screen that has this secret, or is about to."""

    async def pair(self, screen: Screen) -> bool:
        """Keep a new screen; False, and nothing changes, where another has that name."""

    async def begun(self, secret_hash: bytes, beginning: Beginning) -> Screen | None:
        """Note a scene of the screen with this secret, which is the only one from now on; None
        where no screen has it any longer."""

    async def begun_at(self, name: str, beginning: Beginning) -> None:
        """Note a scene of a screen of the settings."""

    async def seen(self, screen_id: str, transport: str, at: float) -> None:
        """Its page is connected."""

    async def change(self, screen_id: str, changes: Mapping[str, Any]) -> Screen | None:
        """Set fields of a screen; None, and nothing changes, where it is gone or the name that is
        set is another's."""

    async def care_for(self, name: str, changes: Mapping[str, Any]) -> None:
        """Set fields of a screen of the settings, which may have no record yet."""

    async def revoke(self, screen_id: str, at: float) -> Screen | None:
        """End a screen: its name is free, its secrets are forgotten. None where it has ended."""

    async def forget(self, revoked_before: float) -> None:
        """Forget the screens that were revoked before that time."""
