"""Several machines, one run: the wire between the one that conducts and those that join it.

Messages are JSON in Fernet tokens (the `cryptography` package) with a length before each. Their
key is made by scrypt from the shared key and two salts, one of each side: without the shared key a
machine can neither join nor read, and nothing of one run can be sent again in another. No clock
is compared: the start is a message, and each machine measures its own latencies.
"""

import base64
import hashlib
import ipaddress
import json
import os
import platform
import secrets
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from multiprocessing.connection import wait
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

from bench.kit.discover import NotUsable
from bench.kit.job import (
    VERSION,
    Result,
    Tick,
    Unreadable,
    WholeLoad,
    result_from,
    tick_from,
    to_json,
    whole_load_from,
)

KEY_VARIABLE = "SCANPUSH_LOAD_KEY"
SHORTEST_KEY = 12
LOOPBACK_KEY = "this-machine-alone"
"""Of both sides where they were given none, and no other machine can connect."""
HELLO_BYTES, FIRST_BYTES, MOST_BYTES = 1024, 1 << 16, 16 << 20
"""Of what comes before a side has shown the key, of its first message, and of every later one."""
HELLO_SECONDS = 5.0
TURN_SECONDS = 60.0
"""For the one that conducts to come to this machine: it greets one after the other."""
MESSAGE_SECONDS = 10.0
ANSWER_SECONDS = 60.0
"""For a machine to look at the server and at its own limits."""
DEAD_AFTER_MS = 15_000
WORKERS_A_MACHINE = 64
"""Their numbers, in source addresses and names of people, differ between machines."""
CONDUCTING, JOINING = "conducting", "joining"
LENGTH = struct.Struct(">I")


