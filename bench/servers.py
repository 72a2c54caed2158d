"""Starts what is measured: scanpush, its peers, and the WeChat API that scanpush calls."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.callbacks import APP_ID, CALLBACK_TOKEN, ENCODING_AES_KEY
from bench.kit.discover import NotUsable, ask
from bench.kit.server_process import Usage, usage
from bench.kit.wire import Target
from deploy.programs import free_port

TREE = Path(__file__).resolve().parent.parent
PEERS = TREE / "bench" / "peers"
NCHAN_MODULE = "ngx_nchan_module.so"
READY_SECONDS = 20.0
LEAVE_SECONDS = 30.0

SERVER_CPU, GENERATOR_CPU = 0, 1


class NotInstalled(Exception):
    """A peer that this machine cannot run; the text names what is missing."""


@dataclass(slots=True)
class Running:
    """One server under test."""

    name: str
    process: subprocess.Popen[str]
    ws: Target
    push: Target
    report: Path
    workers: tuple[int, ...] = ()

    @property
    def url(self) -> str:
        return self.ws.origin

    def usage(self) -> Usage:
        """Memory and CPU so far, of the process that serves."""
        found = usage(list(self.workers) or [self.process.pid])
        if found is None:
            raise NotUsable(f"{self.name} has ended")
        return found

    def collect(self) -> dict[str, Any]:
        """Let it run one full collection; only for Python servers. See bench/instrumented.py."""
        self.report.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + READY_SECONDS
        while not self.report.exists():
            if time.monotonic() > end:
                raise NotUsable(f"{self.name} did not report its collection")
            time.sleep(0.02)
        document: dict[str, Any] = json.loads(self.report.read_text())
        return document


def pinned(cpu: int | None) -> Sequence[str]:
    """A command prefix that keeps a process on one CPU, where there is more than one."""
    if cpu is None or (os.cpu_count() or 1) <= cpu or not shutil.which("taskset"):
        return ()
    return ("taskset", "-c", str(cpu))


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for one server."""
    with tempfile.TemporaryDirectory(prefix="scanpush-bench-") as name:
        yield Path(name)


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _start(
    command: Sequence[str],
    *,
    cpu: int | None,
    log: Path,
    environment: Mapping[str, str],
    tree: Path = TREE,
) -> subprocess.Popen[str]:
    with log.open("w") as errors:
        return subprocess.Popen(
            [*pinned(cpu), *command],
            cwd=tree,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Ctrl-C is for the kit, which then stops its servers itself.
            start_new_session=True,
        )


def _ready_ports(process: subprocess.Popen[str], log: Path) -> dict[str, int]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("ready "):
            ports: dict[str, int] = json.loads(line[6:])
            return ports
    raise NotUsable(f"a server did not start: {log.read_text()[-2000:]}")


def _local(port: int) -> Target:
    return Target("http", "127.0.0.1", port)


def peer_command(name: str, report: Path) -> list[str]:
    """How a peer with a ready line is started. Raises NotInstalled."""
    if name == "node-ws":
        node = shutil.which("node")
        if node is None or not (PEERS / "node" / "node_modules" / "ws").exists():
            raise NotInstalled("node and its package ws")
        return [node, str(PEERS / "node" / "server.mjs")]
    module, needs = PYTHON_PEERS[name]
    try:
        __import__(needs)
    except ImportError:
        raise NotInstalled(f"the Python package {needs}") from None
    return [sys.executable, "-m", "bench.instrumented", str(report), "-m", module]


PYTHON_PEERS: Mapping[str, tuple[str, str]] = {
    "tornado": ("bench.peers.tornado_stock", "tornado"),
    "websockets": ("bench.peers.websockets_server", "websockets"),
    "picows": ("bench.peers.picows_server", "picows"),
    "aiohttp": ("bench.peers.aiohttp_server", "aiohttp"),
    "stock-login": ("bench.peers.stock_login", "aiosqlite"),
}
"""Module, and the package it needs."""

PUSH_PEERS = ("tornado", "websockets", "picows", "aiohttp", "node-ws", "nchan")


@contextmanager
def peer(
    name: str, *, arguments: Sequence[str] = (), cpu: int | None = SERVER_CPU
) -> Iterator[Running]:
    """One peer, until the block ends. Raises NotInstalled."""
    with scratch() as directory:
        if name == "nchan":
            with _nchan(directory, cpu) as running:
                yield running
            return
        report, log = directory / "report.json", directory / "log"
        command = [*peer_command(name, report), *arguments]
        process = _start(command, cpu=cpu, log=log, environment={})
        try:
            ports = _ready_ports(process, log)
            yield Running(name, process, _local(ports["ws"]), _local(ports["push"]), report)
        finally:
            _stop(process)


def nchan_module() -> Path:
    """Where the distribution put nchan. Raises NotInstalled."""
    for place in ("/usr/lib/nginx/modules", "/usr/share/nginx/modules", "/usr/lib64/nginx/modules"):
        found = Path(place) / NCHAN_MODULE
        if found.exists():
            return found
    raise NotInstalled("nginx with libnginx-mod-nchan")


