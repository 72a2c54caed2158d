"""`scripts/load`: many login pages towards one scanpush."""

import argparse
import datetime
import json
import os
import secrets
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.kit import ending, exports, limits, machines, server_process
from bench.kit.arguments import FailIf, address, amount, count, fail_if, origin, port, stages
from bench.kit.conductor import NO_MACHINES, Conductor, Moment, Run
from bench.kit.discover import Found, NotUsable, discover
from bench.kit.exports import Exporter
from bench.kit.job import Stage, Tick, TooMany, Unreadable, WholeLoad, jobs
from bench.kit.outcome import faults, judged, merged, outcome
from bench.kit.printout import Progress, page
from bench.kit.report import report
from bench.servers import scanpush_for_load

DEFAULT_URL = "http://127.0.0.1:8888"
EPILOG = """
examples:
  scripts/load --serve --sockets 5000 --scans 50     start a scanpush for the run, then load it
  scripts/load --sockets 10000 --rate 500 --hold 30 --churn 300 --scans 50
  scripts/load --url https://login.example.com --sockets 2000 --yes
  scripts/load --serve --stages '2m:1000,5m:20000,1m:0' --fail-if 'begin.p99 > 50ms'
  scripts/load --conduct 192.0.2.1:7000 --machines 2 --url https://login.example.com
  scripts/load --join 192.0.2.1:7000                 on each of these two machines
  scripts/load merge A.json B.json --json both.json  add up the files of runs made together
exit code: 0 a clean run, 1 faults were found, 2 could not start, 99 a --fail-if came true,
           130 ended by Ctrl-C, 143 by SIGTERM
Latencies count from when the thing was due by the rates asked for, so that a server which
slows the kit down looks no better for it.
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
    _ask_together(made)
    _ask_for_files(made)
    return made


def merge_parser() -> argparse.ArgumentParser:
    """The command line of `scripts/load merge`."""
    made = argparse.ArgumentParser(
        prog="scripts/load merge",
        description="Add up runs that were made together, from the JSON files they wrote: counts "
        "add up, and percentiles are of all samples together.",
    )
    made.add_argument("files", type=Path, nargs="+", metavar="FILE.json", help="of each run")
    _ask_for_files(made)
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
        "--origin",
        type=origin,
        metavar="ORIGIN",
        help="the Origin that pages send (default: the server's own), for pages of another site",
    )
    where.add_argument(
        "--yes",
        action="store_true",
        help="spend the QR codes of a real account (one for every page)",
    )


def _ask_what(made: argparse.ArgumentParser) -> None:
    what = made.add_argument_group("what")
    what.add_argument(
        "--sockets", type=count, default=None, metavar="N", help="pages to hold (default 1000)"
    )
    what.add_argument(
        "--stages",
        type=stages,
        default=(),
        metavar="T:N,...",
        help="instead of --sockets, --rate and --hold: the pages grow or shrink evenly to N within "
        "T, stage by stage, as in 2m:1000,5m:20000,1m:0",
    )
    what.add_argument(
        "--rate",
        type=amount,
        default=None,
        metavar="R",
        help="openings a second; 0: as fast as it goes (default 500)",
    )
    what.add_argument(
        "--hold", type=amount, default=None, metavar="S", help="seconds to hold them (default 30)"
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
        "--prometheus",
        type=port,
        default=None,
        metavar="PORT",
        help="serve the figures so far at http://127.0.0.1:PORT/metrics (HOST:PORT: there)",
    )
    how.add_argument("--quiet", action="store_true", help="no progress line")


def _ask_together(made: argparse.ArgumentParser) -> None:
    together = made.add_argument_group("several machines")
    together.add_argument(
        "--conduct",
        type=address,
        default=None,
        metavar="HOST:PORT",
        help="wait there for other machines, let them share the load, and report for all",
    )
    together.add_argument(
        "--machines",
        type=count,
        default=1,
        metavar="N",
        help="with --conduct: start when so many have joined (default 1)",
    )
    together.add_argument(
        "--join",
        type=address,
        default=None,
        metavar="HOST:PORT",
        help="take a share of the run that is conducted there; what is asked for there counts",
    )
    together.add_argument(
        "--key",
        default=None,
        help=f"the secret they share; better {machines.KEY_VARIABLE} in the environment, which "
        "other users do not see. --conduct makes one up and prints it",
    )
    together.add_argument(
        "--patience",
        type=amount,
        default=600.0,
        metavar="S",
        help="seconds to wait for the other machines (default 600)",
    )


def _ask_for_files(made: argparse.ArgumentParser) -> None:
    files = made.add_argument_group("results")
    files.add_argument(
        "--fail-if",
        type=fail_if,
        action="append",
        default=[],
        metavar="LIMIT",
        help="exit with 99 if it comes true, as 'scan_to_token.p99 > 50ms'; may be repeated. "
        "Figures: begin, open, scan_to_token, whole with p50, p90, p99, p999, max (us, ms, s) or "
        "rate (a second); lost, duplicates, failed",
    )
    files.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="STEM",
        help="write STEM.json and STEM.html (default, where none of the files below is asked for: "
        "artifacts/load/<time>)",
    )
    files.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    files.add_argument("--csv", type=Path, metavar="FILE", help="write the time line as CSV")
    files.add_argument(
        "--hdr",
        type=Path,
        metavar="FILE",
        help="write the latencies as a log of HdrHistogram; into a FILE.hgrm as its percentile "
        "distribution",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        if arguments[:1] == ["merge"]:
            return _merge(merge_parser().parse_args(arguments[1:]))
        options = parser().parse_args(arguments)
        ending.heed_sigterm()
        return _join(options) if options.join else _run(options)
    except (NotUsable, TooMany) as error:
        print(f"scripts/load: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as ended:
        print("scripts/load: ended without figures", file=sys.stderr)
        return ending.exit_code(ended)


def _run(options: argparse.Namespace) -> int:
    asked, typed = _asked(options), _typed(options)
    whole = _whole_load(options)
    if not whole.stages:
        asked.update(sockets=whole.sockets, rate=whole.rate, hold=whole.hold)
    _check_files(options)
    with ExitStack() as stack:
        exporter = None
        if options.prometheus:
            exporter = stack.enter_context(closing(Exporter(options.prometheus)))
            _note(f"metrics are at {exporter.url}")
        if options.serve:
            if options.url:
                raise NotUsable("--serve starts a server of its own: leave --url out")
            options.url = stack.enter_context(scanpush_for_load()).url
        asked["url"] = options.url = options.url or DEFAULT_URL
        found = discover(options.url, options.simulator, options.origin or "")
        _check_quota(options, found, whole)
        pids = options.pid
        if not pids and limits.is_loopback(found.address):
            pids = server_process.listener_pids(found.target.port)
        notes = _notes(options, found, bool(pids))
        progress = Progress(whole.sockets)

        def show(moment: Moment, now: Tick) -> None:
            if exporter is not None:
                exporter.show(now)
            if not options.quiet:
                progress.show(moment)

        if options.conduct:
            run = _conducted(options, whole, found, pids or [], show, stack)
        else:
            planned = jobs(whole, found.target, found.simulator, found.address)
            notes.insert(0, _room(found, whole, len(planned)))
            for note in notes:
                _note(note)
            run = Conductor(planned, pids or [], show, options.settle).run()
        if run.stopped_by:
            # What is left to do is short, and without it the figures would be gone.
            ending.ignore_both()
        if not options.quiet:
            progress.end()
    document = outcome(run, whole.sockets, asked, _now(), [typed])
    code = _finish(options, document, notes, Path("artifacts/load"))
    return ending.exit_code(run.stopped_by) if run.stopped_by else code


def _note(text: str) -> None:
    print(f"Note: {text}", file=sys.stderr, flush=True)


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """The options for the report: plain values, and no secret."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, FailIf):
            return value.text
        if isinstance(value, Stage):
            return f"{value.seconds:g}s:{value.pages}"
        return [plain(one) for one in value] if isinstance(value, list | tuple) else value

    return {name: plain(value) for name, value in vars(options).items() if name != "key"}


