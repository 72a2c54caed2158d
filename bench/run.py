"""`scripts/bench`: what scanpush costs, beside what others cost on the same machine."""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from bench.kit import ending, limits
from bench.kit.arguments import checkout, count, count_or_zero, one_or_more, setting
from bench.kit.discover import NotUsable
from bench.measure import (
    audit,
    begins,
    churn,
    distributed,
    drain,
    exchanges,
    instructions,
    logins,
    million,
    operator_cost,
    peers,
    ping,
    refreshes,
    sockets,
    time_to_code,
    visits,
)
from bench.results import Board
from bench.servers import GENERATOR_CPU, TREE, NotInstalled
from deploy.programs import CannotStart

MEASURES: Mapping[str, Callable[[argparse.Namespace], Board]] = {
    "visits": visits.run,
    "visits-far": visits.run_far,
    "begins": begins.run,
    "logins": logins.run,
    "distributed": distributed.run,
    "sockets": sockets.run,
    "churn": churn.run,
    "ping": ping.run,
    "refreshes": refreshes.run,
    "exchanges": exchanges.run,
    "drain": drain.run,
    "audit": audit.run,
    "operator": operator_cost.run,
    "peers": peers.run,
    "instructions": instructions.run,
    "million": million.run,
    "time-to-code": time_to_code.run,
}
ONLY_WHEN_NAMED = ("instructions", "million", "time-to-code")
"""The first takes valgrind, and compares two trees instead of two servers, as the last does, which
takes Chromium; the second takes the whole machine for half an hour."""

DESCRIPTION = """Servers run on CPU 0, the generator on CPU 1. Results go to bench/results as JSON
and as a table; ratios are medians of the ratios within each round. Leave the machine alone while
it runs. `instructions` counts those of the server under valgrind, per login, handshake, scene begun
and GET /healthz, and may be disturbed: run it once as it is and once with --tree to compare two
checkouts; medians repeat within a percent, those of logins within half of one. `million` takes the
whole machine for up to half an hour. `time-to-code` opens pages in Chromium on emulated networks;
--rounds 5 for medians of five."""
QUICK = {"rounds": 1, "sockets": [500, 1000], "visits": 60, "begin_seconds": 3.0,
         "logins": 300, "paced": 100, "held": 800,
         "churn_held": 1200, "churn_seconds": 5.0, "ping_seconds": 2.0,
         "pushes": 300, "batches": 1,
         "entries": 5_000, "pages": 300, "pages_per_process": 150, "scan_seconds": 1.0}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="scripts/bench", description=DESCRIPTION)
    made.add_argument(
        "what",
        nargs="*",
        default="all",
        choices=[*MEASURES, "gc", "all"],
        help="what to measure (gc: part of sockets); default all, which is without instructions "
        "and million",
    )
    made.add_argument(
        "--quick",
        action="store_true",
        help="tiny counts, one round: shows that it works, measures nothing",
    )
    made.add_argument("--rounds", type=count, default=3)
    made.add_argument(
        "--sockets",
        type=count,
        nargs="+",
        default=[10_000, 19_000],
        help="counts; the first also for ping and peers, the last for drain",
    )
    made.add_argument(
        "--visits", type=count, default=600, help="of new and of known people each, a round"
    )
    made.add_argument(
        "--begin-seconds",
        type=one_or_more,
        default=30.0,
        help="begins: at WeChat's pace, a round; a third of it before, away and after each",
    )
    made.add_argument("--logins", type=count, default=3_000, help="at saturation, a round")
    made.add_argument("--paced", type=count, default=1_000, help="at 100 a second, a round")
    made.add_argument(
        "--held",
        type=count_or_zero,
        default=19_000,
        help="pages held in the third row of logins (0: leave it out), and five times those "
        "held by each server of operator",
    )
    made.add_argument("--churn-held", type=count, default=12_000)
    made.add_argument("--churn-seconds", type=one_or_more, default=25.0)
    made.add_argument(
        "--ordinary-priority",
        action="store_true",
        help="churn, begins, million: let other processes of the machine count (else, as root on "
        "Linux, servers and generator have real-time priority while pushes are measured)",
    )
    made.add_argument(
        "--ping-seconds",
        type=one_or_more,
        help="interval of pings; default of ping 30, of million 55",
    )
    made.add_argument("--entries", type=count, default=1_000_000, help="audit: in the store")
    made.add_argument("--pages", type=count, default=1_000_000, help="million: to be held")
    made.add_argument(
        "--pages-per-process",
        type=count_or_zero,
        default=0,
        help="million: of one node; default 0: as many as the open-file limit allows",
    )
    made.add_argument(
        "--scan-seconds",
        type=one_or_more,
        default=120.0,
        help="million: how long pages are scanned, 100 a second",
    )
    made.add_argument("--pushes", type=count, default=2_000, help="paced, for each peer and round")
    made.add_argument(
        "--tree",
        type=checkout,
        default=TREE,
        metavar="DIR",
        help="instructions: the checkout of scanpush whose server.py runs; default this one. "
        "time-to-code: one whose server is measured, too",
    )
    made.add_argument(
        "--batches",
        type=count,
        default=5,
        help="instructions: of 50 of each thing, a round; the median counts",
    )
    made.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="a setting of scanpush by its environment name, as in "
        "SCANPUSH_EMBEDDED__SYNCHRONOUS=FULL",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    options = parser().parse_args(argv)
    if options.quick:
        vars(options).update(QUICK)
    options.scanpush = dict(options.settings)
    prepare()
    ending.heed_sigterm()
    names = [options.what] if isinstance(options.what, str) else options.what
    if "all" in names:
        names = [name for name in MEASURES if name not in ONLY_WHEN_NAMED or name in names]
    code = 0
    for name in dict.fromkeys("sockets" if name == "gc" else name for name in names):
        print(f"{name}:", flush=True)
        try:
            MEASURES[name](options).write()
        except (NotUsable, NotInstalled, CannotStart) as error:
            print(f"  not measured: {error}", file=sys.stderr)
            code = 1
        except KeyboardInterrupt as ended:
            print("  interrupted", file=sys.stderr)
            return ending.exit_code(ended)
    return code


def prepare() -> None:
    """Keep to the generator's CPU, and do not collect garbage.

    A pause for a collection in this process would look like one of the server's.
    """
    limits.raise_open_files()
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > GENERATOR_CPU:
        os.sched_setaffinity(0, {GENERATOR_CPU})
    gc.disable()


if __name__ == "__main__":
    sys.exit(main())
