"""A million pages on one machine: what they take, and what a push among them takes.

As many nodes as the open-file limit asks for, each a process with a port of its own, share one
Redis; people are in the nodes' memory (bench/without_mongodb.py). A generator process for each node
begins its pages and opens their sockets. The pages that are scanned are of the kind for which
WeChat makes a code, and it makes 100,000 of them a day; all others are of kind `web`. When all are
open, pings alone are measured, then scans, whose callbacks go to another node than the one that
holds the page. A page that has logged in is replaced.

Nothing is pinned: nodes, Redis and generator share all cores, as the machine has none to spare at
that size. Both ends of every connection are on it.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.kit import limits
from bench.kit.discover import NotUsable
from bench.kit.server_process import PAGE_BYTES, TICKS_A_SECOND, Usage, usage
from bench.measure import common
from bench.measure.common import Options
from bench.measure.holders import (
    ENOUGH,
    LOOK_SECONDS,
    PEOPLE,
    WARM_UP,
    Holders,
    Scans,
    Share,
    holders,
)
from bench.priority import undisturbed
from bench.results import Board, Figure
from bench.servers import Running, account_environment, scanpush, upstream
from bench.stores import redis_store

FIGURES = (
    Figure("held", "pages held", 0),
    Figure("nodes", "nodes", 0),
    Figure("open_s", "seconds to open", 0),
    Figure("opens_per_s", "begun and opened/s", 0),
    Figure("open_node_us", "CPU us for each: node", 0),
    Figure("open_redis_us", "Redis", 0),
    Figure("open_generator_us", "generator", 0),
    Figure("handshake_ms_p99", "handshake p99 ms", 1),
    Figure("server_kb", "KB a page: node", 2),
    Figure("redis_kb", "Redis", 2),
    Figure("kernel_kb", "kernel, both ends", 2),
    Figure("generator_kb", "generator", 2),
    Figure("node_mb", "MB a node without pages", 1),
    Figure("taken_gib", "GiB in all", 2),
    Figure("pings_per_s", "pings/s", 0),
    Figure("rest_percent", "CPU of a core, %: nodes without pages", 1),
    Figure("keepalive_percent", "nodes that ping", 1),
    Figure("redis_percent", "Redis meanwhile", 1),
    Figure("generator_percent", "generator meanwhile", 1),
    Figure("ping_us", "node CPU us a ping and pong", 1),
    Figure("idle_percent", "of the machine idle meanwhile, %", 1),
    Figure("scans", "scans", 0),
    Figure("frame_ms_p50", "scan to frame: p50 ms", 2),
    Figure("frame_ms_p99", "p99", 2),
    Figure("frame_ms_p999", "p99.9", 1),
    Figure("frame_ms_max", "max", 1),
    Figure("due_ms_p99", "p99 from when due", 2),
    Figure("scan_idle_percent", "of the machine idle meanwhile, %", 1),
    Figure("least_held", "held meanwhile, at least", 0),
    Figure("dropped", "dropped", 0),
    Figure("faults", "lost, misdelivered, after ack", 0),
    Figure("realtime", "real-time priority", 0),
)
SCANS_PER_SECOND = 100.0
INFLIGHT = 256
"""Pages on their way at a time, over all processes."""

RESERVED_DESCRIPTORS = 512
"""The default of push.reserve_descriptors."""

SPARE_SOCKETS = 64
"""Of a node's room: a page that replaces another comes before the other is gone."""

NODE_READY_SECONDS = 60.0
REST_SECONDS_A_NODE = 0.2
PROGRESS_SECONDS = 10.0
PING_SECONDS = 55.0
"""Unless another interval is asked for: below the 60 s after which nginx and other proxies, as they
come, give up a silent connection. With the server's default, 30 s, a million pages are 33,000 pings
a second, and both ends of one together took 33 us: more than half of two cores."""

LIFE_SECONDS = float(common.LONG_LIFE["SCANPUSH_LOGIN__SCENE_TTL_SECONDS"])
WARM_SECONDS = 30.0
LAST_SECONDS = 30.0
"""How long what has begun may take to end."""

GIB = 1 << 30
KEPT_BYTES = GIB
"""Memory left to the rest of the machine."""

NODE_BYTES = 100 << 20
PAGE_TAKES_BYTES = 14 << 10
"""Of a node with its generator process, and of one page everywhere: measured at 50,000 pages."""

MEMORY, SOCKETS = Path("/proc/meminfo"), Path("/proc/net/sockstat")
STAT = Path("/proc/stat")
FILES, FILES_AT_MOST = Path("/proc/sys/fs/file-nr"), Path("/proc/sys/fs/file-max")
TRACKED = Path("/proc/sys/net/netfilter/nf_conntrack_count")
TRACKED_AT_MOST = TRACKED.with_name("nf_conntrack_max")
KERNEL = ("Slab", "KernelStack", "PageTables")


