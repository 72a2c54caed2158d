"""The command: all checks in order, within a minute, told as they are made."""

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import TextIO

from doctor import at_wechat, from_outside, on_this_machine
from doctor.at_wechat import Findings
from doctor.examination import Examination
from doctor.findings import (
    Finding,
    Language,
    State,
    document,
    is_well,
    language_of,
    next_line,
)
from doctor.texts import ADVICE, SENTENCES
from services.clock import SystemClock
from services.errors import SettingsError
from services.http_client import make_transport
from services.logs import scrub_line
from services.settings.models import Settings, has_app_id
from services.settings.outgoing import Outgoing

WHOLE_SECONDS = 55.0
CHECK_SECONDS = 12.0

EVERYWHERE = frozenset({"not_reached", "server_not_reached", "clock_server"})
"""What is the same mistake in whatever check it shows."""

OF_WECHAT = frozenset({"account_type_bad", "ip_refused", "errcode"})
"""What several of WeChat's interfaces answer for one mistake."""

OF_CALLBACKS = frozenset({"callback_token", "encoding_aes_key", "mode"})

Check = tuple[str, Callable[[], Findings]]

SETTINGS_CHECKS: Mapping[str, str] = {
    "wechat.mini_program": "mini_program",
    "wechat.website": "website",
    "app_id": "credentials",
    "app_secret": "credentials",
    "callback_token": "callback_token",
    "encoding_aes_key": "encoding_aes_key",
    "previous_encoding_aes_key": "encoding_aes_key",
    "public_url": "server_url",
    "notice_fields": "template",
    "verify_files": "verify_files",
}
"""Mistakes in settings that the doctor has a check for, by their section or by the last part of
their name."""


def checks(exam: Examination) -> Iterator[Check]:
    """Each check by the name under which it is shown while it runs."""
    if not has_app_id(exam.settings):
        yield "account", partial(_no_account)
    for name, account in exam.accounts.items():
        yield "credentials", partial(at_wechat.credentials, exam, name, account)
        yield "ip_list", partial(at_wechat.ip_list_and_time, exam, name, account)
        for check, of_account in (
            ("account_type", at_wechat.account_type),
            ("console_url", at_wechat.console_url),
            ("unionid", at_wechat.unionid),
            ("template", at_wechat.template),
        ):
            yield check, partial(
                _with_token, exam, check, name, partial(of_account, exam, name, account)
            )
    yield "mini_program", partial(at_wechat.mini_program, exam)
    yield "website", partial(at_wechat.website, exam)
    yield "clock", partial(at_wechat.clock, exam)
    yield "wechat_time", partial(at_wechat.wechat_time, exam)
    yield "stores", partial(on_this_machine.stores, exam)
    yield "server_url", partial(from_outside.public_url, exam)
    for name, account in exam.accounts.items():
        yield "server_url", partial(from_outside.server_url, exam, name, account)
    if exam.accounts:
        first = next(iter(exam.accounts))
        yield "proxy", partial(from_outside.proxy, exam, first)
        yield "socket", partial(from_outside.socket, exam, first)
    yield "verify_files", partial(from_outside.verify_files, exam)
    for name, account in exam.accounts.items():
        yield "mode", partial(from_outside.callbacks, exam, name, account)
    yield "events", partial(from_outside.events, exam)
    yield "descriptors", partial(on_this_machine.descriptors, exam)


async def _no_account() -> Findings:
    yield Finding("account", State.SKIPPED, "no_account")


async def _with_token(
    exam: Examination, check: str, account: str, rest: Callable[[], Findings]
) -> Findings:
    """A check that needs an access_token; without one it says so."""
    if account not in exam.tokens:
        root = exam.refused_by.get(account, "credentials")
        yield Finding(check, State.SKIPPED, "no_token", {}, exam.label(account), because=root)
        return
    async for finding in rest():
        yield finding


async def walk(
    exam: Examination,
    begun: Callable[[str], None],
    found: Callable[[Finding], None],
    *,
    whole_seconds: float = WHOLE_SECONDS,
    check_seconds: float = CHECK_SECONDS,
) -> list[Finding]:
    """Make every check; one that takes too long is cut off and said to be skipped.

    Args:
        begun: told of each check as it begins.
        found: told of each finding as it is made.
    """
    findings: list[Finding] = []
    loop = asyncio.get_running_loop()
    ends = loop.time() + whole_seconds
    for name, check in checks(exam):
        begun(name)
        seconds = min(check_seconds, ends - loop.time())
        if seconds <= 0:
            findings.append(Finding(name, State.SKIPPED, "no_time"))
            found(findings[-1])
            continue
        try:
            async with asyncio.timeout(seconds), aclosing(check()) as made:
                async for finding in made:
                    findings.append(_explained(name, finding, findings))
                    found(findings[-1])
        except TimeoutError:
            late = Finding(name, State.SKIPPED, "too_slow", {"seconds": round(seconds)})
            findings.append(late)
            found(late)
    return findings


