"""What all tests share: silence is checked, long tests are asked for, failures name their cause."""

import asyncio
import logging
import os
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

LOOP = os.environ.get("SCANPUSH_TEST_LOOP", "asyncio")
"""The event loop of all tests: ``asyncio`` or ``uvloop``."""

RUN_ALL = bool(os.environ.get("SCANPUSH_TEST_ALL"))


def pytest_configure(config: pytest.Config) -> None:
    if LOOP == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests run with ``scripts/test --all`` only."""
    if RUN_ALL:
        return
    long = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """In CI nothing may be skipped for want of a program: the scripts install them all."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI forbids: {report.longrepr}"
    return report


class ClosingLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, that closes a socket when the task that connects it is cancelled.

    pymongo 4.20 leaves that socket to the garbage collector (pool_shared.py,
    `_async_create_connection`), where it is closed, but with a warning in whatever test runs then.
    """

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        try:
            await super().sock_connect(sock, address)
        except asyncio.CancelledError:
            sock.close()
            raise


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """pytest-tornado's fixture, made without the calls that Python 3.12 and tornado deprecate.

    The plugin's own asks for the current event loop to restore it afterwards. Since Python 3.12
    asking warns when there is none, and between tests there is none.
    """
    loop = ClosingLoop() if LOOP == "asyncio" else asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    io_loop = IOLoop(asyncio_loop=loop, make_current=False)
    yield io_loop
    asyncio.set_event_loop(None)
    io_loop.close(all_fds=True)


class UnexpectedLogs(logging.Handler):
    """Collects log lines at WARNING and above; tests say which they expect."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.expected: list[re.Pattern[str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {record.levelname} {self.format(record)}")

    def expect(self, pattern: str) -> None:
        """Lines that match `pattern` anywhere are fine, before or after this call."""
        self.expected.append(re.compile(pattern))

    def unexpected(self) -> list[str]:
        return [line for line in self.lines if not any(p.search(line) for p in self.expected)]


@pytest.fixture(autouse=True)
def logs() -> Iterator[UnexpectedLogs]:
    """A log line at WARNING or above fails the test, unless it was expected."""
    handler = UnexpectedLogs()
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    assert not handler.unexpected(), "unexpected log lines"
