"""`scripts/load`: many login pages towards one scanpush."""

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.kit import ending, limits, server_process
from bench.kit.arguments import amount, count
from bench.kit.conductor import Conductor
from bench.kit.discover import Found, NotUsable, discover
from bench.kit.job import TooMany, WholeLoad, jobs
from bench.kit.outcome import faults, outcome
from bench.kit.printout import Progress, page
from bench.kit.report import report
from bench.servers import scanpush_for_load

DEFAULT_URL = "http://127.0.0.1:8888"
EPILOG = """
examples:
  scripts/load --serve --sockets 5000 --scans 50     start a scanpush for the run, then load it
  scripts/load --sockets 10000 --rate 500 --hold 30 --churn 300 --scans 50
  scripts/load --url https://login.example.com --sockets 2000 --yes
exit code: 0 a clean run, 1 faults were found, 2 could not start,
           130 ended by Ctrl-C, 143 by SIGTERM
docs/load-kit.md explains every figure.
"""
LIMIT_HINT = (
    "the server limits scenes per address: for a load test set "
    "SCANPUSH_LIMITS__SCENES_PER_MINUTE_PER_ADDRESS=0 or list this machine in limits.exempt"
)
DESCRIPTOR_HINT = (
    "the server is at its open-file limit: raise it (`ulimit -n`, LimitNOFILE=) or run more nodes"
)
HELD_BACK_HINT = (
    "the server's settings hold logins back, for the kit's people are unknown to it, fill in no "
    "form and allow nothing: for a load test set "
)
HELD_BACK = {
    "registering": "SCANPUSH_LOGIN__REGISTRATION=auto",
    "confirming": "SCANPUSH_LOGIN__CONFIRM=never",
    "not_registered": "SCANPUSH_LOGIN__REGISTRATION=auto",
}
"""The last state of a page whose login will not come, and the setting that lets it come."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="scripts/load",
        description="Open many login pages towards a scanpush, hold them, let people come, go "
        "and scan, and tell how it went.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _ask_where(made)
    _ask_what(made)
    _ask_how(made)
    return made


def _ask_where(made: argparse.ArgumentParser) -> None:
    where = made.add_argument_group("where")
    where.add_argument("--url", default=None, help=f"the server (default {DEFAULT_URL})")
    where.add_argument(
        "--serve",
        action="store_true",
        help="start a scanpush of its own for the run: embedded, simulator, no limits",
    )
    where.add_argument(
        "--simulator", metavar="URL", help="where the simulator is, if not in the server itself"
    )
    where.add_argument(
        "--pid",
        type=count,
        action="append",
        metavar="PID",
        help="the server's process, for its memory (default: who listens there)",
    )
    where.add_argument(
        "--yes",
        action="store_true",
        help="spend the QR codes of a real account (one for every page)",
    )


def _ask_what(made: argparse.ArgumentParser) -> None:
    what = made.add_argument_group("what")
    what.add_argument(
        "--sockets", type=count, default=1000, metavar="N", help="pages to hold (default 1000)"
    )
    what.add_argument(
        "--rate",
        type=amount,
        default=500.0,
        metavar="R",
        help="openings a second; 0: as fast as it goes (default 500)",
    )
    what.add_argument(
        "--hold", type=amount, default=30.0, metavar="S", help="seconds to hold them (default 30)"
    )
    what.add_argument(
        "--churn",
        type=amount,
        default=0.0,
        metavar="R",
        help="visitors a second who come besides those held",
    )
    what.add_argument(
        "--visit",
        type=amount,
        default=20.0,
        metavar="S",
        help="seconds a visitor stays (default 20)",
    )
    what.add_argument(
        "--together",
        action="store_true",
        help="all visitors stay to the end and leave at the same moment",
    )
    what.add_argument(
        "--scans",
        type=amount,
        default=0.0,
        metavar="R",
        help="scans a second, if there is a simulator",
    )
    what.add_argument(
        "--people",
        type=count,
        default=500,
        metavar="N",
        help="so many different people scan (default 500)",
    )
    what.add_argument(
        "--person", default="load", metavar="NAME", help="what their names begin with"
    )
    what.add_argument(
        "--abort",
        action="store_true",
        help="pages leave without a word instead of closing properly",
    )


def _ask_how(made: argparse.ArgumentParser) -> None:
    how = made.add_argument_group("how")
    how.add_argument(
        "--as-you-go",
        action="store_true",
        help="begin each scene just before its socket; memory is then not told apart",
    )
    how.add_argument(
        "--processes",
        type=count,
        default=1,
        metavar="N",
        help="at least so many processes; more are used where files run out",
    )
    how.add_argument(
        "--timeout",
        type=amount,
        default=10.0,
        metavar="S",
        help="seconds after which an opening has failed or a login is lost (default 10)",
    )
    how.add_argument(
        "--settle",
        type=amount,
        default=1.0,
        metavar="S",
        help="seconds of rest after each phase before memory is read (default 1)",
    )
    how.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="STEM",
        help="write STEM.json and STEM.html (default artifacts/load/<time>)",
    )
    how.add_argument("--quiet", action="store_true", help="no progress line")


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    options = parser().parse_args(argv)
    ending.heed_sigterm()
    try:
        return _run(options)
    except (NotUsable, TooMany) as error:
        print(f"scripts/load: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as ended:
        print("scripts/load: ended without figures", file=sys.stderr)
        return ending.exit_code(ended)


def _run(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        if options.serve:
            if options.url:
                raise NotUsable("--serve starts a server of its own: leave --url out")
            options.url = stack.enter_context(scanpush_for_load()).url
        options.url = options.url or DEFAULT_URL
        found = discover(options.url, options.simulator)
        whole = _whole_load(options)
        _check_quota(options, found, whole)
        planned = jobs(whole, found.target, found.simulator, found.address)
        pids = options.pid
        if not pids and limits.is_loopback(found.address):
            pids = server_process.listener_pids(found.target.port)
        notes = _notes(options, found, whole, len(planned), bool(pids))
        for note in notes:
            print(f"Note: {note}", file=sys.stderr)
        progress = Progress(whole.sockets)
        show = (lambda moment: None) if options.quiet else progress.show
        run = Conductor(planned, pids or [], show, options.settle).run()
        if run.stopped_by:
            # What is left to do is short, and without it the figures would be gone.
            ending.ignore_both()
        if not options.quiet:
            progress.end()
    asked = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(options).items()
    }
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    code = _finish(options, outcome(run, whole.sockets, asked, now), notes)
    return ending.exit_code(run.stopped_by) if run.stopped_by else code


def _whole_load(options: argparse.Namespace) -> WholeLoad:
    return WholeLoad(
        sockets=options.sockets,
        rate=options.rate,
        hold=options.hold,
        churn=options.churn,
        visit=options.visit,
        together=options.together,
        scans=options.scans,
        person=options.person,
        people=options.people,
        scenes_first=not options.as_you_go,
        abort=options.abort,
        timeout=options.timeout,
        processes=options.processes,
    )


def _check_quota(options: argparse.Namespace, found: Found, whole: WholeLoad) -> None:
    if found.simulator is not None or options.yes:
        return
    codes = round(whole.sockets + whole.churn * whole.hold)
    raise NotUsable(
        f"{options.url} has no simulator, so it talks to a real WeChat account: this run can only "
        f"hold pages, and would spend {codes:,} of the account's 100,000 QR codes a day. "
        "Say --yes if that is what you want, or --simulator URL if there is one elsewhere"
    )


def _notes(
    options: argparse.Namespace, found: Found, whole: WholeLoad, workers: int, measured: bool
) -> list[str]:
    allowed = limits.allowance(found.address)
    notes = [
        f"the open-file limit lets one process of the kit hold {allowed.per_process:,} sockets; "
        f"this run uses {workers} process{'es' if workers > 1 else ''} for at most "
        f"{whole.most_at_once:,}"
    ]
    if found.simulator is None:
        notes.append("a real account: pages are only held, nobody scans")
        if whole.scans:
            notes.append("--scans is ignored: only the simulator can scan")
    if not measured:
        notes.append("the server's process is not visible from here: no memory figures (--pid)")
    return notes


def _finish(options: argparse.Namespace, document: dict[str, Any], notes: list[str]) -> int:
    found = faults(document)
    hints = " ".join(found)
    if "rate_limited" in hints:
        notes.append(LIMIT_HINT)
    if "HTTP 503" in hints:
        notes.append(DESCRIPTOR_HINT)
    notes += [HELD_BACK_HINT + setting for state, setting in HELD_BACK.items() if state in hints]
    print(page(document, notes, found))
    stem = options.out or Path("artifacts/load") / document["at"].replace(":", "")[:17]
    stem.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n")
    Path(f"{stem}.html").write_text(report(document, notes, found))
    print(f"Written: {stem}.json and {stem}.html")
    return 1 if found else 0
