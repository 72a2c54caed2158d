"""Sockets of one scene that are opened on two nodes: the one that the store attached last stays."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from services.backends import OpenBackend
from services.push.close_codes import CloseCode
from tests.stack import ON_LOOP, WITHIN_SECONDS, Page, Stack

pytestmark = [pytest.mark.redis, ON_LOOP]

TRIALS = 8


@asynccontextmanager
async def two_nodes(folder: Path, scenes: OpenBackend) -> AsyncIterator[tuple[Stack, Stack]]:
    for name in ("a", "b"):
        (folder / name).mkdir()
    async with Stack(folder / "a", stores=scenes) as a, Stack(folder / "b", stores=scenes) as b:
        yield a, b


async def watched(page: Page, node: Stack) -> "asyncio.Task[tuple[str, int]]":
    """Open a socket on that node. The task ends with the last state that it was sent and its close
    code."""
    page.move_to(node)
    opening = page.socket()
    socket = await opening.__aenter__()
    return asyncio.create_task(_last(socket))


async def _last(socket: ClientConnection) -> tuple[str, int]:
    state = ""
    try:
        while True:
            state = _state(await socket.recv())
    except ConnectionClosed as closed:
        assert closed.rcvd is not None
        return state, closed.rcvd.code


def _state(message: str | bytes) -> str:
    return str(json.loads(message)["state"])


@pytest.mark.parametrize("order", ["a then b", "b then a", "at once", "b, then a before b is open"])
async def test_exactly_one_socket_stays(
    tmp_path: Path, scenes_in_redis: OpenBackend, order: str
) -> None:
    """An old socket on one node, then one more on each: the one that the store attached last stays
    and gets the next state, the two others are closed with 4409."""
    async with two_nodes(tmp_path, scenes_in_redis) as (a, b):
        for _ in range(TRIALS):
            page = await a.begin()
            sockets = [await watched(page, a)]
            if order == "at once":
                sockets += await asyncio.gather(watched(page, a), watched(page, b))
            elif order == "b, then a before b is open":
                opening = asyncio.ensure_future(watched(page, b))
                await asyncio.sleep(0)
                sockets += [await watched(page, a), await opening]
            else:
                for node in order.split(" then "):
                    sockets.append(await watched(page, a if node == "a" else b))
            replaced: set[asyncio.Task[tuple[str, int]]] = set()
            async with asyncio.timeout(WITHIN_SECONDS):
                pending = set(sockets)
                while len(replaced) < 2:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    replaced |= done
            assert {task.result()[1] for task in replaced} == {CloseCode.REPLACED}
            (left,) = pending
            assert (await page.cancel()).status_code == 204
            assert await left == ("cancelled", CloseCode.FINISHED)