def run(options: Options) -> Board:
    """One run.

    Raises:
        NotUsable: this machine cannot hold so many; the text says how many it can.
    """
    plan = plan_of(options)
    each = options.pages_per_process or pages_a_node()
    count = nodes_for(options.pages, each, headroom())
    settings = {"pages": plan.pages, "nodes": count, "ping_seconds": plan.ping_seconds,
                "scan_seconds": plan.scan_seconds}  # fmt: skip
    board = Board("million", FIGURES, settings)
    print(f"  {count} nodes, {-(-options.pages // count):,} pages each", flush=True)
    with (
        on_all_cores(),
        upstream(cpu=None) as wechat,
        redis_store(cpu=None) as (store, redis),
        nodes_of(
            count,
            {
                **account_environment(wechat),
                **common.LONG_LIFE,
                **common.NO_DAILY_RESERVE,
                **store,
                "SCANPUSH_JWT__ISSUER": "bench",
                "SCANPUSH_PUSH__PING_SECONDS": str(plan.ping_seconds),
                **options.scanpush,
            },
        ) as servers,
    ):
        realtime = not options.ordinary_priority
        figures = measure(plan, board, servers, redis, realtime=realtime)
        board.add(0, f"{figures['held']:,} pages", figures)
    return board


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for, and how long opening may take."""

    pages: int
    ping_seconds: float
    scan_seconds: float
    open_seconds: float

    def scans(self, nodes: int) -> int:
        """How many pages of each node are scanned."""
        return -(-round(SCANS_PER_SECOND * self.scan_seconds) // nodes)


def plan_of(options: Options) -> Plan:
    """The plan that the command line asks for.

    Raises:
        NotUsable: it does not fit into the pages, or into the life of their scenes.
    """
    ping_seconds, scans = options.ping_seconds or PING_SECONDS, options.scan_seconds
    if SCANS_PER_SECOND * scans > options.pages / 2:
        raise NotUsable(
            f"{SCANS_PER_SECOND * scans:,.0f} scans need at least twice as many pages: lower "
            "--scan-seconds"
        )
    # What is measured must end before the first scenes do.
    open_seconds = LIFE_SECONDS - 2 * ping_seconds - WARM_SECONDS - scans - 2 * LAST_SECONDS
    if open_seconds < LIFE_SECONDS / 2:
        raise NotUsable(
            f"scenes live {LIFE_SECONDS:,.0f} s, in which pages are opened, pinged twice and "
            "scanned: lower --ping-seconds or --scan-seconds"
        )
    return Plan(options.pages, ping_seconds, scans, open_seconds)


# What the machine has.


@dataclass(frozen=True, slots=True)
class Headroom:
    """Bytes of memory, open files, and connections that a firewall still tracks (None: it tracks
    none)."""

    memory: int
    files: int
    tracked: int | None


def headroom() -> Headroom:
    """What is left of this machine.

    Raises:
        NotUsable: it does not say.
    """
    tracked = None
    try:
        files = int(FILES_AT_MOST.read_text()) - int(FILES.read_text().split()[0])
        memory = meminfo("MemAvailable")
        if TRACKED.exists() and (count := int(TRACKED.read_text())):
            tracked = int(TRACKED_AT_MOST.read_text()) - count
    except OSError as error:
        raise NotUsable(f"{error.filename} cannot be read: this takes Linux") from None
    return Headroom(memory, files, tracked)


def pages_a_node() -> int:
    """How many pages one node holds, and one generator process as well."""
    files = limits.raise_open_files()
    held = min(limits.allowance("127.0.0.1").per_process, files - RESERVED_DESCRIPTORS)
    return max(1, held - SPARE_SOCKETS)


def nodes_for(pages: int, each: int, room: Headroom) -> int:
    """How many nodes so many pages take, at most `each` on one.

    Raises:
        NotUsable: memory, files or a firewall's table do not suffice.
    """
    page = PAGE_TAKES_BYTES + NODE_BYTES / each
    met = [
        (
            int(max(0, room.memory - KEPT_BYTES) / page),
            f"about {pages * page / GIB:.1f} GiB of memory, and of {room.memory / GIB:.1f} GiB "
            f"{KEPT_BYTES / GIB:.1f} are left to others",
        ),
        (room.files // 2, f"{2 * pages:,} open files, and fs.file-max leaves {room.files:,}"),
    ]
    if room.tracked is not None:
        why = f"as many tracked connections, and nf_conntrack_max leaves {room.tracked:,}"
        met.append((room.tracked, why))
    fit, why = min(met)
    if fit < pages:
        raise NotUsable(f"{pages:,} pages take {why}: this machine can hold --pages {fit}")
    return -(-pages // each)


@contextmanager
def on_all_cores() -> Iterator[None]:
    """Take back that this process, and with it those it starts, keep to the generator's core."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def nodes_of(count: int, settings: Mapping[str, str]) -> Iterator[list[Running]]:
    """So many nodes, killed at the end: draining all their pages would only take time."""
    command = (sys.executable, "-m", "bench.without_mongodb")
    servers: list[Running] = []
    with ExitStack() as stack:
        for number in range(1, count + 1):
            started = scanpush(
                settings, cpu=None, command=command, ready_seconds=NODE_READY_SECONDS
            )
            servers.append(stack.enter_context(started))
            if number % 10 == 0:
                print(f"  {number} of {count} nodes have started", flush=True)
        try:
            yield servers
        finally:
            for server in servers:
                server.process.kill()


