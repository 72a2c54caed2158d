"""scanpush: the entry point. Arguments, settings, container, listening, signals, drain.

``python server.py`` runs the config.yaml beside it. Exit codes: 0 after a clean stop, 2 for a
mistake in the settings or arguments, 1 for everything else. Those of ``--doctor``: its help.
"""

import signal
import sys

if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until `serve` handles it, Ctrl-C ends the process without a traceback of these imports.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.flags.safe_path:  # PYTHONSAFEPATH leaves out the folder of this file
        sys.path.insert(0, __file__.rpartition("/")[0] or ".")

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import socket
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path

from handlers.server import Server
from services import VERSION
from services.container import build_container
from services.errors import SettingsError, StoreUnavailable
from services.logs import configure, guard_output, scrub_line
from services.origins import url_host
from services.push.admission import make_room, open_file_limit
from services.settings import hosts, models
from services.settings.models import LoggingSettings, Settings, load_settings, simulated
from services.settings.outgoing import Outgoing, drop_key_log, load_outgoing
from services.settings.sources import service_variables
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
        "--doctor",
        action="store_true",
        help="look for what keeps logins from working, tell each with its remedy and stop; exit "
        "code 1: something is to be mended, 2: it could not look",
    )
    parser.add_argument(
        "--json", action="store_true", help="with --doctor: the findings as one JSON document"
    )
    parser.add_argument(
        "--account", default="", metavar="NAME", help="with --doctor: this account only"
    )
    parser.add_argument(
        "--lang",
        choices=("zh", "en"),
        default="",
        help="with --doctor: its language (by default the locale's, else the account's)",
    )
    parser.add_argument(
        "--lan",
        action="store_true",
        help="with simulated WeChat: let a real phone on this network try, by binding only the "
        "simulated phone's page to this machine's LAN address behind an unguessable path",
    )
    parser.add_argument("--version", action="version", version=f"scanpush {VERSION}")
    args = parser.parse_args(argv)
    if not args.doctor and (args.json or args.account or args.lang):
        parser.error("--json, --account and --lang belong to --doctor")
    return args


def bound_sockets(settings: Settings, *, shared: bool = False) -> list[socket.socket]:
    """The listening sockets; `shared` with other processes, which all have to say so.

    Raises:
        SettingsError: the address cannot be used.
    """
    try:
        return hosts.listen(models.listened_on(settings), settings.server.port, shared=shared)
    except OSError as error:
        raise SettingsError("server.port", error.strerror or str(error)) from None


def reached_at(sockets: Sequence[socket.socket]) -> tuple[str, int]:
    """Host and port at which this machine reaches the server: on loopback where it can."""
    name = sockets[0].getsockname()
    address = hosts.address_in(name)
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1", name[1]
    return str(address), name[1]


