"""One call to WeChat's API hosts: time-out, second host, errcodes, and nothing foreign escapes.

Facts: errors come as HTTP 200 with ``errcode``; some answers are declared text/plain and hold
control characters; api2.weixin.qq.com stands in for api.weixin.qq.com when that cannot be reached
(WeChat's page on API hosts), which is for the network to decide and never for an errcode.
"""

import asyncio
import json
import logging
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx

from services.clock import Clock
from services.errors import WeChatError, WeChatRefused, WeChatUnavailable
from services.wechat.errcodes import Action, look_up

T = TypeVar("T")

log = logging.getLogger("scanpush.wechat")

MAX_ANSWER_BYTES = 1024 * 1024
"""Longest answer read; pictures of mini-program codes have some 100 KiB."""

BUSY_PAUSES = (0.1, 0.3)
"""Seconds before the second and third try of an answer -1, each made up to half longer."""

AVOID_SECONDS = 60.0
"""How long a host that could not be reached is asked second."""

ALARM_SECONDS = 60.0
"""The same errcode is alarmed about at most this often."""

_WECHAT_API = "api.weixin.qq.com"
_SPARE = {_WECHAT_API: "api2.weixin.qq.com"}
_RID = re.compile(r"rid: ([0-9a-f-]{8,40})")
_SECRET = re.compile(r"[A-Za-z0-9_\-]{24,}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back with HTTP 200, undecoded."""

    content_type: str
    body: bytes

    def json(self) -> dict[str, Any]:
        """The answer as WeChat means it, whatever Content-Type it gave.

        Raises:
            WeChatUnavailable: it is no JSON object.
        """
        try:
            payload = json.loads(self.body.decode("utf-8", "replace"), strict=False)
        except (ValueError, RecursionError):
            payload = None
        if not isinstance(payload, dict):
            raise WeChatUnavailable("the answer is no JSON object")
        return payload


class _NotReached(WeChatUnavailable):
    """Not one byte of the request was sent."""


class _Broken(WeChatUnavailable):
    """The request may have reached WeChat, the answer did not reach us."""


class _Busy(WeChatUnavailable):
    """WeChat answered -1."""


class CallObserver(Protocol):
    """Whoever counts. Plain calls, which must not raise or wait."""

    def wechat_call(self, endpoint: str, outcome: str, seconds: float) -> None:
        """A call ended, second tries included. `outcome` is ok, our error code, or abandoned."""

    def errcode(self, errcode: int) -> None:
        """WeChat answered with that errcode."""


class Calls:
    """Calls one API host, and its stand-in.

    Args:
        client: shared, and closed by whoever made it.
        api_base: scheme and host of the API.
        timeout_seconds: the whole of one call, second tries included.
        spare_base: the stand-in; by default api2 for WeChat's own host and none for any other.
        busy_pauses: see `BUSY_PAUSES`; a test makes them short.
        observer: told of every call.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        api_base: str,
        clock: Clock,
        *,
        timeout_seconds: float,
        spare_base: str | None = None,
        busy_pauses: Sequence[float] = BUSY_PAUSES,
        observer: CallObserver | None = None,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self._client = client
        self._clock = clock
        self._api_base = api_base.rstrip("/")
        self._spare_base = spare_of(api_base) if spare_base is None else spare_base.rstrip("/")
        self._avoid_until = float("-inf")
        self._busy_pauses = tuple(busy_pauses)
        self._alarmed: dict[int, float] = {}
        self._observer = observer

    async def json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        repeatable: bool = True,
    ) -> dict[str, Any]:
        """Call and decode; the answer holds no errcode, or 0.

        Args:
            repeatable: whether asking twice does no harm. Only then a call whose bytes may have
                reached WeChat is sent again, and -1 is asked again.

        Raises:
            WeChatUnavailable: time-out, no connection, no HTTP 200, rubbish, or still -1.
            WeChatRefused: any other errcode.
        """

        async def once() -> dict[str, Any]:
            return self._checked(await self._send(method, path, query, body, repeatable))

        return await self._observed(path, self._in_time(once, repeatable))

    async def picture(
        self, path: str, *, query: Mapping[str, str], body: Mapping[str, Any]
    ) -> Answer:
        """Post to what answers a picture, and JSON only when it refuses. Errors as for `json`."""

        async def once() -> Answer:
            answer = await self._send("POST", path, query, body, True)
            if answer.content_type.startswith("image/") and answer.body:
                return answer
            self._checked(answer)
            raise WeChatUnavailable("no picture came")

        return await self._observed(path, self._in_time(once, True))

    async def _observed(self, path: str, call: Awaitable[T]) -> T:
        began = self._clock.monotonic()
        outcome = "abandoned"
        try:
            result = await call
            outcome = "ok"
            return result
        except WeChatError as error:
            outcome = error.code
            raise
        finally:
            if self._observer is not None:
                self._observer.wechat_call(path, outcome, self._clock.monotonic() - began)

    async def _in_time(self, once: Callable[[], Awaitable[T]], repeatable: bool) -> T:
        """One call under the time-out, repeated while WeChat says it is busy."""
        pauses = self._busy_pauses if repeatable else ()
        try:
            async with asyncio.timeout(self.timeout_seconds):
                for pause in pauses:
                    try:
                        return await once()
                    except _Busy:
                        await asyncio.sleep(pause * random.uniform(1.0, 1.5))
                return await once()
        except TimeoutError:
            raise WeChatUnavailable("time-out") from None

    def _checked(self, answer: Answer) -> dict[str, Any]:
        payload = answer.json()
        errcode = payload.get("errcode", 0)
        if isinstance(errcode, str) and errcode.lstrip("-").isdecimal() and len(errcode) < 12:
            errcode = int(errcode)
        if not isinstance(errcode, int):
            raise WeChatUnavailable("the answer's errcode is no number")
        if errcode == 0:
            return payload
        raise self._refusal(errcode, scrubbed(payload.get("errmsg")))

    def _refusal(self, errcode: int, errmsg: str) -> WeChatUnavailable | WeChatRefused:
        if self._observer is not None:
            self._observer.errcode(errcode)
        row = look_up(errcode)
        if row.action is Action.RETRY:
            return _Busy(f"errcode {errcode}: {errmsg}")
        now = self._clock.monotonic()
        if row.alarming and now >= self._alarmed.get(errcode, float("-inf")):
            self._alarmed[errcode] = now + ALARM_SECONDS
            found = _RID.search(errmsg)
            log.error(
                "WeChat refuses: %s (errcode %d)",
                row.meaning,
                errcode,
                extra={"errcode": errcode, "rid": found[1] if found else "", "errmsg": errmsg},
            )
        return WeChatRefused(errcode, errmsg, row.code or "wechat_refused")

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        repeatable: bool,
    ) -> Answer:
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        *firsts, last = self._bases()
        for base in firsts:
            try:
                request = self._request(
                    method, base + path, query, content, self._shares(repeatable)
                )
                return await self._exchange(request)
            except _NotReached:
                self._note_unreachable(base)
            except _Broken:
                if not repeatable:
                    raise
        whole = httpx.Timeout(self.timeout_seconds)
        return await self._exchange(self._request(method, last + path, query, content, whole))

    def _bases(self) -> list[str]:
        bases = [self._api_base]
        if self._spare_base:
            bases.append(self._spare_base)
            if self._clock.monotonic() < self._avoid_until:
                bases.reverse()
        return bases

    def _note_unreachable(self, base: str) -> None:
        if base == self._api_base:
            self._avoid_until = self._clock.monotonic() + AVOID_SECONDS
            log.warning("WeChat's API host cannot be reached; its stand-in is asked")

    def _shares(self, repeatable: bool) -> httpx.Timeout:
        """What the first of two hosts may take, so that the second still has its time."""
        half = self.timeout_seconds / 2
        return httpx.Timeout(half if repeatable else self.timeout_seconds, connect=half, pool=half)

    def _request(
        self,
        method: str,
        url: str,
        query: Mapping[str, str],
        content: bytes | None,
        timeout: httpx.Timeout,
    ) -> httpx.Request:
        headers = {} if content is None else {"Content-Type": "application/json"}
        return self._client.build_request(
            method, url, params=dict(query), content=content, headers=headers, timeout=timeout
        )

    async def _exchange(self, request: httpx.Request) -> Answer:
        with translated():
            response = await self._client.send(request, stream=True)
            try:
                body = await read_at_most(response, MAX_ANSWER_BYTES)
            finally:
                await response.aclose()
        if response.status_code != 200:
            raise WeChatUnavailable(f"HTTP {response.status_code}")
        if body is None:
            raise WeChatUnavailable("the answer is too long")
        return Answer(response.headers.get("Content-Type", ""), body)


def spare_of(api_base: str) -> str:
    """The stand-in for WeChat's own API host; empty for any other host."""
    parts = urlsplit(api_base)
    spare = _SPARE.get(parts.netloc.lower())
    return f"{parts.scheme}://{spare}" if spare else ""


async def read_at_most(response: httpx.Response, longest: int) -> bytes | None:
    """The body of a streamed response, or None when it is longer than that."""
    chunks: list[bytes] = []
    length = 0
    try:
        async for chunk in response.aiter_bytes():
            length += len(chunk)
            if length <= longest:
                chunks.append(chunk)
            else:
                # httpx reads through five async generators, of which a caller can close only the
                # outermost. Left half read, the others would outlive the call. Closing the
                # connection instead makes the innermost one fail, and so ends all of them.
                await response.aclose()
    except httpx.TransportError:
        if length <= longest:
            raise
    return b"".join(chunks) if length <= longest else None


@contextmanager
def translated() -> Iterator[None]:
    """Turn everything httpx raises into `WeChatUnavailable`, without its context.

    httpx's exceptions refer to the request, whose address holds secrets: none of it is kept.
    """
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise _NotReached(type(error).__name__) from None
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
        raise _Broken(type(error).__name__) from None


def scrubbed(errmsg: object) -> str:
    """WeChat's text for the log: one short line, without anything that could be a secret.

    WeChat repeats what it was sent in some texts. Its ``rid`` stays: support asks for it.
    """
    text = " ".join(str(errmsg or "").split())[:300]
    return _SECRET.sub(lambda found: found[0] if _is_rid(found[0]) else "***", text)


def _is_rid(word: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}", word) is not None
