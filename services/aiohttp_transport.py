"""httpx's transport API on aiohttp's connections.

httpx gives requests, responses, time-outs and exceptions; what its `AsyncClient` adds to a
transport (cookies, redirects, authentication) must not happen here: one transport serves all
people. aiohttp gives the connections: with httpx's own pool and client a begun scene takes 3.99
million instructions, without them 2.17 (`scripts/bench instructions`).
"""

import base64
import ssl

import aiohttp
import httpx
from yarl import URL

from services.settings.outgoing import Proxies, Proxy

KEEPALIVE_SECONDS = 30.0


class AiohttpTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 with keep-alive on aiohttp's connections; no cookies, no redirects, no request sent
    twice, and nothing of the environment.

    `httpx_aiohttp` is not used: it reports a connection that the server closes after it has read
    the request as a `httpx.ConnectTimeout`, and a message that must not be sent twice would be.

    Args:
        context: what servers and proxies are verified by.
        proxies: what a request goes through.

    Raises:
        httpx.ConnectError, ConnectTimeout, ProxyError: the server has seen nothing of the request.
        httpx.TransportError, httpx.InvalidURL: it may have seen all of it.
    """

    def __init__(self, context: ssl.SSLContext, proxies: Proxies = Proxies()) -> None:
        self._context = context
        self._proxies = proxies
        self._session: aiohttp.ClientSession | None = None

    def _opened(self) -> aiohttp.ClientSession:
        # aiohttp wants a running event loop for this.
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ssl=self._context
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Unpacked, a small answer may be any size before `exchange` can count it.
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept"),
            middlewares=(_sent_once,),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._session is None:
            self._session = self._opened()
        timeout = request.extensions["timeout"]
        url = str(request.url)
        proxy = self._proxies.of(url) if self._proxies.by_scheme else None
        try:
            response = await self._session.request(
                request.method,
                URL(url, encoded=True),
                data=await request.aread() or None,
                headers=request.headers.multi_items(),
                allow_redirects=False,
                proxy=_address_of(proxy) if proxy is not None else None,
                proxy_headers=_credentials_of(proxy) if proxy is not None else None,
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


async def _sent_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """aiohttp repeats a GET by itself when a kept connection ends without an answer, but WeChat may
    have seen the first, and a code of its web login is good once."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _as_httpx(error) from None


def _address_of(proxy: Proxy) -> URL:
    return URL.build(scheme=proxy.scheme, host=proxy.host, port=proxy.port)


def _credentials_of(proxy: Proxy) -> dict[str, str]:
    """What aiohttp sends the proxy, and only the proxy, as ``Proxy-Authorization``."""
    if not (proxy.username or proxy.password):
        return {}
    # In UTF-8 (RFC 7617): from the proxy's address aiohttp would read Latin-1.
    pair = f"{proxy.username}:{proxy.password}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


class _Body(httpx.AsyncByteStream):
    """A response's body, as it came. No generator, which would outlive a body that is half read."""

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
    if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
        kind = httpx.ProxyError  # also where the proxy did not open the tunnel
    elif isinstance(error, aiohttp.ClientConnectorError):
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