def _explained(name: str, finding: Finding, before: list[Finding]) -> Finding:
    """`finding`, or what is said in its place where an earlier one is its cause: one mistake that
    shows in several checks is one to mend.

    Args:
        name: of the check that was made; an errcode may belong to another.
    """
    if finding.because:
        return finding
    root = next((one for one in before if _explains(one, finding)), None)
    if root is None:
        return finding
    if finding.state is State.SKIPPED:
        return replace(finding, because=root.check, advice=SENTENCES["first"])
    check = name if finding.check == root.check else finding.check
    return Finding(check, State.SKIPPED, "as_before", {}, finding.account, because=root.check)


def _explains(root: Finding, other: Finding) -> bool:
    """Whether mending `root` mends `other`, or is needed to look at it."""
    if root.state is State.BAD and root.text == other.text and root.text in EVERYWHERE:
        return True
    if root.account not in ("", other.account):
        return False
    if root.text == "not_running":
        return other.text == "no_report"
    if root.state is not State.BAD:
        return False
    if other.state is State.BAD:
        return (
            (root.text in OF_WECHAT and (root.text, root.check) == (other.text, other.check))
            or (root.text == "server_refuses" and other.check in OF_CALLBACKS)
            or (root.advice is ADVICE["wait"] and other.advice is root.advice)
        )
    if other.text == "not_running":
        return root.check == "stores"
    if other.text == "no_report":
        return root.check == "server_url"
    if other.text == "callback_stale":
        return root.check == "clock"
    return other.text == "no_callback" and (
        root.check in ("console_url", "server_url")
        or root.text in ("clock_refuses", "clock_server")
    )


class Teller:
    """Writes findings for people as they come, and to a terminal what is being looked at."""

    def __init__(self, language: Language, console: str, out: TextIO) -> None:
        self._language = language
        self._console = console
        self._out = out
        self._shown = out.isatty()

    def begun(self, check: str) -> None:
        if self._shown:
            self._out.write(f"… {check}")
            self._out.flush()

    def found(self, finding: Finding) -> None:
        self.clear()
        print(finding.line(self._language, self._console), file=self._out, flush=True)

    def clear(self) -> None:
        if self._shown:
            self._out.write("\r\x1b[K")
            self._out.flush()


def examine(
    settings: Settings,
    outgoing: Outgoing,
    *,
    only: str,
    language: str,
    as_json: bool,
    environ: Mapping[str, str],
) -> int:
    """Walk the configured accounts and print what was found.

    Returns:
        0 where nothing has to be mended, 1 where something has, 2 after Ctrl-C.

    Raises:
        SettingsError: there is no account called `only`.
    """
    chosen = language_of(
        language, environ, (account.language for account in settings.wechat.accounts.values())
    )
    # The findings say it, in the operator's language; the log would say it again.
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        return asyncio.run(_examined(settings, outgoing, only, chosen, as_json))
    except asyncio.CancelledError:
        return 2
    finally:
        logging.disable(before)


async def _examined(
    settings: Settings, outgoing: Outgoing, only: str, language: Language, as_json: bool
) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    with suppress(NotImplementedError, ValueError):  # not the main thread, as in a test
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, task.cancel)
    transport = make_transport(settings.wechat.api_base, outgoing)
    exam = Examination(settings, outgoing, transport, SystemClock(), only)
    teller = Teller(language, exam.console, sys.stderr if as_json else sys.stdout)
    try:
        found = (lambda _: teller.clear()) if as_json else teller.found
        findings = await walk(exam, teller.begun, found)
    finally:
        teller.clear()
        await exam.close()
    if as_json:
        print(json.dumps(document(findings, language, exam.console), ensure_ascii=False))
    else:
        print(next_line(findings, language, exam.console))
    return 0 if is_well(findings) else 1


def tell_mistake(
    error: SettingsError, *, language: str, as_json: bool, environ: Mapping[str, str]
) -> int:
    """Print a mistake in the settings as a finding: with it nothing else can be looked at.

    Returns:
        1 where it is one that a check is about, else 2.
    """
    section, _, name = error.key.rpartition(".")
    check = SETTINGS_CHECKS.get(section) or SETTINGS_CHECKS.get(name, "settings")
    if error.key.startswith(("redis.", "mongodb.", "embedded.")):
        check = "stores"
    elif error.key.startswith("events."):
        check = "events"
    values = {"key": error.key or "config.yaml", "problem": scrub_line(error.problem)}
    finding = Finding(check, State.BAD, "settings", values)
    chosen = language_of(language, environ, ("zh-CN",))
    if as_json:
        print(json.dumps(document([finding], chosen, ""), ensure_ascii=False))
    else:
        print(finding.line(chosen))
        print(next_line([finding], chosen, ""))
    return 2 if check == "settings" else 1
