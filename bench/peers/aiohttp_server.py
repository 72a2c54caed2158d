"""aiohttp.web, without compression."""

import asyncio

from aiohttp import WSCloseCode, web

from bench.peers import common

SOCKETS: dict[str, web.WebSocketResponse] = {}


async def page(request: web.Request) -> web.WebSocketResponse:
    """Hold one page until it leaves."""
    socket = web.WebSocketResponse(compress=False, heartbeat=None)
    await socket.prepare(request)
    key = request.match_info["key"]
    SOCKETS[key] = socket
    try:
        async for _ in socket:
            pass
    finally:
        if SOCKETS.get(key) is socket:
            del SOCKETS[key]
    return socket


async def push(request: web.Request) -> web.Response:
    """What WeChat's callback is to the full server."""
    socket = SOCKETS.get(request.match_info["key"])
    if socket is None:
        return web.Response(status=404)
    await socket.send_str((await request.read()).decode())
    return web.Response()


async def main() -> None:
    options = common.parser(__doc__).parse_args()
    application = web.Application()
    application.add_routes([web.get("/ws/{key}", page), web.post("/push/{key}", push)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    listener = common.listen(options.port)
    await web.SockSite(runner, listener, backlog=common.LISTEN_BACKLOG).start()
    common.ready(ws=common.port_of(listener), push=common.port_of(listener))
    await common.until_terminated()
    closing = [socket.close(code=WSCloseCode.GOING_AWAY) for socket in SOCKETS.values()]
    await asyncio.gather(*closing)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
