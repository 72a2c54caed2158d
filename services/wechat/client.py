"""One call to WeChat's API hosts: time-out, second host, errcodes, and fields one may trust.

Facts: errors come as HTTP 200 with ``errcode``; some answers are declared text/plain and hold
control characters; api2.weixin.qq.com stands in for api.weixin.qq.com when that cannot be reached
(WeChat's page on API hosts), which is for the network to decide and never for an errcode.

Texts of an answer that are kept, stored or sent on (`text_of`, `openid_of`, `unionid_of`) are
printable ASCII of a sane length, whatever answers in WeChat's place, an error page or a proxy: a
lone surrogate, say, which JSON can carry, cannot be written anywhere.
"""

import asyncio
import json
import logging
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx

from services.clock import Clock
from services.errors import (
    Broken,
    ExchangeFailed,
    NotReached,
    WeChatError,
    WeChatRefused,
    WeChatUnavailable,
)
from services.http_client import exchange
from services.ids import OpenId, UnionId
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

MAX_TEXT = 1024
MAX_ID = 128
"""Longest text and longest openid or unionid accepted of an answer, in characters."""

_SPARE = {"api.weixin.qq.com": "api2.weixin.qq.com"}
_RID = re.compile(r"rid: ([0-9a-f-]{8,40})")
_WHOLE_RID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}")
_SECRET = re.compile(r"[A-Za-z0-9_\-]{24,}")
_PRINTABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """What came back with HTTP 200, undecoded."""

    content_type: str
    body: bytes

    def json(self) -> dict[str, Any]:
        """The answer as WeChat means it, whatever Content-Type it gave.

        Raises:
            WeChatUnavailable: it is no JSON object.
        """
        try:
            # Names of people hold control characters and broken letters: neither spoils the rest.
            payload = json.loads(self.body.decode("utf-8", "replace"), strict=False)
        except (ValueError, RecursionError):
            payload = None
        if not isinstance(payload, dict):
            raise WeChatUnavailable("the answer is no JSON object")
        return payload


class _Busy(WeChatUnavailable):
    """WeChat answered -1."""


class CallObserver(Protocol):
    """Counts calls. Its methods must neither raise nor wait."""

    def wechat_call(self, endpoint: str, outcome: str, seconds: float) -> None:
        """A call ended, second tries included. `outcome` is ok, an error code, or abandoned."""

    def errcode(self, errcode: int) -> None:
        """WeChat answered with that errcode."""


class WeChatClient:
    """Calls one API host, and its stand-in.

    Args:
        client: shared; it is closed where it was made.
        api_base: scheme and host of the API.
        timeout_seconds: the whole of one call, second tries included.
        spare_base: the stand-in; by default api2 for WeChat's own host and none for any other.
        busy_pauses: see `BUSY_PAUSES`; a test makes them short.
        observer: told of every call.
    """

    def __init__(
        self,
        client: httpx.AsyncBaseTransport,
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
    ) -> ApiAnswer:
        """Post to what answers a picture, and JSON only when it refuses. Errors as for `json`."""

        async def once() -> ApiAnswer:
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

    def _checked(self, answer: ApiAnswer) -> dict[str, Any]:
        payload = answer.json()
        errcode = payload.get("errcode", 0)
        # The number may come as text.
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
    ) -> ApiAnswer:
        """Ask the API host, or its stand-in where that is allowed to help."""
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        bases = [self._api_base, self._spare_base] if self._spare_base else [self._api_base]
        if self._clock.monotonic() < self._avoid_until:
            bases.reverse()
        # The first of two hosts gets half the time, so that the second still has its own. Once
        # connected, a call that must not be sent twice may use all of it.
        half = self.timeout_seconds / 2
        first = httpx.Timeout(half if repeatable else self.timeout_seconds, connect=half, pool=half)
        whole = httpx.Timeout(self.timeout_seconds)
        *others, last = bases
        try:
            for base in others:
                try:
                    return await self._exchange(method, base + path, query, content, first)
                except NotReached:
                    if base == self._api_base:
                        self._avoid_until = self._clock.monotonic() + AVOID_SECONDS
                        log.warning("WeChat's API host cannot be reached; its stand-in is asked")
                except Broken:
                    if not repeatable:
                        raise
            return await self._exchange(method, last + path, query, content, whole)
        except ExchangeFailed as error:
            raise WeChatUnavailable(str(error)) from None

    async def _exchange(
        self,
        method: str,
        url: str,
        query: Mapping[str, str],
        content: bytes | None,
        timeout: httpx.Timeout,
    ) -> ApiAnswer:
        response = await exchange(
            self._client,
            method,
            url,
            query=query,
            content=content,
            headers=None if content is None else {"Content-Type": "application/json"},
            timeout=timeout,
            longest=MAX_ANSWER_BYTES,
        )
        if response.status != 200:
            raise WeChatUnavailable(f"HTTP {response.status}")
        if response.body is None:
            raise WeChatUnavailable("the answer is too long")
        return ApiAnswer(response.content_type, response.body)


def spare_of(api_base: str) -> str:
    """The stand-in for WeChat's own API host; empty for any other host."""
    parts = urlsplit(api_base)
    spare = _SPARE.get(parts.netloc.lower())
    return f"{parts.scheme}://{spare}" if spare else ""


def scrubbed(errmsg: object) -> str:
    """WeChat's text for the log: one short line, without anything that could be a secret.

    WeChat repeats what it was sent in some texts. Its ``rid`` stays: support asks for it.
    """
    text = " ".join(str(errmsg or "").split())[:300]
    return _SECRET.sub(lambda found: found[0] if _WHOLE_RID.fullmatch(found[0]) else "***", text)


def text_of(answer: Mapping[str, Any], name: str, most: int = MAX_TEXT) -> str:
    """The text of that name. Raises `WeChatUnavailable`: there is none."""
    value = answer.get(name)
    if not isinstance(value, str) or len(value) > most or not _PRINTABLE.fullmatch(value):
        raise WeChatUnavailable(f"the answer has no {name}")
    return value


def openid_of(answer: Mapping[str, Any]) -> OpenId:
    """The person the answer is about. Raises `WeChatUnavailable`: there is none."""
    return OpenId(text_of(answer, "openid", MAX_ID))


def unionid_of(answer: Mapping[str, Any]) -> UnionId | None:
    """The person across the owner's apps; None where WeChat does not say, or says no such text."""
    try:
        return UnionId(text_of(answer, "unionid", MAX_ID))
    except WeChatUnavailable:
        return None
