"""What the Python peers share: arguments, the ready line, SIGTERM, and a lean push port."""

import argparse
import asyncio
import json
import resource
import signal
import socket
from collections.abc import Callable

LISTEN_BACKLOG = 4096


def parser(description: str | None) -> argparse.ArgumentParser:
    """The arguments every peer takes."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--port", type=int, default=0, help="0: any free port")
    made.add_argument("--ping", type=float, default=0, help="seconds between pings; 0: none")
    return made


def listen(port: int) -> socket.socket:
    """A listening loopback socket; also lifts the soft limit on open files to the hard one.

    asyncio listens again with its own backlog of 100: pass LISTEN_BACKLOG to its servers too.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener = socket.create_server(("127.0.0.1", port), backlog=LISTEN_BACKLOG)
    listener.setblocking(False)
    return listener


def port_of(listener: socket.socket) -> int:
    """The port a listening socket got."""
    port: int = listener.getsockname()[1]
    return port


def ready(**ports: int) -> None:
    """Tell the launcher where this process listens: `ws` and `push`, or `http`."""
    print("ready", json.dumps(ports), flush=True)


async def until_terminated() -> None:
    """Wait for SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


class ToyHttp(asyncio.Protocol):
    """A toy HTTP/1.1 parser for one keep-alive connection: the path and the body, nothing more."""

    def __init__(self) -> None:
        self._buffer = b""

    def answer(self, path: str, body: bytes) -> bytes:
        """The whole response to one request."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self.send(self.answer(head.split(b" ", 2)[1].decode(), rest[:length]))

    def send(self, response: bytes) -> None:
        """Write a response, at once."""
        self._transport.write(response)


class PushPort(ToyHttp):
    """`POST /push/<key>` for libraries without an HTTP server.

    It makes their push rates better than a real HTTP server's would be; say so beside the figures.
    """

    def __init__(self, deliver: Callable[[str, bytes], bool]) -> None:
        super().__init__()
        self._deliver = deliver

    def answer(self, path: str, body: bytes) -> bytes:
        status = b"200 OK" if self._deliver(path.rpartition("/")[2], body) else b"404 Not Found"
        return b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
