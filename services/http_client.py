"""Outgoing HTTP: the one transport of a process, and one exchange over it.

Everything that asks another server calls `exchange` (WeChat) or `post` (the operator's hook and
receiver of events, the forward address, clients that are logged out), so that time-outs, long
bodies and failures mean the same everywhere, and nothing of a library and no address gets into an
error.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx

from services.errors import Broken, NotReached
from services.settings import hosts
from services.settings.outgoing import Outgoing, Proxies


def make_transport(api_base: str, outgoing: Outgoing = Outgoing()) -> httpx.AsyncBaseTransport:
    """A transport to WeChat and to the operator's own servers.

    It uses the proxies of `outgoing`, for a fixed outgoing address is what WeChat's IP allow list
    asks for; never towards an address of this machine or network, and not at all where `api_base`
    is one.
    """
    # Imported, aiohttp makes TLS contexts of what the environment says, which is checked by now.
    from services.aiohttp_transport import AiohttpTransport

    quiet_libraries()
    context = outgoing.trusted or httpx.create_ssl_context(trust_env=False)
    return AiohttpTransport(context, Proxies() if hosts.is_near(api_base) else outgoing.proxies)


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
    retry_after: str = ""
    """Of a 429 or 503, the header as it stands: seconds, or a date (RFC 9110, section 10.2.3)."""


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
    except (
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,  # the proxy did not open the tunnel
    ) as error:
        raise NotReached(type(error).__name__) from None
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
        raise Broken(type(error).__name__) from None
    status, headers = response.status_code, response.headers
    later = headers.get("Retry-After", "") if status in (429, 503) else ""
    return Response(status, headers.get("Content-Type", ""), body, later)


async def post(
    transport: httpx.AsyncBaseTransport,
    url: str,
    *,
    content: bytes,
    headers: Mapping[str, str],
    seconds: float,
    longest: int,
) -> Response:
    """Send a body to a server of the operator's or of a client, as `exchange`, within `seconds` in
    all.

    Raises:
        NotReached, Broken: as `exchange`; out of time it is `Broken`.
    """
    try:
        async with asyncio.timeout(seconds):
            return await exchange(
                transport,
                "POST",
                url,
                content=content,
                headers=headers,
                timeout=httpx.Timeout(seconds),
                longest=longest,
            )
    except TimeoutError:
        raise Broken("time-out") from None


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
