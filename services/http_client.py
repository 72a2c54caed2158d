"""Outgoing HTTP: the one httpx client of a process, its transport, and one exchange over it.

Everything that asks another server (WeChat, the operator's hook, the forward address) calls
`exchange`, so that time-outs, long bodies and failures mean the same everywhere, and nothing of
httpx and no address gets into an error.
"""

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from services.errors import Broken, NotReached
from services.settings import hosts
from services.settings.outgoing import Outgoing, Proxies, Proxy

SHARDS = 8
PER_SHARD = 8
"""Requests in flight after which the next pool is used: past about ten on one pool the cost of
each request doubles (measured once, with a server that answers at once)."""

KEEPALIVE_SECONDS = 30.0


class ShardedTransport(httpx.AsyncBaseTransport):
    """Several of httpx's own connection pools behind one transport.

    Pools are filled in order, so that few requests in flight share few warm connections; when all
    are full, the least busy one takes the request. One TLS context serves all of them.

    Args:
        proxy: what all requests go through; None: they go to their servers.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        proxy: Proxy | None = None,
        shards: int = SHARDS,
        per_shard: int = PER_SHARD,
    ) -> None:
        through = None
        if proxy is not None:
            login = (proxy.username, proxy.password) if proxy.username or proxy.password else None
            tls = context if proxy.scheme == "https" else None
            through = httpx.Proxy(proxy.url, auth=login, ssl_context=tls)
        limits = httpx.Limits(
            max_connections=None,
            max_keepalive_connections=per_shard,
            keepalive_expiry=KEEPALIVE_SECONDS,
        )
        self._pools = [
            httpx.AsyncHTTPTransport(verify=context, limits=limits, proxy=through, trust_env=False)
            for _ in range(shards)
        ]
        self._in_flight = [0] * shards
        self._per_shard = per_shard

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        shard = self._pick()
        self._in_flight[shard] += 1
        try:
            return await self._pools[shard].handle_async_request(request)
        finally:
            self._in_flight[shard] -= 1

    def _pick(self) -> int:
        for shard, in_flight in enumerate(self._in_flight):
            if in_flight < self._per_shard:
                return shard
        return self._in_flight.index(min(self._in_flight))

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()


class ProxyingTransport(httpx.AsyncBaseTransport):
    """Each request through the proxy that `proxies` names for its address, or directly."""

    def __init__(self, context: ssl.SSLContext, proxies: Proxies) -> None:
        self._proxies = proxies
        self._transports = {
            proxy: ShardedTransport(context, proxy) for proxy in (None, *proxies.by_scheme.values())
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        transport = self._transports[self._proxies.of(str(request.url))]
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()


def make_client(
    api_base: str,
    outgoing: Outgoing = Outgoing(),
    *,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """A client that keeps no cookies, follows no redirects and has no time-outs (each call has).

    It uses the proxies of `outgoing`, for a fixed outgoing address is what WeChat's IP allow list
    asks for; never towards an address of this machine or network, and not at all where `api_base`
    is one.
    """
    quiet_libraries()
    # One client serves all people: a cookie of one answer must not go out with the next request.
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return httpx.AsyncClient(
        cookies=cookies,
        transport=transport or _transport(api_base, outgoing),
        timeout=None,
        trust_env=False,
    )


def _transport(api_base: str, outgoing: Outgoing) -> httpx.AsyncBaseTransport:
    context = outgoing.trusted or httpx.create_ssl_context(trust_env=False)
    if outgoing.proxies.by_scheme and not hosts.is_near(api_base):
        return ProxyingTransport(context, outgoing.proxies)
    return ShardedTransport(context)


def quiet_libraries() -> None:
    """Keep httpx from logging addresses, which carry secrets and access_tokens in their query."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Response:
    """What came back, whatever its status."""

    status: int
    content_type: str
    """As it stands in the header; empty without one."""
    body: bytes | None
    """None where it is longer than the caller wanted to read."""


async def exchange(
    client: httpx.AsyncClient,
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
    # httpx's exceptions refer to the request, whose address holds secrets: only their names go on.
    try:
        request = client.build_request(
            method, url, params=query, content=content, headers=headers, timeout=timeout
        )
        response = await client.send(request, stream=True)
        try:
            body = await _read_at_most(response, longest)
        finally:
            await response.aclose()
    except (
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,  # the proxy did not open the tunnel
    ) as error:
        raise NotReached(type(error).__name__) from None
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
        raise Broken(type(error).__name__) from None
    return Response(response.status_code, response.headers.get("Content-Type", ""), body)


async def _read_at_most(response: httpx.Response, longest: int) -> bytes | None:
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