# What the run takes.


@dataclass(frozen=True, slots=True)
class Taken:
    """Bytes of memory and seconds of CPU so far."""

    moment: float
    nodes: Usage
    redis: Usage
    generator: Usage
    kernel: int
    available: int
    idle: float
    """Of all cores together."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The processes of a run."""

    nodes: Sequence[int]
    redis: int
    generator: Sequence[int] = ()

    def taken(self) -> Taken:
        """Raises NotUsable: one of them has ended."""
        nodes, redis = usage(list(self.nodes)), usage([self.redis])
        if nodes is None or redis is None:
            raise NotUsable("Redis or the nodes have ended")
        idle = sum(map(int, STAT.read_text().split(maxsplit=6)[4:6])) / TICKS_A_SECOND
        generator = usage(list(self.generator)) or Usage(0, 0.0)
        kernel = meminfo(*KERNEL) + buffer_bytes()
        available = meminfo("MemAvailable")
        now = time.perf_counter()
        return Taken(now, nodes, redis, generator, kernel, available, idle)


def meminfo(*names: str) -> int:
    """The sum of some lines of /proc/meminfo, in bytes (proc(5))."""
    lines = dict(line.split(":") for line in MEMORY.read_text().splitlines())
    return sum(int(lines[name].split()[0]) for name in names) * 1024


def buffer_bytes() -> int:
    """What the buffers of all TCP sockets take (proc(5), net/sockstat)."""
    line = next(line for line in SOCKETS.read_text().splitlines() if line.startswith("TCP:"))
    return int(line.rpartition(" ")[2]) * PAGE_BYTES


def memory(before: Taken, after: Taken, held: int) -> dict[str, float]:
    """What `held` pages added, in KB each; `before`: without them and without the generator."""

    def kb(added: int) -> float:
        return added / 1024 / held

    return {
        "server_kb": kb(after.nodes.rss_bytes - before.nodes.rss_bytes),
        "redis_kb": kb(after.redis.rss_bytes - before.redis.rss_bytes),
        "kernel_kb": kb(after.kernel - before.kernel),
        "generator_kb": kb(after.generator.rss_bytes),
    }


def opening_cost(before: Taken, after: Taken, held: int) -> dict[str, float]:
    """What CPU it took to begin and open `held` pages, in microseconds each."""

    def us(seconds: float) -> float:
        return seconds / held * 1e6

    return {
        "open_node_us": us(after.nodes.cpu_seconds - before.nodes.cpu_seconds),
        "open_redis_us": us(after.redis.cpu_seconds - before.redis.cpu_seconds),
        "open_generator_us": us(after.generator.cpu_seconds),
    }


def percent(before: Taken, after: Taken, part: str) -> float:
    """The CPU of one part between two moments, in percent of a core."""
    used = getattr(after, part).cpu_seconds - getattr(before, part).cpu_seconds
    return float(used / (after.moment - before.moment) * 100)


def idle_percent(before: Taken, after: Taken) -> float:
    """How much of the machine had nothing to do."""
    cores = os.cpu_count() or 1
    return (after.idle - before.idle) / (after.moment - before.moment) / cores * 100


# The phases.


def measure(
    plan: Plan, board: Board, servers: Sequence[Running], redis: int, *, realtime: bool
) -> dict[str, Any]:
    """Rest, open, keep alive, scan."""
    bare = Parts([server.process.pid for server in servers], redis)
    start = bare.taken()
    time.sleep(REST_SECONDS_A_NODE * len(servers))
    rested = bare.taken()
    with holders(shares(plan, servers)) as generator:
        parts = Parts(bare.nodes, redis, generator.pids)
        open_s = open_all(plan, board, generator)
        held = generator.total("held")
        if not held:
            raise NotUsable(f"not one page opened: {dict(generator.total('refused'))}")
        print(f"  {held:,} pages are open after {open_s:,.0f} s", flush=True)
        generator.listen(common.SETTLE_SECONDS)
        opened = parts.taken()
        return {
            "held": held,
            "nodes": len(servers),
            "open_s": open_s,
            "opens_per_s": held / open_s,
            **opening_cost(rested, opened, held),
            **memory(rested, opened, held),
            "node_mb": start.nodes.rss_bytes / len(servers) / 1e6,
            "taken_gib": (start.available - opened.available) / GIB,
            "rest_percent": percent(start, rested, "nodes"),
            **keep_alive(plan, generator, parts),
            **scan(plan, servers, generator, parts, realtime=realtime),
        }


