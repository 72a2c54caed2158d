"""What the operator does with screens: list, rename, revoke, reload, notice, another secret.

Each deed is saved, then told: to the pages of this node at once, to the other nodes by the broker.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from services.clock import Clock
from services.errors import ApiError, StoreUnavailable
from services.ids import SceneStr, secret_hash
from services.screens.directory import REVOKED, Screens, name_taken
from services.screens.store import Screen

log = logging.getLogger("scanpush.screens")

EndScene = Callable[[SceneStr, Mapping[str, str]], Awaitable[object]]
"""Ends an open scene, which keeps these details; one that has ended stays as it is."""


class ScreenCare:
    """The operator's deeds.

    Args:
        tell_nodes: has the other nodes read the screens again.
        end_scene: see `EndScene`.
    """

    def __init__(
        self,
        screens: Screens,
        clock: Clock,
        tell_nodes: Callable[[], Awaitable[None]],
        end_scene: EndScene,
    ) -> None:
        self._screens = screens
        self._clock = clock
        self._tell_nodes = tell_nodes
        self._end_scene = end_scene

    async def list(self) -> Mapping[str, Any]:
        """The document of ``GET /api/operator/kiosks``, by name. Raises `StoreUnavailable`."""
        kept = [one for one in await self._screens.store.all() if self._screens.is_record(one)]
        records = {one.name: one for one in kept}
        for name in self._screens.configured:
            records.setdefault(name, Screen("", name))
        return {"kiosks": [self._document(records[name]) for name in sorted(records)]}

    async def told(self) -> None:
        """What was saved is told to all, soon where a store fails: it is done all the same."""
        try:
            await self._screens.refresh()
        except StoreUnavailable as error:
            log.warning("pages of screens hear of a change some seconds later: %s", error)
            self._screens.on_change()
        await self._tell_nodes()

    async def change(self, name: str, changes: Mapping[str, Any]) -> None:
        """Set ``label``, ``keypad`` or ``name`` of a paired screen.

        Its secret stays. Another name ends its open scenes, which bear the old one; the page goes
        on with the name it knows, for a screen is known by its secret.

        Raises:
            ApiError: ``not_found``; ``conflict`` for a screen of the settings, or a taken name.
            StoreUnavailable
        """
        screen = await self._paired(name)
        new_name = changes.get("name", name)
        if new_name in self._screens.configured and new_name != name:
            raise name_taken()
        changed = await self._screens.store.change(screen.id, changes)
        if changed is None:
            raise name_taken()
        await self.told()
        log.info("screen %s is changed: %s", name, ", ".join(sorted(changes)))
        if new_name != name:
            await self._end(changed.scenes, {})

    async def revoke(self, name: str) -> None:
        """End a paired screen at once: its secret is void, its page is told, its open scenes end.

        Raises: as `change`.
        """
        screen = await self._paired(name)
        revoked = await self._screens.store.revoke(screen.id, self._clock.now())
        if revoked is None:
            raise _unknown()
        await self.told()
        try:
            await self.end_revoked(revoked)
        except StoreUnavailable as error:
            # Asked again, it would not be found any more.
            log.warning("screen %s is revoked, its scenes end some seconds later: %s", name, error)
            self._screens.on_change()
        log.info("screen %s is revoked", name)

    async def end_revoked(self, screen: Screen) -> None:
        """End the open scenes of a screen that is revoked. Raises `StoreUnavailable`; again is
        safe."""
        await self._end(screen.scenes, REVOKED)

    async def reload(self, name: str) -> None:
        """Have the page of any screen load itself again. Raises: ``not_found``, StoreUnavailable"""
        await self._care_for(name, {"reload": int(self._clock.now() * 1000)})

    async def notice(self, name: str, text: str) -> None:
        """Have the page of any screen show a line, until another one or an empty one comes.

        Raises: ``not_found``, StoreUnavailable
        """
        await self._care_for(name, {"notice": text})

    async def new_secret(self, name: str) -> Mapping[str, Any]:
        """A second secret for a paired screen; the first ends when this one is used.

        Asked again, it replaces the one that was not used.

        Raises: as `change`.
        """
        screen = await self._paired(name)
        secret = secrets.token_urlsafe(32)
        hashed = secret_hash(secret)
        if await self._screens.store.change(screen.id, {"next_hash": hashed}) is None:
            raise _unknown()
        log.info("screen %s gets a new secret", name)
        return {"name": name, "secret": secret, "path": f"/kiosk#{name}:{secret}"}

    async def _care_for(self, name: str, changes: Mapping[str, Any]) -> None:
        if name in self._screens.configured:
            await self._screens.store.care_for(name, changes)
        else:
            screen = await self._paired(name)
            if await self._screens.store.change(screen.id, changes) is None:
                raise _unknown()
        await self.told()

    async def _paired(self, name: str) -> Screen:
        if name in self._screens.configured:
            raise ApiError(
                "conflict", f"This screen stands in config.yaml: change kiosks.{name} there."
            )
        for screen in await self._screens.store.all():
            if screen.name == name and screen.secret_hash:
                return screen
        raise _unknown()

    async def _end(self, scenes: Sequence[SceneStr], details: Mapping[str, str]) -> None:
        for scene_str in scenes:
            await self._end_scene(scene_str, details)

    def _document(self, screen: Screen) -> Mapping[str, Any]:
        settings = self._screens.configured.get(screen.name)
        now = self._clock.now()
        transport = self._screens.transport(screen)
        seen_at = now if transport else screen.seen_at
        return {
            "name": screen.name,
            "label": (screen if settings is None else settings).label,
            "keypad": (screen if settings is None else settings).keypad,
            "configured": settings is not None,
            "paired_at": screen.paired_at or None,
            "up": self._screens.is_up(seen_at),
            "last_seen_at": seen_at or None,
            "page": screen.page,
            "browser": screen.browser,
            "transport": transport or screen.transport,
            "code_age_seconds": int(max(0, now - screen.begun_at)) if screen.begun_at else None,
            "notice": screen.notice,
            "replacing_secret": bool(screen.next_hash),
        }


def _unknown() -> ApiError:
    return ApiError("not_found", "There is no such screen.")