FILES = ("out", "json", "csv", "hdr")


def _typed(options: argparse.Namespace) -> str:
    """The command that was given, without the key and the names of files."""
    usual = vars(parser().parse_args([]))
    words = ["scripts/load"]
    for name, value in vars(options).items():
        if value == usual[name] or name in (*FILES, "key"):
            continue
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif name in ("fail_if", "pid"):
            for one in value:
                words += [flag, one.text if isinstance(one, FailIf) else str(one)]
        elif name == "stages":
            words += [flag, ",".join(f"{stage.seconds:g}s:{stage.pages}" for stage in value)]
        elif isinstance(value, tuple):
            words += [flag, "{}:{}".format(*value)]
        else:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _conducted(
    options: argparse.Namespace,
    whole: WholeLoad,
    found: Found,
    pids: list[int],
    show: Callable[[Moment, Tick], None],
    stack: ExitStack,
) -> Run:
    """A run of other machines."""
    host, number = options.conduct
    if options.machines > whole.sockets:
        raise NotUsable("--machines: there are more machines than pages")
    key = machines.shared_key(options.key)
    if key is None:
        key = machines.loopback_key(host) or secrets.token_urlsafe(24)
        _note(f"the key of this run: export {machines.KEY_VARIABLE}={key}")
    with machines.listening(options.conduct) as listener:
        number = listener.getsockname()[1]
        place = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        _note(f"waiting for {options.machines} to say: scripts/load --join {place}")
        here = machines.gather(listener, key, options.machines, options.patience, _note)
    for channel in here:
        stack.callback(channel.close)
    simulator = found.simulator
    about = {
        "url": options.url,
        "simulator": f"{simulator.origin}{simulator.path}" if simulator else None,
        "origin": found.target.pages_at,
    }
    machines.assign(here, whole, about)
    return Conductor([], pids, show, options.settle, here).run()


