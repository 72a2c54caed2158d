"""Redis and a MongoDB-protocol server for the benchmarks, on the generator's CPU."""

import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bench.kit.discover import NotUsable
from bench.servers import GENERATOR_CPU, READY_SECONDS, NotInstalled, free_port, pinned, scratch

Environment = dict[str, str]


def mongodb_name() -> str:
    """Which server people are kept in: a stand-in costs something else than the real one."""
    return "TEST_MONGODB_URL" if os.environ.get("TEST_MONGODB_URL") else "nx-27017"


@contextmanager
def shared_stores() -> Iterator[Environment]:
    """The settings of nodes that share the stores, until the block ends. Raises NotInstalled."""
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        port = free_port()
        redis = [_program("redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
        stack.enter_context(_process([*redis, "--save", "", "--dir", str(directory)], port))
        yield {
            "SCANPUSH_BACKEND": "distributed",
            "SCANPUSH_REDIS__URL": f"redis://127.0.0.1:{port}/0",
            "SCANPUSH_MONGODB__URL": _mongodb(stack, directory),
            "SCANPUSH_MONGODB__DATABASE": f"scanpush_bench_{uuid.uuid4().hex[:12]}",
        }


def _mongodb(stack: ExitStack, directory: Path) -> str:
    if url := os.environ.get("TEST_MONGODB_URL"):
        return url
    port = free_port()
    command = [_program("nx-27017"), "--host", "127.0.0.1", "--port", str(port)]
    for option, name in (("data-dir", "people"), ("pid-file", "pid"), ("log-file", "log")):
        command += [f"--{option}", str(directory / name)]
    stack.enter_context(_process(command, port))
    return f"mongodb://127.0.0.1:{port}"


def _program(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise NotInstalled(name)
    return found


@contextmanager
def _process(command: Sequence[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(
        [*pinned(GENERATOR_CPU), *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _until_listening(port, process)
        yield
    finally:
        process.terminate()
        process.wait()


def _until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise NotUsable(f"{process.args} does not listen")
