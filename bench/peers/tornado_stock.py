"""Stock Tornado: web.Application and WebSocketHandler, as its documentation shows them.

This is the yardstick: in docs/performance.md every ratio of sockets is to this server in the same
run; those of logins are to stock_login.py.
"""

import asyncio

import tornado.httpserver
import tornado.web
import tornado.websocket

from bench.peers import common

SOCKETS: dict[str, "Socket"] = {}


class Socket(tornado.websocket.WebSocketHandler):
    """One page."""

    def check_origin(self, origin: str) -> bool:
        return True

    def open(self, key: str) -> None:
        self.key = key
        SOCKETS[key] = self

    def on_message(self, message: str | bytes) -> None:
        """Pages of the push tests send nothing."""

    def on_close(self) -> None:
        if SOCKETS.get(self.key) is self:
            del SOCKETS[self.key]


class Push(tornado.web.RequestHandler):
    """What WeChat's callback is to the full server."""

    async def post(self, key: str) -> None:
        socket = SOCKETS.get(key)
        if socket is None:
            raise tornado.web.HTTPError(404)
        await socket.write_message(self.request.body.decode())


async def main() -> None:
    options = common.parser(__doc__).parse_args()
    settings = {"websocket_ping_interval": options.ping} if options.ping else {}
    application = tornado.web.Application(
        [(r"/ws/(.+)", Socket), (r"/push/(.+)", Push)],
        log_function=lambda handler: None,
        **settings,
    )
    listener = common.listen(options.port)
    server = tornado.httpserver.HTTPServer(application)
    server.add_sockets([listener])
    common.ready(ws=common.port_of(listener), push=common.port_of(listener))
    await common.until_terminated()
    server.stop()
    for socket in list(SOCKETS.values()):
        socket.close(1001)
    for _ in range(100):
        if not SOCKETS:
            break
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main())