JOINING = ("join", "key", "patience", "processes", "quiet")


def _join(options: argparse.Namespace) -> int:
    """This machine's share of a run that another one conducts."""
    usual = vars(parser().parse_args([]))
    for name, value in vars(options).items():
        if name not in JOINING and value != usual[name]:
            raise NotUsable(f"--{name.replace('_', '-')} is for the machine that conducts")
    key = machines.shared_key(options.key) or machines.loopback_key(options.join[0])
    if key is None:
        raise NotUsable(f"--join needs the conductor's key, in {machines.KEY_VARIABLE}")
    with closing(machines.joined(options.join, key, options.patience, _note)) as channel:
        whole, about = machines.share(channel)
        whole = replace(whole, processes=options.processes)
        try:
            found = discover(about["url"], about["simulator"], about["origin"], announced=False)
            planned = jobs(whole, found.target, found.simulator, found.address, int(about["first"]))
        except (NotUsable, TooMany) as error:
            channel.send({"cannot": str(error)})
            raise
        _note(f"this machine's share of {about['url']}: {whole.sockets:,} pages")
        channel.send({})
        machines.wait_for_go(channel)
        progress = Progress(whole.sockets)

        def show(moment: Moment, now: Tick) -> None:
            if not options.quiet:
                progress.show(moment)

        run = Conductor(planned, [], show, 0.0, NO_MACHINES, channel).run()
        if not options.quiet:
            progress.end()
    if run.gone:
        raise NotUsable(f"{run.gone[0]} is gone: this machine has stopped")
    print(f"Done: {run.result.opened:,} pages opened; the report is where the run is conducted.")
    # An end that the conductor ordered is none of this machine's.
    return ending.exit_code(run.stopped_by) if run.stopped_by and not run.ordered else 0


def _merge(options: argparse.Namespace) -> int:
    _check_files(options)
    documents = []
    for path in options.files:
        try:
            documents.append(json.loads(path.read_text()))
            document = merged(documents, _now())
        except OSError as error:
            raise NotUsable(f"{path} cannot be read: {error.strerror}") from None
        except (Unreadable, ValueError, KeyError, TypeError, AttributeError):
            raise NotUsable(
                f"{path} is not the JSON file of a run of this version of the kit"
            ) from None
    return _finish(options, document, [], None)


def _check_files(options: argparse.Namespace) -> None:
    """Before the run: what cannot be written would be lost after it."""
    for name in FILES:
        path: Path | None = getattr(options, name)
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotUsable(f"--{name}: {path.parent} cannot be made: {error.strerror}") from None
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise NotUsable(f"--{name}: {path} cannot be written")


