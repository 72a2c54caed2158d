"""The `websockets` library, without compression and without its own pings."""

import asyncio

from websockets.asyncio.server import ServerConnection, serve

from bench.peers import common

SOCKETS: dict[str, ServerConnection] = {}


async def page(connection: ServerConnection) -> None:
    """Hold one page until it leaves."""
    assert connection.request is not None
    key = connection.request.path.rpartition("/")[2]
    SOCKETS[key] = connection
    try:
        await connection.wait_closed()
    finally:
        if SOCKETS.get(key) is connection:
            del SOCKETS[key]


class Pushes:
    """Keeps the tasks that write, so that the collector cannot take a live one."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def deliver(self, key: str, body: bytes) -> bool:
        connection = SOCKETS.get(key)
        if connection is None:
            return False
        task = asyncio.ensure_future(connection.send(body, text=True))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True


async def main() -> None:
    options = common.parser(__doc__).parse_args()
    listener, pushes = common.listen(options.port), common.listen(0)
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: common.PushPort(Pushes().deliver), sock=pushes)
    server = await serve(
        page,
        sock=listener,
        backlog=common.LISTEN_BACKLOG,
        compression=None,
        ping_interval=options.ping or None,
        origins=None,
    )
    common.ready(ws=common.port_of(listener), push=common.port_of(pushes))
    await common.until_terminated()
    server.close(code=1001)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
