"""Ordinary clients live through a whole login: websockets, aiohttp, Node's own, Node ws, curl.

Chromium does so in tests/browser. A client that is not on this machine is not collected: each of
them proves the same, and none is needed by scanpush.
"""

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from services.scenes.states import State
from tests.services.push.kit import ORIGIN, TOKEN, Node, closed

Told = tuple[list[str], int]
"""The states that the client was told, and its close code."""

LogIn = Callable[[Node, str], Coroutine[Any, Any, Told]]

PROTOCOLS = ["scanpush.v1", f"watch.{TOKEN}"]
NODE_MODULES = Path(__file__).parents[2] / "bench" / "peers" / "node" / "node_modules"

SCRIPT = """
const socket = open(process.argv[2], JSON.parse(process.argv[3]));
const states = [];
socket.onmessage = ({data}) => {
  const status = JSON.parse(data);
  states.push(status.state);
  if (status.state === "authorized") socket.send(JSON.stringify({type: "ack", seq: status.seq}));
};
socket.onclose = ({code}) => console.log(JSON.stringify([states, code]));
"""


def _url(node: Node, scene_str: str) -> str:
    return f"ws://127.0.0.1:{node.port}/ws/{scene_str}"


async def _websockets(node: Node, scene_str: str) -> Told:
    states = []
    # Offers permessage-deflate, as it does by default.
    async with node.connect(scene_str, origin=ORIGIN) as client:
        while not states or states[-1] != "consumed":
            document = json.loads(await client.recv())
            states.append(document["state"])
            if states[-1] == "authorized":
                await client.send(json.dumps({"type": "ack", "seq": document["seq"]}))
        return states, await closed(client) or 0


async def _aiohttp(node: Node, scene_str: str) -> Told:
    import aiohttp

    states = []
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(
            _url(node, scene_str), protocols=PROTOCOLS, origin=ORIGIN, compress=15
        ) as client:
            async for message in client:
                document = json.loads(message.data)
                states.append(document["state"])
                if states[-1] == "authorized":
                    await client.send_json({"type": "ack", "seq": document["seq"]})
            return states, client.close_code or 0


async def _node(script: str, *flags: str, url: str) -> Told:
    process = await asyncio.create_subprocess_exec(
        "node",
        *flags,
        "-e",
        script + SCRIPT,
        "",
        url,
        json.dumps(PROTOCOLS),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
    )
    output, _ = await process.communicate()
    states, code = json.loads(output)
    return states, code


async def _node_ws(node: Node, scene_str: str) -> Told:
    script = (
        "const WebSocket = require('ws');"
        f"const open = (url, names) => new WebSocket(url, names, {{origin: '{ORIGIN}'}});"
    )
    return await _node(script, url=_url(node, scene_str))


async def _node_itself(node: Node, scene_str: str) -> Told:
    script = "const open = (url, names) => new WebSocket(url, names);"
    return await _node(script, "--experimental-websocket", url=_url(node, scene_str))


def _clients() -> dict[str, LogIn]:
    clients: dict[str, LogIn] = {"websockets": _websockets}
    if importlib.util.find_spec("aiohttp"):
        clients["aiohttp"] = _aiohttp
    if shutil.which("node") and (NODE_MODULES / "ws").is_dir():
        clients["node ws"] = _node_ws
    if _node_has_websocket():
        clients["node"] = _node_itself
    return clients


def _node_has_websocket() -> bool:
    """Node brings a WebSocket client since 20.10; older ones refuse the flag."""
    if not shutil.which("node"):
        return False
    command = ["node", "--experimental-websocket", "-e", "new WebSocket"]
    tried = subprocess.run(command, capture_output=True, check=False)
    return b"not defined" not in tried.stderr and b"bad option" not in tried.stderr


@pytest.mark.gen_test(timeout=20)
@pytest.mark.parametrize("log_in", _clients().values(), ids=_clients())
async def test_complete_login(log_in: LogIn):
    """Every client hears each state once and in order, acknowledges, and is closed with 1000."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        client = asyncio.ensure_future(log_in(node, scene_str))
        while node.counters.statuses < 1:
            await asyncio.sleep(0.002)
        node.scenes.move(scene_str, State.SCANNED)
        while node.counters.statuses < 2:
            await asyncio.sleep(0.002)
        node.scenes.move(scene_str, State.AUTHORIZED)
        assert await client == (["waiting", "scanned", "authorized", "consumed"], 1000)
        assert node.scenes.acked == [3]


@pytest.mark.gen_test
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
async def test_curl_is_refused_politely():
    """A plain GET is told in JSON what this address is for."""
    async with Node() as node:
        process = await asyncio.create_subprocess_exec(
            "curl",
            "--silent",
            "--include",
            f"http://127.0.0.1:{node.port}/ws/{node.scenes.begin()}",
            stdout=asyncio.subprocess.PIPE,
        )
        answer = (await process.communicate())[0].decode()
        assert answer.startswith("HTTP/1.1 426 ") and "Upgrade: websocket" in answer
        assert json.loads(answer.split("\r\n\r\n")[1])["error"]["code"] == "upgrade_required"
