"""scanpush: the entry point. Arguments, settings, container, listening, signals, drain.

``python server.py`` runs the config.yaml beside it. Exit codes: 0 after a clean stop, 2 for a
mistake in the settings or arguments, 1 for everything else.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tornado.netutil import bind_sockets

from handlers.server import Server
from services import VERSION
from services.container import build_container
from services.errors import SettingsError, StoreUnavailable
from services.logs import configure
from services.push.admission import make_room, open_file_limit
from services.settings import models
from services.settings.models import Settings, load_settings, simulated
from services.workers import WorkerContext, WorkerSupervisor
from simulator.builtin import simulate

log = logging.getLogger("scanpush.start")

HERE = Path(__file__).resolve().parent


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="server.py",
        description="scanpush: a WebSocket push server for WeChat scan-to-login.",
        epilog="Every setting can be overridden by environment: SCANPUSH_SECTION__KEY, and for "
        "secrets SCANPUSH_SECTION__KEY_FILE. See config.yaml and README.md.",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=HERE / "config.yaml",
        metavar="FILE",
        help="the settings (default: config.yaml beside server.py)",
    )
    parser.add_argument(
        "--check-config", action="store_true", help="check the settings, say so and stop"
    )
    parser.add_argument(
        "--lan",
        action="store_true",
        help="with simulated WeChat: let a real phone on this network try, by binding only the "
        "simulated phone's page to this machine's LAN address behind an unguessable path",
    )
    parser.add_argument("--version", action="version", version=f"scanpush {VERSION}")
    return parser.parse_args(argv)


def bound_sockets(settings: Settings, *, shared: bool = False) -> list[socket.socket]:
    """The listening sockets; `shared` with other processes, which all have to say so.

    Raises:
        SettingsError: the address cannot be used.
    """
    server = settings.server
    try:
        return bind_sockets(server.port, server.host, backlog=4096, reuse_port=shared)
    except socket.gaierror as error:
        raise SettingsError("server.host", f"is not an address here: {error.strerror}") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SettingsError("server.port", f"{server.host}:{server.port}: {reason}") from None


async def serve(
    settings: Settings, *, lan: bool = False, worker: WorkerContext | None = None
) -> None:
    """Run until SIGTERM or SIGINT, or until the parent is gone, then drain."""
    make_room(open_file_limit())
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopping.set)
    if worker is not None:
        loop.add_reader(worker, leave_orphaned, loop, worker, stopping)
    sockets = bound_sockets(settings, shared=worker is not None)
    host, port = sockets[0].getsockname()[:2]
    async with contextlib.AsyncExitStack() as undo:
        simulation = simulate(settings, host, port)
        if simulation is not None:
            undo.push_async_callback(simulation.stop)
            settings = simulation.settings
            if lan:
                simulation.open_to_lan()
        container = await build_container(
            settings,
            host=host,
            port=port,
            worker=worker,
            simulated_phone=simulation.phone_base if simulation is not None else "",
        )
        undo.push_async_callback(container.close)
        server = Server(container)
        undo.push_async_callback(server.close)
        await container.start()
        # What was built until now lives until the end, and the collector need not look at it again:
        # measured with 19,000 sockets, a full collection takes 0.1 ms instead of 26.
        gc.collect()
        gc.freeze()
        # Nearly all that a login makes is gone by itself before the collector looks for the first
        # time; looking less often saves 1.4 % of a login's instructions.
        gc.set_threshold(5_000)
        server.listen(sockets)
        log.info("event loop: %s", type(loop).__module__.partition(".")[0])
        if worker is None:
            phone_url = simulation.phone_url if simulation is not None else ""
            print(banner(container.own_url, phone_url), flush=True)
        await stopping.wait()
        await server.drain()


def banner(url: str, phone_url: str) -> str:
    """What a person who just started the server wants to know. `phone_url`: the simulated one's."""
    lines = [f"scanpush {VERSION} at {url}  (Ctrl-C stops it)"]
    if phone_url:
        lines.append("WeChat is SIMULATED: no account has an app_id yet (see README.md)")
        lines.append(f"The simulated phone: {phone_url}")
    return "\n".join(lines)


def leave_orphaned(
    loop: asyncio.AbstractEventLoop, worker: WorkerContext, stopping: asyncio.Event
) -> None:
    """The parent was killed: a worker without it would be neither started again nor stopped."""
    loop.remove_reader(worker)
    stopping.set()


def run(settings: Settings, *, lan: bool = False, worker: WorkerContext | None = None) -> None:
    """On uvloop, and on asyncio's own event loop where uvloop cannot be imported."""
    serving = serve(settings, lan=lan, worker=worker)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


def run_several(settings: Settings) -> int:
    """As `run` does, in ``server.processes`` processes on one port; the exit code."""
    server = settings.server
    held = bound_sockets(settings)
    port = held[0].getsockname()[1]
    for listening in held:
        listening.close()
    settings = settings.model_copy(update={"server": server.model_copy(update={"port": port})})
    url = server.public_url or f"http://{server.host}:{port}"

    def work(worker: WorkerContext) -> int:
        return exit_code(lambda: run(settings, worker=worker))

    def started() -> None:
        print(f"scanpush {VERSION} at {url}  ({server.processes} processes)", flush=True)

    return WorkerSupervisor(server.processes, work, server.drain_seconds, started).run()


def exit_code(work: Callable[[], int | None]) -> int:
    """What `work` returned, or one line on standard error and what scanpush's errors end with."""
    try:
        return work() or 0
    except SettingsError as error:
        print(f"scanpush: {error}", file=sys.stderr, flush=True)
        return 2
    except StoreUnavailable as error:
        print(f"scanpush: cannot start: {error}", file=sys.stderr, flush=True)
        return 1


def start(args: argparse.Namespace) -> int:
    """Do what the arguments ask for; the exit code."""
    settings = load_settings(args.config, os.environ)
    if args.lan and not simulated(settings):
        raise SettingsError("--lan", "opens the simulated phone, and WeChat is not simulated here")
    if args.check_config:
        print(f"{args.config}: ok")
        return 0
    configure(settings.logging)
    for warning in models.warnings(settings):
        log.warning("%s", warning)
    if settings.server.processes > 1:
        return run_several(settings)
    run(settings, lan=args.lan)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    return exit_code(lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
