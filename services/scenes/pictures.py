"""QR pictures for pages that cannot draw. Drawing costs 3 ms, so it is done in a thread, once."""

import asyncio
import io
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import segno

CACHED = 512
DRAWING_SECONDS = 5


class Pictures:
    """Draws a QR code as SVG or PNG off the event loop; the same request meanwhile waits for it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._drawn: OrderedDict[tuple[str, str], asyncio.Future[bytes]] = OrderedDict()

    async def draw(self, content: str, kind: str) -> bytes:
        """The picture of `content` as ``svg`` or ``png`` bytes."""
        key = (content, kind)
        future = self._drawn.get(key)
        if future is None or future.done() and (future.cancelled() or future.exception()):
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._threads, _draw, content, kind)
            self._drawn[key] = future
            while len(self._drawn) > CACHED:
                self._drawn.popitem(last=False)
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
