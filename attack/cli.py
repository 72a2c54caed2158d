"""Arguments, proof of ownership, the table that is printed, the exit code."""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from attack.rows import ROWS, Finding, State, look
from attack.target import CannotLook, Target, is_near

VARIABLE = "SCANPUSH_OPERATOR__TOKEN"

PAUSE_SECONDS = 0.03
"""Between two requests to a server elsewhere: slower than the limits of deploy/nginx.conf."""

MOST_SECONDS = 55.0
"""Of one run. Rows that are not reached by then make it one that could not look."""

EPILOG = """
It begins a few scenes without scans, sends about 200 requests as any stranger can, and cancels the
scenes. Nothing it does costs others anything: rows that would need WeChat, a phone or a flood are
listed as not applicable, with the reason. The callbacks it forges are counted as refused: for ten
minutes /operator says so, and the alert ScanpushSignaturesRefused may fire.
exit code: 0 every row that applies is held, 1 a row is broken, 2 it could not look (not your
           server, not reached, limits of this address used up), 130 ended by Ctrl-C
docs/security.md explains every row.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        url = _origin(options.url)
        token = _token(options.token_file)
        findings, requests, seconds = asyncio.run(_run(url, token))
    except CannotLook as problem:
        print(f"scanpush: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "scanpush: ended by Ctrl-C; scenes that are left expire by themselves", file=sys.stderr
        )
        return 130
    broken = [finding for finding in findings if finding.state is State.BROKEN]
    if options.json:
        document = {
            "ok": not broken,
            "url": url,
            "requests": requests,
            "seconds": round(seconds, 1),
            "rows": [asdict(finding) for finding in findings],
        }
        print(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        print("\n".join(_table(findings)))
        held = sum(finding.state is State.HELD for finding in findings)
        print(
            f"{held} held, {len(broken)} broken, {len(findings) - held - len(broken)} not "
            f"applicable; {requests} requests in {seconds:.1f} s"
        )
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/attack",
        description="Try the threats of docs/security.md on your own scanpush, from outside.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", help="where browsers reach it, as in https://login.example.com")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"holds operator.token, the proof that the server is yours (else {VARIABLE})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise CannotLook("that is no URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise CannotLook("give the origin of the server, as in https://login.example.com")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _token(file: Path | None) -> str:
    """The operator's token. It never is an argument, which other users of the machine could see."""
    if file is None:
        token = os.environ.get(VARIABLE, "")
    else:
        try:
            token = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CannotLook(f"--token-file cannot be read: {type(error).__name__}") from None
    if not token:
        raise CannotLook(f"set {VARIABLE} or --token-file: the proof that the server is yours")
    return token


async def _run(url: str, token: str) -> tuple[list[Finding], int, float]:
    began = time.monotonic()
    await _prove(url, token)
    async with Target(url, 0.0 if is_near(url) else PAUSE_SECONDS) as target:
        try:
            async with asyncio.timeout(MOST_SECONDS):
                findings = [await look(row, target) for row in ROWS]
        except TimeoutError:
            raise CannotLook(f"the server is too slow: not done in {MOST_SECONDS:.0f} s") from None
    return findings, target.requests, time.monotonic() - began


async def _prove(url: str, token: str) -> None:
    """Raise `CannotLook` unless the server at `url` knows the operator's token."""
    path = "/api/operator/overview"
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
        try:
            # First without it: the token is shown to nothing that is no scanpush with one.
            stranger = await http.get(path)
            if stranger.status_code == 404:
                raise CannotLook(
                    "the server has no operator.token: set one, as proof that it is yours"
                )
            if stranger.status_code != 401:
                raise CannotLook(f"this is no scanpush: {path} answers {stranger.status_code}")
            owner = await http.get(path, headers={"Authorization": f"Bearer {token}"})
        except httpx.HTTPError as error:
            raise CannotLook(f"{url} is not reached: {type(error).__name__}") from None
    if owner.status_code != 200:
        raise CannotLook(
            "the server does not know this operator's token, so it is not yours to try"
        )


def _table(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        line = f"{finding.row:<4} {finding.state:<15} {finding.threat}"
        lines.append(f"{line}: {finding.note}" if finding.note else line)
        if finding.request:
            lines.append(f"     {finding.request}")
    return lines
