"""The command: all checks in order, within a minute, told as they are made."""

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import TextIO

from doctor import at_wechat, from_outside, on_this_machine
from doctor.at_wechat import Findings
from doctor.examination import Examination
from doctor.findings import Finding, Language, State, document, is_well, language_of
from services.clock import SystemClock
from services.errors import SettingsError
from services.http_client import make_transport
from services.logs import scrub_line
from services.settings.models import Settings, has_app_id
from services.settings.outgoing import Outgoing

WHOLE_SECONDS = 55.0
CHECK_SECONDS = 12.0

Check = tuple[str, Callable[[], Findings]]

SETTINGS_CHECKS: Mapping[str, str] = {
    "app_id": "credentials",
    "app_secret": "credentials",
    "callback_token": "callback_token",
    "encoding_aes_key": "encoding_aes_key",
    "previous_encoding_aes_key": "encoding_aes_key",
    "public_url": "server_url",
    "notice_fields": "template",
    "verify_files": "verify_files",
}
"""Mistakes in settings that the doctor has a check for, by the last part of their name."""


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
    yield "stores", partial(on_this_machine.stores, exam)
    yield "descriptors", partial(on_this_machine.descriptors, exam)


async def _no_account() -> Findings:
    yield Finding("account", State.SKIPPED, "no_account")


async def _with_token(
    exam: Examination, check: str, account: str, rest: Callable[[], Findings]
) -> Findings:
    """A check that needs an access_token; without one it says so."""
    if account not in exam.tokens:
        yield Finding(check, State.SKIPPED, "no_token", {}, exam.label(account))
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
                    if _is_told(finding, findings):
                        # One mistake that several of WeChat's interfaces answer is one to mend.
                        told = {"check": finding.check}
                        finding = Finding(
                            name, State.SKIPPED, "refused_as_before", told, finding.account
                        )
                    findings.append(finding)
                    found(finding)
        except TimeoutError:
            late = Finding(name, State.SKIPPED, "too_slow", {"seconds": round(seconds)})
            findings.append(late)
            found(late)
    return findings


def _is_told(finding: Finding, before: list[Finding]) -> bool:
    return finding.text == "account_type_bad" and any(
        (one.text, one.account) == (finding.text, finding.account) for one in before
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
    return 0 if is_well(findings) else 1


def tell_mistake(
    error: SettingsError, *, language: str, as_json: bool, environ: Mapping[str, str]
) -> int:
    """Print a mistake in the settings as a finding: with it nothing else can be looked at.

    Returns:
        1 where it is one that a check is about, else 2.
    """
    check = SETTINGS_CHECKS.get(error.key.rpartition(".")[2], "settings")
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
    return 2 if check == "settings" else 1
