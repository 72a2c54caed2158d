"""QR pictures for pages that cannot draw. Drawing costs 3 ms, so it is done in a thread, once.

WeChat's pictures of mini-program codes, fetched when first looked at and kept for a while.
"""

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor

import segno

from services.caches import Cache
from services.errors import StoreUnavailable, WeChatError, WeChatUnavailable
from services.ids import SceneStr, scene_hex
from services.rate_limits import RateLimits
from services.tasks import Supervisor
from services.wechat.mini_program import MiniProgramClient, Picture

CACHED = 512
DRAWING_SECONDS = 5


class Pictures:
    """Draws a QR code as SVG or PNG off the event loop; the same request meanwhile waits for it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._drawn: Cache[tuple[str, str], asyncio.Future[bytes]] = Cache(CACHED)

    async def draw(self, content: str, kind: str) -> bytes:
        """The picture of `content` as ``svg`` or ``png`` bytes."""
        key = (content, kind)
        future = self._drawn.get(key)
        if future is None or future.done() and (future.cancelled() or future.exception()):
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._threads, _draw, content, kind)
            self._drawn.keep(key, future)
        async with asyncio.timeout(DRAWING_SECONDS):
            return await asyncio.shield(future)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _draw(content: str, kind: str) -> bytes:
    out = io.BytesIO()
    code = segno.make_qr(content, error="m")
    if kind == "svg":
        code.save(out, kind="svg", border=4, xmldecl=False, svgns=True, omitsize=True)
    else:
        code.save(out, kind="png", border=4, scale=10)
    return out.getvalue()


MOST_FETCHED = 64
"""A picture has some 100 KiB. A page asks for its own once."""

TYPES = frozenset({"image/jpeg", "image/png"})

Failure = WeChatError | StoreUnavailable


class MiniProgramPictures:
    """One call to WeChat for each code, however many ask for it meanwhile."""

    def __init__(self, api: MiniProgramClient, supervisor: Supervisor, limits: RateLimits) -> None:
        self._api = api
        self._limits = limits
        self._supervisor = supervisor
        self._kept: Cache[SceneStr, asyncio.Task[Picture | Failure]] = Cache(MOST_FETCHED)

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
        self._kept.keep(scene_str, fetching)
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