def _whole_load(options: argparse.Namespace) -> WholeLoad:
    steady = (options.sockets, options.rate, options.hold)
    if options.stages and (steady != (None, None, None) or options.as_you_go):
        raise NotUsable(
            "--stages says how many pages there are, and when: leave --sockets, --rate, --hold and "
            "--as-you-go out"
        )
    sockets, rate, hold = (
        usual if given is None else given
        for given, usual in zip(steady, (1000, 500.0, 30.0), strict=True)
    )
    if options.stages:
        sockets = max(stage.pages for stage in options.stages)
        hold = sum(stage.seconds for stage in options.stages)
    return WholeLoad(
        sockets=sockets,
        rate=rate,
        hold=hold,
        churn=options.churn,
        visit=options.visit,
        together=options.together,
        scans=options.scans,
        person=options.person,
        people=options.people,
        scenes_first=not options.as_you_go and not options.stages,
        abort=options.abort,
        timeout=options.timeout,
        processes=options.processes,
        stages=options.stages,
    )


def _check_quota(options: argparse.Namespace, found: Found, whole: WholeLoad) -> None:
    if found.simulator is not None or options.yes:
        return
    pages = sum(step > 0 for _, step in whole.steps()) if whole.stages else whole.sockets
    codes = round(pages + whole.churn * whole.hold)
    raise NotUsable(
        f"{options.url} has no simulator, so it talks to a real WeChat account: this run can only "
        f"hold pages, and would spend {codes:,} of the account's 100,000 QR codes a day. "
        "Say --yes if that is what you want, or --simulator URL if there is one elsewhere"
    )


def _room(found: Found, whole: WholeLoad, workers: int) -> str:
    allowed = limits.allowance(found.address)
    return (
        f"the open-file limit lets one process of the kit hold {allowed.per_process:,} sockets; "
        f"this run uses {workers} process{'es' if workers > 1 else ''} for at most "
        f"{whole.most_at_once:,}"
    )


def _notes(options: argparse.Namespace, found: Found, measured: bool) -> list[str]:
    notes = []
    if found.simulator is None:
        notes.append("a real account: pages are only held and not scanned")
        if options.scans:
            notes.append("--scans is ignored: only the simulator can scan")
    if not measured:
        notes.append("the server's process is not visible from here: no memory figures (--pid)")
    return notes


def _finish(
    options: argparse.Namespace, document: dict[str, Any], notes: list[str], folder: Path | None
) -> int:
    """Print and write everything; files that were not named go into `folder`."""
    found = faults(document)
    hints = " ".join(found)
    if "rate_limited" in hints:
        notes.append(LIMIT_HINT)
    if "HTTP 503" in hints:
        notes.append(DESCRIPTOR_HINT)
    notes += [HELD_BACK_HINT + setting for state, setting in HELD_BACK.items() if state in hints]
    limits_of_run = document["limits"] = judged(options.fail_if, document["figures"])
    over = document["limits_crossed"] = [
        f"{one['limit']}: {one['measured']}" for one in limits_of_run if one["crossed"]
    ]
    found += [f"limit crossed: {limit}" for limit in over]
    print(page(document, notes, found))
    texts: dict[Path, Callable[[], str]] = {}
    stem = options.out
    if stem is None and folder is not None and not (options.json or options.csv or options.hdr):
        stem = folder / document["at"].replace(":", "")[:17]
    if stem is not None:
        texts[Path(f"{stem}.json")] = lambda: exports.json_text(document)
        texts[Path(f"{stem}.html")] = lambda: report(document, notes, found)
    if options.json:
        texts[options.json] = lambda: exports.json_text(document)
    if options.csv:
        texts[options.csv] = lambda: exports.csv_text(document)
    if options.hdr:
        texts[options.hdr] = lambda: exports.hdr_text(document, options.hdr)
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text())
        except OSError as error:
            raise NotUsable(f"{path} cannot be written: {error.strerror}") from None
    if texts:
        print(f"Written: {' and '.join(map(str, texts))}")
    return 99 if over else 1 if found else 0
