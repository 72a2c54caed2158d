"""The programs that a cluster on one machine needs: where they are, and how they are started."""

import contextlib
import secrets
import shutil
import socket
import sys
from pathlib import Path


class CannotStart(Exception):
    """The text is one line for the operator."""


def program(name: str, hint: str) -> str:
    """Where it is: beside this Python, or on the path. Raises `CannotStart` with the hint."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise CannotStart(f"{name} is missing: {hint}")
    return found


def free_port() -> int:
    """A port that is free now, below those that the system gives to connections (ip(7),
    ip_local_port_range), so that a part that is started again finds its port still free.

    It is drawn by `secrets`: hypothesis seeds `random` alike in every process, which would then
    all draw the same port.
    """
    while True:
        port = secrets.choice(range(10_000, 32_000))
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def redis_command(folder: Path, port: int, *options: str) -> list[str]:
    """A redis-server that keeps nothing unless `options` say so."""
    redis = program("redis-server", "apt-get install redis-server")
    small = ("--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
    return [redis, "--port", str(port), *small, *options]


def mongodb_command(folder: Path, port: int) -> list[str]:
    """nx-27017, which speaks MongoDB's protocol, with its files in `folder`."""
    mongodb = program("nx-27017", "pip install nx-27017, or set TEST_MONGODB_URL")
    files = [
        f"--{kind}={folder / name}"
        for kind, name in (("data-dir", "people"), ("pid-file", "pid"), ("log-file", "log"))
    ]
    return [mongodb, "--host", "127.0.0.1", f"--port={port}", *files]
