"""picows, a WebSocket library in Cython, on asyncio's own loop."""

import asyncio

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

from bench.peers import common

PAGES: dict[str, "Page"] = {}


class Page(WSListener):
    """One page."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        PAGES[self.key] = self

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), b"")
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if PAGES.get(self.key) is self:
            del PAGES[self.key]


def deliver(key: str, body: bytes) -> bool:
    """Write `body` to the page of `key`."""
    page = PAGES.get(key)
    if page is None:
        return False
    page.transport.send(WSMsgType.TEXT, body)
    return True


def listener_for(request: WSUpgradeRequest) -> Page:
    """picows asks this for every upgrade."""
    return Page(request.path.rpartition(b"/")[2].decode())


async def main() -> None:
    options = common.parser(__doc__).parse_args()
    listener, pushes = common.listen(options.port), common.listen(0)
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: common.PushPort(deliver), sock=pushes)
    server = await ws_create_server(listener_for, sock=listener, backlog=common.LISTEN_BACKLOG)
    common.ready(ws=common.port_of(listener), push=common.port_of(pushes))
    await common.until_terminated()
    server.close()
    for page in list(PAGES.values()):
        page.transport.send_close(WSCloseCode.GOING_AWAY, b"")
    for _ in range(100):
        if not PAGES:
            break
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main())
