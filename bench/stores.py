"""Redis and a MongoDB-protocol server for the benchmarks, on the generator's CPU."""

import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bench.kit.discover import NotUsable
from bench.servers import GENERATOR_CPU, READY_SECONDS, pinned, scratch
from deploy.programs import free_port, mongodb_command, redis_command

Environment = dict[str, str]


def mongodb_name() -> str:
    """Which server holds the people: a stand-in does not cost what the real one costs."""
    return "TEST_MONGODB_URL" if os.environ.get("TEST_MONGODB_URL") else "nx-27017"


@contextmanager
def shared_stores() -> Iterator[Environment]:
    """The settings of nodes that share the stores, until the block ends. Raises `CannotStart`."""
    with redis_store() as (settings, _), ExitStack() as stack:
        yield {
            **settings,
            "SCANPUSH_MONGODB__URL": _mongodb(stack, stack.enter_context(scratch())),
            "SCANPUSH_MONGODB__DATABASE": f"scanpush_bench_{uuid.uuid4().hex[:12]}",
        }


@contextmanager
def redis_store(cpu: int | None = GENERATOR_CPU) -> Iterator[tuple[Environment, int]]:
    """The settings of nodes whose scenes are in one Redis, and its process. Raises `CannotStart`.

    They are whole for nodes without MongoDB (bench/without_mongodb.py).
    """
    with scratch() as directory:
        port = free_port()
        with _process(redis_command(directory, port), port, cpu) as process:
            url = f"redis://127.0.0.1:{port}/0"
            yield {"SCANPUSH_BACKEND": "distributed", "SCANPUSH_REDIS__URL": url}, process.pid


def _mongodb(stack: ExitStack, directory: Path) -> str:
    if url := os.environ.get("TEST_MONGODB_URL"):
        return url
    port = free_port()
    stack.enter_context(_process(mongodb_command(directory, port), port))
    return f"mongodb://127.0.0.1:{port}"


@contextmanager
def _process(
    command: Sequence[str], port: int, cpu: int | None = GENERATOR_CPU
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*pinned(cpu), *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _until_listening(port, process)
        yield process
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