def shares(plan: Plan, servers: Sequence[Running]) -> list[Share]:
    """What each generator process is to do."""
    count = len(servers)
    allowed = limits.allowance("127.0.0.1")
    each = -(-plan.pages // count)
    return [
        Share(
            node=server.ws,
            callbacks=servers[(number + 1) % count].push,
            # The remainder goes to the first nodes, one each.
            pages=plan.pages // count + (number < plan.pages % count),
            scannable=plan.scans(count) + PEOPLE,
            inflight=max(1, INFLIGHT // count),
            sources=tuple(limits.sources(number, each, allowed)),
        )
        for number, server in enumerate(servers)
    ]


def open_all(plan: Plan, board: Board, generator: Holders) -> float:
    """Until all pages are open, or until something ends that; returns the seconds."""
    began = said = time.perf_counter()
    opened, ended_by = 0, ""
    while not generator.filled and (now := time.perf_counter()) - began < (
        plan.open_seconds + LAST_SECONDS
    ):
        if not ended_by and meminfo("MemAvailable") < KEPT_BYTES:
            ended_by = f"less than {KEPT_BYTES / GIB:.1f} GiB of memory is left"
        elif not ended_by and now - began > plan.open_seconds:
            ended_by = f"{plan.open_seconds:,.0f} s are over"
        if ended_by and not generator.orders:
            generator.order(ENOUGH)
        if now - said >= PROGRESS_SECONDS:
            before, opened = opened, generator.total("opened")
            print(
                f"  {generator.total('held'):>9,} of {plan.pages:,} pages, "
                f"{(opened - before) / (now - said):,.0f} a second, "
                f"{meminfo('MemAvailable') / GIB:.1f} GiB free",
                flush=True,
            )
            said = now
        generator.listen(LOOK_SECONDS)
    took = time.perf_counter() - began
    held, refused = generator.total("held"), generator.total("refused")
    if held < plan.pages:
        why = ended_by or f"nodes refuse more, {dict(refused)}"
        board.note(f"{held:,} of {plan.pages:,} pages were opened: {why}")
    elif refused:
        board.note(f"refused at first: {dict(refused)}")
    return took


def keep_alive(plan: Plan, generator: Holders, parts: Parts) -> dict[str, float]:
    """Two intervals in which pages are pinged, and nothing else happens."""
    before, pings = parts.taken(), generator.total("pings")
    generator.listen(2 * plan.ping_seconds)
    after, seen = parts.taken(), generator.total("pings") - pings
    used = after.nodes.cpu_seconds - before.nodes.cpu_seconds
    return {
        "pings_per_s": seen / (after.moment - before.moment),
        "keepalive_percent": percent(before, after, "nodes"),
        "redis_percent": percent(before, after, "redis"),
        "generator_percent": percent(before, after, "generator"),
        "ping_us": used / seen * 1e6 if seen else float("nan"),
        "idle_percent": idle_percent(before, after),
    }


def scan(
    plan: Plan, servers: Sequence[Running], generator: Holders, parts: Parts, *, realtime: bool
) -> dict[str, Any]:
    """SCANS_PER_SECOND over all nodes, which take turns."""
    count = len(servers)
    generator.order(WARM_UP)
    generator.rest(WARM_SECONDS)
    also = [parts.redis, *parts.generator]
    with undisturbed(*servers, wanted=realtime, also=also) as undisturbed_ones:
        before, began = parts.taken(), time.perf_counter() + 1.0
        generator.order(
            *(
                Scans(
                    began + number / SCANS_PER_SECOND, count / SCANS_PER_SECOND, plan.scans(count)
                )
                for number in range(count)
            )
        )
        least = generator.rest(plan.scan_seconds + LAST_SECONDS)
        after = parts.taken()
    seen = generator.seen(LAST_SECONDS)
    dropped = generator.total("dropped")
    return {
        "scans": len(seen.frame),
        **common.latency("frame_ms", seen.frame),
        **common.latency("due_ms", seen.due),
        **common.latency("handshake_ms", seen.handshake),
        "scan_idle_percent": idle_percent(before, after),
        "least_held": least,
        "dropped": dropped.total(),
        "dropped_by_code": dict(dropped),
        "faults": seen.faults.total(),
        "faults_by_kind": dict(seen.faults),
        "realtime": int(undisturbed_ones),
    }