@contextmanager
def _nchan(directory: Path, cpu: int | None) -> Iterator[Running]:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        raise NotInstalled("nginx with libnginx-mod-nchan")
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    values = {
        "@PORT@": str(free_port()),
        "@DIR@": str(directory),
        "@FILES@": str(files),
        "@CONNECTIONS@": str(files - 50),
        "@MODULE@": str(nchan_module()),
    }
    text = (PEERS / "nchan.conf.in").read_text()
    for mark, value in values.items():
        text = text.replace(mark, value)
    configuration = directory / "nginx.conf"
    configuration.write_text(text)
    # The worker gives up root for an unprivileged user, which must be able to enter the directory.
    directory.chmod(0o755)
    command = [nginx, "-c", str(configuration), "-p", str(directory)]
    process = _start(command, cpu=cpu, log=directory / "log", environment={})
    try:
        target = _local(int(values["@PORT@"]))
        _until_listening(target, process, directory / "log")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        workers = tuple(int(child) for child in children)
        yield Running("nchan", process, target, target, directory / "none", workers)
    finally:
        _stop(process)


def _until_listening(
    target: Target,
    process: subprocess.Popen[str],
    log: Path,
    ready_seconds: float = READY_SECONDS,
) -> None:
    end = time.monotonic() + ready_seconds
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection((target.host, target.port), 1):
            return
        time.sleep(0.05)
    raise NotUsable(f"a server did not start: {log.read_text()[-2000:]}")


def account_environment(upstream: Target) -> dict[str, str]:
    """Settings of an account that exists only at bench/upstream.py."""
    prefix = "SCANPUSH_WECHAT__ACCOUNTS__DEFAULT__"
    return {
        "SCANPUSH_WECHAT__API_BASE": upstream.origin,
        "SCANPUSH_WECHAT__MP_BASE": upstream.origin,
        "SCANPUSH_WECHAT__OPEN_BASE": upstream.origin,
        f"{prefix}APP_ID": APP_ID,
        f"{prefix}APP_SECRET": "0123456789abcdef" * 2,
        f"{prefix}CALLBACK_TOKEN": CALLBACK_TOKEN,
        f"{prefix}ENCODING_AES_KEY": ENCODING_AES_KEY,
    }


@contextmanager
def scanpush(
    environment: Mapping[str, str],
    *,
    cpu: int | None = SERVER_CPU,
    command: Sequence[str] = (),
    directory: Path | None = None,
    tree: Path = TREE,
    ready_seconds: float = READY_SECONDS,
) -> Iterator[Running]:
    """scanpush as it is, embedded, with a fresh data directory and no limits per address.

    `environment` adds settings or overrides these; `directory` keeps the data for another start;
    `tree` is the checkout whose `server.py` runs.
    """
    with ExitStack() as stack:
        directory = directory or stack.enter_context(scratch())
        report, log, port = directory / "report.json", directory / "log", free_port()
        settings = {
            "SCANPUSH_SERVER__HOST": "127.0.0.1",
            "SCANPUSH_SERVER__PORT": str(port),
            "SCANPUSH_EMBEDDED__PATH": str(directory / "scanpush.db"),
            "SCANPUSH_JWT__KEY_FILE": str(directory / "keys.json"),
            "SCANPUSH_LIMITS__SCENES_PER_MINUTE_PER_ADDRESS": "0",
            "SCANPUSH_LIMITS__MESSAGES_PER_SECOND_PER_SOCKET": "0",
            "SCANPUSH_LOGGING__LEVEL": "WARNING",
            **environment,
        }
        start = command or (sys.executable, "-m", "bench.instrumented", str(report), "server.py")
        process = _start(start, cpu=cpu, log=log, environment=settings, tree=tree)
        try:
            target = _local(port)
            _until_listening(target, process, log, ready_seconds)
            _until_healthy(target, process, log, ready_seconds)
            yield Running("scanpush", process, target, target, report)
        finally:
            _stop(process)


def _until_healthy(
    target: Target, process: subprocess.Popen[str], log: Path, ready_seconds: float
) -> None:
    end = time.monotonic() + ready_seconds
    while time.monotonic() < end and process.poll() is None:
        # A server below valgrind listens long before it answers in the time that `ask` gives it.
        with suppress(NotUsable):
            if ask(target, "GET", "/readyz")[0] == 200:
                return
        time.sleep(0.1)
    raise NotUsable(f"scanpush does not become ready: {log.read_text()[-2000:]}")


def scanpush_for_load() -> Any:
    """scanpush with its simulator, for `scripts/load --serve`."""
    settings = {"SCANPUSH_OPERATOR__TOKEN": secrets.token_urlsafe(16)}
    return scanpush(settings, cpu=None, command=(sys.executable, "server.py"))


@contextmanager
def upstream(cpu: int | None = GENERATOR_CPU, delay_seconds: float = 0) -> Iterator[Target]:
    """bench/upstream.py, until the block ends."""
    with upstream_process(cpu, delay_seconds) as (target, _):
        yield target


@contextmanager
def upstream_process(
    cpu: int | None = GENERATOR_CPU, delay_seconds: float = 0
) -> Iterator[tuple[Target, subprocess.Popen[str]]]:
    """The same, with the process, for a measure that has it stop answering."""
    with scratch() as directory:
        command = [sys.executable, "-m", "bench.upstream", "--delay", str(delay_seconds)]
        process = _start(command, cpu=cpu, log=directory / "log", environment={})
        try:
            yield _local(_ready_ports(process, directory / "log")["http"]), process
        finally:
            _stop(process)
