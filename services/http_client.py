"""Outgoing HTTP: httpx's transport over aiohttp's connections, and one exchange over it.

Everything that asks another server (WeChat, the operator's hook, the forward address) calls
`exchange`, so that time-outs, long bodies and failures mean the same everywhere, and nothing of a
library and no address gets into an error.

httpx gives requests, responses, time-outs and exceptions; what its `AsyncClient` adds to a
transport (cookies, redirects, authentication) must not happen here: one transport serves all
people. aiohttp gives the connections: through httpx's own pool a call takes 560 to 760 us of CPU,
over `AiohttpTransport` 200 to 140, with 1 and 8 in flight (bench/measure/calls.py).
"""

import contextlib
import ipaddress
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import aiohttp
import httpx
from yarl import URL

from services.errors import Broken, NotReached

KEEPALIVE_SECONDS = 30.0


class AiohttpTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 with keep-alive on aiohttp's connections; no cookies, no redirects.

    `httpx_aiohttp` is not used: it reports a connection that the server closes after it has read
    the request as a `httpx.ConnectTimeout`, and a message that must not be sent twice would be.

    Raises:
        httpx.ConnectError, ConnectTimeout, PoolTimeout: the server has seen nothing of the request.
        httpx.TransportError, httpx.InvalidURL: it may have seen all of it.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def _opened(self) -> aiohttp.ClientSession:
        # aiohttp wants a running event loop for this.
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ssl=httpx.create_ssl_context()
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._session is None:
            self._session = self._opened()
        timeout = request.extensions["timeout"]
        try:
            response = await self._session.request(
                request.method,
                URL(str(request.url), encoded=True),
                data=await request.aread() or None,
                headers=request.headers.multi_items(),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=timeout["pool"],
                    sock_connect=timeout["connect"],
                    sock_read=timeout["read"],
                ),
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _as_httpx(error) from None
        return httpx.Response(
            response.status,
            headers=response.raw_headers,
            stream=_Body(response),
            request=request,
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


class _Body(httpx.AsyncByteStream):
    """A response's body, decoded. No generator, which would outlive a body that is half read."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> "_Body":
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _as_httpx(error) from None
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        # Read to its end, the connection is kept; else it is closed.
        self._response.release()


def _as_httpx(error: Exception) -> httpx.TransportError | httpx.InvalidURL:
    """aiohttp's failure in httpx's words; without its text, which may hold the address."""
    kind: type[httpx.TransportError] = httpx.ReadError
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
        kind = httpx.ConnectError
    elif isinstance(error, aiohttp.ConnectionTimeoutError):
        kind = httpx.ConnectTimeout
    elif isinstance(error, TimeoutError):
        kind = httpx.ReadTimeout
    elif isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientResponseError):
        kind = httpx.RemoteProtocolError
    elif isinstance(error, ValueError):
        return httpx.InvalidURL("")
    return kind("")


def make_transport(api_base: str, others: Iterable[str] = ()) -> AiohttpTransport:
    """A transport to WeChat and to the operator's own servers.

    The proxies of the environment (``HTTPS_PROXY``, ``NO_PROXY``) are used, for a fixed outgoing
    address is what WeChat's IP allow list asks for; never towards an address of this machine or
    network, and not at all where `api_base` is one.

    Args:
        others: what is asked besides: the operator's own servers.
    """
    quiet_libraries()
    return AiohttpTransport()


def quiet_libraries() -> None:
    """Keep httpx from logging addresses, which carry secrets and access_tokens in their query."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _is_private(base: str) -> bool:
    host = urlsplit(base).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Response:
    """What came back, whatever its status."""

    status: int
    content_type: str
    """As it stands in the header; empty without one."""
    body: bytes | None
    """None where it is longer than the caller wanted to read."""


async def exchange(
    transport: httpx.AsyncBaseTransport,
    method: str,
    url: str,
    *,
    query: Mapping[str, str] | None = None,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: httpx.Timeout,
    longest: int,
) -> Response:
    """Send one request and read its response, of the body at most `longest` bytes.

    Args:
        query: replaces the query of `url`; without it the url is sent as it is.
        timeout: of each step; the caller sets the deadline of the whole.

    Raises:
        NotReached: the server has seen nothing of the request.
        Broken: the server may have seen all of it.
    """
    if query is not None:
        url = f"{url.partition('?')[0]}?{urlencode(query)}"
    # httpx's exceptions refer to the request, whose address holds secrets: only their names go on.
    try:
        request = httpx.Request(
            method, url, content=content, headers=headers, extensions={"timeout": timeout.as_dict()}
        )
        response = await transport.handle_async_request(request)
        try:
            body = await _read_at_most(response, longest)
        finally:
            await response.aclose()
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise NotReached(type(error).__name__) from None
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
        raise Broken(type(error).__name__) from None
    return Response(response.status_code, response.headers.get("Content-Type", ""), body)


async def _read_at_most(response: httpx.Response, longest: int) -> bytes | None:
    chunks: list[bytes] = []
    length = 0
    # Not through the response, whose decoders are four generators for each body.
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async with contextlib.aclosing(aiter(response.stream)) as body:  # type: ignore[type-var]
        async for chunk in body:
            length += len(chunk)
            if length > longest:
                return None
            chunks.append(chunk)
    return b"".join(chunks)