async def serve(
    settings: Settings,
    outgoing: Outgoing,
    *,
    lan: bool = False,
    worker: WorkerContext | None = None,
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
    host, port = reached_at(sockets)
    listening = listening_lines(sockets)
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
            outgoing=outgoing,
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
            print(banner(container.own_url, listening, phone_url), flush=True)
        await stopping.wait()
        await server.drain()


def banner(url: str, listening: Sequence[str], phone_url: str) -> str:
    """What a person who just started the server wants to know. `phone_url`: the simulated one's."""
    lines = [f"scanpush {VERSION} at {url}  (Ctrl-C stops it)", *listening]
    if phone_url:
        lines.append("WeChat is SIMULATED: no account has an app_id yet (see README.md)")
        lines.append(f"The simulated phone: {phone_url}")
    return "\n".join(lines)


def listening_lines(sockets: Sequence[socket.socket]) -> list[str]:
    """A line where the server listens at more than one address: at which ones."""
    names = [listening.getsockname() for listening in sockets]
    addresses = [hosts.address_in(name) for name in names]
    places = " and ".join(
        f"{url_host(str(address))}:{name[1]}"
        for address, name in zip(addresses, names, strict=True)
    )
    every = {address.version for address in addresses if address.is_unspecified}
    if not every:
        return [f"Listening on {places}"] if len(sockets) > 1 else []
    reach = "address" if 6 in every else "IPv4 address"
    missing = "" if 6 in every else "; none of IPv6"
    return [f"Listening on {places}: every {reach} of this machine{missing}"]


def leave_orphaned(
    loop: asyncio.AbstractEventLoop, worker: WorkerContext, stopping: asyncio.Event
) -> None:
    """The parent was killed: a worker without it would be neither started again nor stopped."""
    loop.remove_reader(worker)
    stopping.set()


def run(
    settings: Settings,
    outgoing: Outgoing,
    *,
    lan: bool = False,
    worker: WorkerContext | None = None,
) -> None:
    """On uvloop, and on asyncio's own event loop where uvloop cannot be imported."""
    serving = serve(settings, outgoing, lan=lan, worker=worker)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


def run_several(settings: Settings, outgoing: Outgoing) -> int:
    """As `run` does, in ``server.processes`` processes on one port; the exit code."""
    server = settings.server
    held = bound_sockets(settings)
    host, port = reached_at(held)
    listening = listening_lines(held)
    for socket_ in held:
        socket_.close()
    settings = settings.model_copy(update={"server": server.model_copy(update={"port": port})})
    url = server.public_url or f"http://{url_host(host)}:{port}"

    def work(worker: WorkerContext) -> int:
        return exit_code(lambda: run(settings, outgoing, worker=worker))

    def started() -> None:
        first = f"scanpush {VERSION} at {url}  ({server.processes} processes)"
        print("\n".join([first, *listening]), flush=True)

    return WorkerSupervisor(server.processes, work, server.drain_seconds, started).run()


def exit_code(work: Callable[[], int | None]) -> int:
    """What `work` returned, or one line on standard error and what scanpush's errors end with."""
    try:
        return work() or 0
    except SettingsError as error:
        print(f"scanpush: {scrub_line(str(error))}", file=sys.stderr, flush=True)
        return 2
    except StoreUnavailable as error:
        print(f"scanpush: cannot start: {scrub_line(str(error))}", file=sys.stderr, flush=True)
        return 1


def examine(args: argparse.Namespace, environ: MutableMapping[str, str]) -> int:
    """Have the doctor look at what the settings name; the exit code."""
    # Only here: its parts are not needed to serve.
    from doctor import walk

    told = {"language": args.lang, "as_json": args.json, "environ": environ}
    drop_key_log(environ)
    try:
        settings = load_settings(args.config, environ)
        outgoing = load_outgoing(settings, environ)
    except SettingsError as error:
        return walk.tell_mistake(error, **told)
    return walk.examine(settings, outgoing, only=args.account, **told)


def start(args: argparse.Namespace, environ: MutableMapping[str, str]) -> int:
    """Do what the arguments and the environment ask for; the exit code."""
    configure(LoggingSettings())  # until the settings are known
    no_key_log = drop_key_log(environ)
    settings = load_settings(args.config, environ)
    configure(settings.logging)
    outgoing = load_outgoing(settings, environ)
    if args.lan and not simulated(settings):
        raise SettingsError("--lan", "opens the simulated phone, and WeChat is not simulated here")
    if made := service_variables(Settings, environ):
        log.info("no settings, but made for a Service or a link, and skipped: %s", ", ".join(made))
    for warning in (*no_key_log, *models.warnings(settings), *outgoing.warnings):
        log.warning("%s", warning)
    if args.check_config:
        print(f"{args.config}: ok")
        return 0
    if settings.server.processes > 1:
        return run_several(settings, outgoing)
    run(settings, outgoing, lan=args.lan)
    return 0


def main(argv: Sequence[str] | None = None, environ: MutableMapping[str, str] = os.environ) -> int:
    args = arguments(argv)
    return exit_code(lambda: (examine if args.doctor else start)(args, environ))


if __name__ == "__main__":
    guard_output()
    sys.exit(main())
