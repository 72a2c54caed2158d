"""Connections begun without waiting for them, over TCP or TLS."""

import contextlib
import itertools
import socket
import ssl
from collections.abc import Sequence

from bench.kit.limits import resolve
from bench.kit.wire import Target

IP_BIND_ADDRESS_NO_PORT = 24
"""Linux, ip(7): choose the port at connect, so that one port can go to several servers."""


class Dialler:
    """Connects to one server.

    Args:
        source_addresses: local addresses to take in turn; none: the system's choice.
    """

    def __init__(self, target: Target, source_addresses: Sequence[str] = ()) -> None:
        self._family, self._address = resolve(target.host, target.port)
        self._tls = ssl.create_default_context() if target.tls else None
        self._host = target.host
        self._sources = itertools.cycle(source_addresses) if source_addresses else None

    @property
    def encrypts(self) -> bool:
        """Whether more may be readable than the system's poller knows of."""
        return self._tls is not None

    def new_socket(self) -> socket.socket:
        """One that never waits."""
        sock = socket.socket(self._family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def connect(self, sock: socket.socket) -> socket.socket:
        """Begin to connect; the socket to go on with. Raises OSError."""
        if self._sources is not None:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((next(self._sources), 0))
        with contextlib.suppress(BlockingIOError):  # the poller says when it is connected
            sock.connect(self._address)
        if self._tls is None:
            return sock
        return self._tls.wrap_socket(
            sock, server_hostname=self._host, do_handshake_on_connect=False
        )
