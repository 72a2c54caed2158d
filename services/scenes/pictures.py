"""The pictures of codes: `Pictures` draws QR codes for pages that cannot, and `MiniProgramPictures`
fetches WeChat's for mini-program codes.

Both make a picture when it is looked at first, once for all who ask meanwhile, and keep the newest.
"""

import asyncio
import io
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import segno

from services.caches import Cache
from services.errors import ApiError, StoreUnavailable, WeChatError, WeChatUnavailable
from services.ids import SceneStr, scene_hex
from services.rate_limits import RateLimits
from services.tasks import Supervisor
from services.wechat.mini_program import MiniProgramClient, Picture

CACHED = 512
"""Drawn pictures kept, of 1 to 2 KiB each."""

DRAWING_SECONDS = 5
"""How long a request waits for its turn in the drawing thread and for the picture."""

AGAIN_SECONDS = 2
"""Retry-After where a picture was not drawn in time: the drawing goes on, and is kept."""

MOST_FETCHED = 64
"""WeChat's pictures kept, of some 100 KiB each. A page asks for its own once."""

TYPES = frozenset({"image/jpeg", "image/png"})
"""What is passed on: all browsers show these, and neither can hold a script."""

Failure = WeChatError | StoreUnavailable


class Pictures:
    """Draws QR codes as SVG or PNG.

    Args:
        drawing_seconds: how long a picture may wait for those before it, and be drawn.
    """

    # In a thread: a picture costs 3 ms, for which the event loop would stand still.

    def __init__(self, drawing_seconds: float = DRAWING_SECONDS) -> None:
        self._drawing_seconds = drawing_seconds
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._drawn: Cache[tuple[str, str], asyncio.Future[bytes]] = Cache(CACHED)

    async def draw(self, content: str, kind: str) -> bytes:
        """The picture of `content` as ``svg`` or ``png`` bytes.

        Raises:
            ApiError: ``overloaded``: too many others are to be drawn before.
        """
        key = (content, kind)
        future = self._drawn.get(key)
        # A failure is not kept: the next request draws again.
        if future is None or future.done() and (future.cancelled() or future.exception()):
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._threads, _draw, content, kind)
            self._drawn.keep(key, future)
        try:
            async with asyncio.timeout(self._drawing_seconds):
                # Shielded: a request that is given up leaves the drawing to the others.
                return await asyncio.shield(future)
        except TimeoutError:
            message = "Too many pictures are to be drawn."
            raise ApiError("overloaded", message, retry_after=AGAIN_SECONDS) from None

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


def picture_source(content: str) -> str:
    """A QR code of `content` as ``src`` of an ``img``, which people can press long in WeChat, and
    save elsewhere."""
    return f"data:image/png;base64,{b64encode(_draw(content, 'png')).decode()}"


class MiniProgramPictures:
    """WeChat's pictures of mini-program codes, by one call for each code.

    Args:
        limits: what bounds the pictures that WeChat draws for one address.
    """

    def __init__(self, api: MiniProgramClient, supervisor: Supervisor, limits: RateLimits) -> None:
        self._api = api
        self._limits = limits
        self._supervisor = supervisor
        self._kept: Cache[SceneStr, asyncio.Task[Picture | Failure]] = Cache(MOST_FETCHED)

    async def of(self, scene_str: SceneStr, address: str) -> Picture:
        """The picture of that scene's code, asked for from `address`.

        Raises:
            ApiError: ``rate_limited``: that address had WeChat draw too many.
            WeChatError, StoreUnavailable: the next call tries again.
        """
        if scene_str not in self._kept:
            # Only what costs a call counts.
            await self._limits.spend("pictures", address)
        # Looked up again, for another request may have begun it while the limit was asked.
        fetching = self._kept.get(scene_str)
        if fetching is None:
            fetching = self._supervisor.spawn(self._fetch(scene_str), name="mini-program code")
            self._kept.keep(scene_str, fetching)
        result = await asyncio.shield(fetching)
        if isinstance(result, Failure):
            raise result.with_traceback(None)
        return result

    async def _fetch(self, scene_str: SceneStr) -> Picture | Failure:
        try:
            picture = await self._api.mini_program_code(scene_hex(scene_str))
            if picture.content_type not in TYPES:
                raise WeChatUnavailable("the answer is no picture that browsers show")
        except (WeChatError, StoreUnavailable) as error:
            # The result for all who wait for this call; the next request makes another.
            self._kept.pop(scene_str, None)
            return error
        return picture
