"""WeChat's pictures of mini-program codes, fetched when first looked at and kept for a while."""

import asyncio
from collections import OrderedDict

from services.doors.mini_program import scene_hex
from services.errors import StoreUnavailable, WeChatError, WeChatUnavailable
from services.ids import SceneStr
from services.rate_limits import RateLimits
from services.supervisor import Supervisor
from services.wechat.mini_program import MiniProgramAPI, Picture

CACHED = 64
"""A picture has some 100 KiB. A page asks for its own once."""

TYPES = frozenset({"image/jpeg", "image/png"})

Failure = WeChatError | StoreUnavailable


class MiniProgramPictures:
    """One call to WeChat for each code, however many ask for it meanwhile."""

    def __init__(self, api: MiniProgramAPI, supervisor: Supervisor, limits: RateLimits) -> None:
        self._api = api
        self._limits = limits
        self._supervisor = supervisor
        self._kept: OrderedDict[SceneStr, asyncio.Task[Picture | Failure]] = OrderedDict()

    async def of(self, scene_str: SceneStr, address: str) -> Picture:
        """The picture of that scene's code, for somebody at `address`.

        Raises:
            ApiError: ``rate_limited``: that address had WeChat draw too many.
            WeChatError, StoreUnavailable: the next call tries again.
        """
        if scene_str not in self._kept:
            await self._limits.spend("pictures", address)
        result = await asyncio.shield(self._kept.get(scene_str) or self._begin(scene_str))
        if isinstance(result, Failure):
            raise result.with_traceback(None)
        return result

    def _begin(self, scene_str: SceneStr) -> asyncio.Task[Picture | Failure]:
        fetching = self._supervisor.spawn(self._fetch(scene_str), name="mini-program code")
        self._kept[scene_str] = fetching
        while len(self._kept) > CACHED:
            self._kept.popitem(last=False)
        return fetching

    async def _fetch(self, scene_str: SceneStr) -> Picture | Failure:
        try:
            picture = await self._api.mini_program_code(scene_hex(scene_str))
            if picture.content_type not in TYPES:
                raise WeChatUnavailable("the answer is no picture that browsers show")
        except (WeChatError, StoreUnavailable) as error:
            self._kept.pop(scene_str, None)
            return error
        return picture