class Channel:
    """A `Link` to another machine. Each message names its side and its number, so that none can
    be sent back, left out or sent twice.

    A message that cannot be read raises ValueError.
    """

    def __init__(self, sock: socket.socket, fernet: Fernet, side: str) -> None:
        self._sock = sock
        self._fernet = fernet
        self._side = side
        self._sent = self._received = 0
        self._most = FIRST_BYTES
        sock.settimeout(MESSAGE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Of a machine that lost its power no packet says so.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def send(self, obj: object) -> None:
        """A tick, a result, a word or a dict of plain values."""
        body = to_json(obj) if isinstance(obj, Tick | Result) else obj
        message = [self._side, self._sent, type(obj).__name__, body]
        self._sent += 1
        _put(self._sock, self._fernet.encrypt(json.dumps(message).encode()))

    def recv(self) -> object:
        """The next message. Raises EOFError, OSError, ValueError."""
        try:
            plain = self._fernet.decrypt(_take(self._sock, self._most))
            side, number, kind, body = json.loads(plain)
            if side == self._side or number != self._received:
                raise ValueError("a message out of turn")
            self._received += 1
            self._most = MOST_BYTES
            if kind == Tick.__name__:
                return tick_from(body)
            return result_from(body) if kind == Result.__name__ else body
        except InvalidToken:
            raise ValueError("a message under another key") from None
        except (KeyError, TypeError):
            raise ValueError("a message of another form") from None

    def about(self) -> dict[str, Any]:
        """The next message, which must be a dict. Raises as `recv`."""
        body = self.recv()
        if not isinstance(body, dict):
            raise ValueError("a message out of turn")
        return body


def _put(sock: socket.socket, data: bytes) -> None:
    sock.sendall(LENGTH.pack(len(data)) + data)


def _take(sock: socket.socket, most: int, within: float = MESSAGE_SECONDS) -> bytes:
    end = time.monotonic() + within

    def exactly(count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            sock.settimeout(max(0.001, end - time.monotonic()))
            piece = sock.recv(min(count - len(data), 1 << 16))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    (length,) = LENGTH.unpack(exactly(LENGTH.size))
    if length > most:
        raise ValueError("a message that is too long")
    data = exactly(length)
    sock.settimeout(MESSAGE_SECONDS)
    return data


class OtherVersion(ValueError):
    """The other side runs another version of the kit."""


def _greeted(sock: socket.socket, key: str, side: str) -> Channel:
    """Exchange versions and salts. Raises OtherVersion, EOFError, OSError, ValueError."""
    mine = secrets.token_hex(16)
    hello = {"kit": "scanpush load", "version": VERSION, "salt": mine}
    _put(sock, json.dumps(hello).encode())
    within = HELLO_SECONDS if side == CONDUCTING else TURN_SECONDS
    theirs = json.loads(_take(sock, HELLO_BYTES, within))
    if not isinstance(theirs, dict) or theirs.get("kit") != hello["kit"]:
        raise ValueError("not a load kit")
    if theirs.get("version") != VERSION:
        raise OtherVersion
    salts = (mine, str(theirs.get("salt")))
    salt = "".join(salts if side == CONDUCTING else reversed(salts)).encode()
    made = hashlib.scrypt(key.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)
    return Channel(sock, Fernet(base64.urlsafe_b64encode(made)), side)


def shared_key(given: str | None) -> str | None:
    """`--key`, else the environment's; None: neither.

    Raises:
        NotUsable: too short to be hard to guess.
    """
    key = given or os.environ.get(KEY_VARIABLE)
    if key and len(key) < SHORTEST_KEY:
        raise NotUsable(f"the key ({KEY_VARIABLE} or --key) needs {SHORTEST_KEY} characters")
    return key or None


def loopback_key(host: str) -> str | None:
    """The key of a run that no other machine can join; None: `host` may be reached by others."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    return LOOPBACK_KEY if is_loopback else None


def listening(address: tuple[str, int]) -> socket.socket:
    """Raises NotUsable."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        return socket.create_server(address, family=family)
    except OSError as error:
        raise NotUsable(f"--conduct cannot listen there: {error.strerror or error}") from None


def gather(
    listener: socket.socket, key: str, count: int, within: float, tell: Callable[[str], None]
) -> dict[Channel, str]:
    """`count` machines that know the key, by their names, as soon as they are here.

    Raises:
        NotUsable: they were not, `within` seconds.
    """
    here: dict[Channel, str] = {}
    end = time.monotonic() + within
    while len(here) < count:
        ready = wait([listener, *here], timeout=max(0.0, end - time.monotonic()))
        if not ready and time.monotonic() >= end:
            raise NotUsable(f"{len(here)} of {count} machines joined within {within:.0f} seconds")
        for one in ready:
            if isinstance(one, Channel):
                # Nothing is said before all are here.
                tell(f"machine {here.pop(one)} has left before the start")
                one.close()
        if listener in ready:
            _admit(listener, key, here, count, tell)
    return here


def _admit(
    listener: socket.socket,
    key: str,
    here: dict[Channel, str],
    count: int,
    tell: Callable[[str], None],
) -> None:
    sock, (host, port, *_) = listener.accept()
    sock.settimeout(HELLO_SECONDS)
    place = f"{host}:{port}"
    try:
        channel = _greeted(sock, key, CONDUCTING)
        name = str(channel.about()["name"])[:60]
    except OtherVersion:
        tell(f"a machine at {place} runs another version of the kit, and was refused")
    except (EOFError, OSError, ValueError, KeyError, TypeError):
        tell(f"a machine at {place} did not show the key, and was refused")
    else:
        here[channel] = f"{name} ({place})"
        tell(f"machine {here[channel]} has joined: {len(here)} of {count}")
        return
    sock.close()


def assign(machines: dict[Channel, str], whole: WholeLoad, about: dict[str, Any]) -> None:
    """Give each machine its share, and wait until all are ready; "go" then starts them.

    Raises:
        NotUsable: one cannot, or has left.
    """
    for index, channel in enumerate(machines):
        load = to_json(whole.part(index, len(machines)))
        with suppress(OSError):  # Reading its answer says so.
            channel.send({**about, "load": load, "first": index * WORKERS_A_MACHINE})
    for channel, name in machines.items():
        if not wait([channel], timeout=ANSWER_SECONDS):
            raise NotUsable(f"machine {name} does not answer")
        try:
            cannot = channel.about().get("cannot")
        except (EOFError, OSError, ValueError):
            raise NotUsable(f"machine {name} has left before the start") from None
        if cannot:
            raise NotUsable(f"machine {name} cannot take its share: {cannot}")


def joined(
    address: tuple[str, int], key: str, within: float, tell: Callable[[str], None]
) -> Channel:
    """To the machine that conducts, which may start later: `within` seconds.

    Raises:
        NotUsable: it is not there, or does not take this machine.
    """
    place = "{}:{}".format(*address)
    end = time.monotonic() + within
    told = False
    while True:
        try:
            sock = socket.create_connection(address, timeout=HELLO_SECONDS)
            break
        except OSError as error:
            if time.monotonic() >= end:
                raise NotUsable(
                    f"no conductor at {place}: {error.strerror or error}. "
                    "Is `scripts/load --conduct` running there?"
                ) from None
            if not told:
                tell(f"waiting for a conductor at {place}")
            told = True
            time.sleep(min(0.5, max(0.0, end - time.monotonic())))
    with ExitStack() as stack:
        stack.callback(sock.close)
        try:
            channel = _greeted(sock, key, JOINING)
            channel.send({"name": platform.node() or "unnamed"})
        except OtherVersion:
            raise NotUsable(
                f"the conductor at {place} runs another version of the kit: use the same checkout "
                "on every machine"
            ) from None
        except (EOFError, OSError, ValueError):
            raise NotUsable(f"what answers at {place} is no conductor") from None
        stack.pop_all()
    tell(f"joined {place}; the run starts when all machines are there")
    return channel


def share(channel: Channel) -> tuple[WholeLoad, dict[str, Any]]:
    """What the conductor asks of this machine.

    Raises:
        NotUsable: it ended, or does not know the key.
    """
    try:
        wait([channel])
        about = channel.about()
        return whole_load_from(about["load"]), about
    except (EOFError, OSError):
        raise NotUsable(
            f"the conductor has ended, or refused the key ({KEY_VARIABLE} or --key)"
        ) from None
    except (Unreadable, ValueError, KeyError):
        raise NotUsable("the conductor cannot be understood, or has another key") from None


def wait_for_go(channel: Channel) -> None:
    """Raises NotUsable: the conductor ended instead."""
    try:
        wait([channel])
        if channel.recv() == "go":
            return
    except (EOFError, OSError, ValueError):
        pass  # Said below.
    raise NotUsable("the conductor ended before the start")
