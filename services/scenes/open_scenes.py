"""Which scene a person has open at an account: one at most, so that ``1`` has one meaning."""

import math

from services.ids import OpenId, SceneStr, is_scene_str
from services.scenes.admission import AdmissionService
from services.scenes.login import LoginService
from services.scenes.states import Move, Scene, State
from services.scenes.store import SceneStore

OPEN_SECONDS = 3600.0
"""How long a person's open scene is remembered: longer than any scene is open."""


class OpenScenes:
    """Remembers a person's newest scene, together with when they came to it by WeChat's clock
    (CreateTime): what happened before that is not about it."""

    def __init__(
        self, scenes: SceneStore, login: LoginService, admission: AdmissionService
    ) -> None:
        self._scenes = scenes
        self._login = login
        self._admission = admission

    async def note(self, account: str, openid: OpenId, scene_str: SceneStr, since: int) -> None:
        """The person has claimed that scene; an older one of theirs ends.

        To be called before they are asked anything, so that no crash leaves a question behind
        whose answer leads nowhere. Free where the settings leave nothing to wait for.
        """
        if not self._admission.asks:
            return
        kept = await self._scenes.replace(
            _key(account, openid), f"{scene_str} {since}", OPEN_SECONDS
        )
        older = (kept or "").partition(" ")[0]
        if older != scene_str and is_scene_str(older):
            await self._supersede(SceneStr(older), openid)

    async def _supersede(self, older: SceneStr, openid: OpenId) -> None:
        if self._admission.confirms:
            undecided = frozenset({State.SCANNED, State.CONFIRMING})
            await self._login.end(older, Move(State.DENIED, undecided, openid=openid))
        registering = frozenset({State.REGISTERING})
        await self._login.end(older, Move(State.CANCELLED, registering, openid=openid))

    async def of(self, account: str, openid: OpenId, at: float = math.inf) -> Scene | None:
        """The person's scene at that CreateTime, in whatever state it is by now."""
        return await self._kept(_key(account, openid), openid, at)

    async def asked(self, account: str, openid: OpenId, at: float) -> Scene | None:
        """The scene about which a page on the person's phone asks them (see `asked_key`)."""
        return await self._kept(asked_key(account, openid), openid, at)

    async def _kept(self, key: str, openid: OpenId, at: float) -> Scene | None:
        kept = await self._scenes.recall(key)
        scene_str, _, since = (kept or "").partition(" ")
        if not is_scene_str(scene_str) or at < int(since):
            return None
        scene = await self._login.read(SceneStr(scene_str))
        return scene if scene is not None and scene.openid == openid else None


def asked_key(account: str, openid: OpenId) -> str:
    """Where a door keeps "scene_str time" while its page asks: not answered in the chat, so it
    displaces nothing there, but ended with the person's consent all the same."""
    return f"asked:{account}:{openid}"


def _key(account: str, openid: OpenId) -> str:
    return f"open:{account}:{openid}"
