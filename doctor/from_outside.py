"""The server as WeChat, a visitor's browser and a proxy meet it: through server.public_url, or on
this machine where there is none. And the operator's own server, which it tells of events.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from doctor.examination import (
    SERVER_SECONDS,
    Examination,
    NoReport,
    as_json,
    nonce,
)
from doctor.findings import Finding, State
from doctor.texts import SENTENCES, Said
from services.errors import ExchangeFailed
from services.http_client import Response
from services.origins import origin_of
from services.settings import hosts
from services.settings.models import AccountSettings
from services.wechat.crypto import signature

Findings = AsyncGenerator[Finding, None]

CALLBACK_PORTS = (None, 80, 443)
"""WeChat calls no others (its page "Server configuration")."""

NO_SERVER = (502, 503, 504)
"""What a proxy answers whose server is down."""

REFUSED_CALLBACKS = frozenset({"signature", "downgrade", "decryption", "stale", "query", "body"})
"""Outcomes of callbacks that did not pass (services/wechat/callback.py)."""

UNSIGNED_CALLBACKS = frozenset({"signature", "query", "body"})
"""Those that any stranger can bring about: they must not hide what WeChat's own ones show."""


async def public_url(exam: Examination) -> Findings:
    """Whether WeChat could call the configured address at all."""
    url = exam.settings.server.public_url
    if not url:
        yield Finding("server_url", State.WARN, "public_url_empty")
        return
    if exam.settings.wechat.is_simulated:
        return
    parts = urlsplit(url)
    if hosts.is_private_host(parts.hostname or ""):
        yield Finding("server_url", State.BAD, "public_url_private")
    elif parts.port not in CALLBACK_PORTS:
        yield Finding("server_url", State.BAD, "public_url_port", {"port": parts.port})


async def server_url(exam: Examination, name: str, account: AccountSettings) -> Findings:
    """The check of the console: signed as WeChat signs it, and once with a wrong signature."""
    path = "/wechat/callback" + ("" if name == exam.first_account else f"/{name}")
    url, label = exam.base + path, exam.label(name)
    values: dict[str, object] = {"url": url, "base": exam.base}

    async def asked(*, wrong: bool) -> tuple[Response, bytes]:
        token = account.callback_token.get_secret_value()
        stamp, number, echo = str(int(exam.clock.now())), nonce(), nonce() + nonce()
        signed = signature(token, stamp, number)
        if wrong:
            signed = signed[:-1] + ("0" if signed[-1] != "0" else "1")
        query = {"signature": signed, "timestamp": stamp, "nonce": number, "echostr": echo}
        headers = {"Authorization": exam.bearer(name)}
        return await exam.ask_server("GET", url, query=query, headers=headers), echo.encode()

    def bad(text: str) -> Finding:
        return Finding("server_url", State.BAD, text, values, label)

    try:
        answer, echo = await asked(wrong=False)
        values["status"] = answer.status
        if answer.status in NO_SERVER and not await exam.runs_here():
            yield Finding("server_url", State.SKIPPED, "not_running", values, label)
        elif 300 <= answer.status < 400:
            yield bad("server_redirects")
        elif answer.status == 403 and "error" in as_json(answer):
            yield bad("server_refuses")
        elif answer.status != 200:
            yield bad("server_status")
        elif answer.body != echo:
            yield bad("server_echo")
        else:
            answer, echo = await asked(wrong=True)
            if answer.status == 200:
                yield bad("server_accepts")
            else:
                exam.reached.add(name)
                async for finding in _accepted(exam, name, values):
                    yield finding
    except ExchangeFailed as error:
        if not await exam.runs_here():
            yield Finding("server_url", State.SKIPPED, "not_running", values, label)
        else:
            values["why"] = await exam.why(exam.base, error)
            yield bad("server_not_reached")


async def _accepted(exam: Examination, name: str, values: dict[str, object]) -> Findings:
    """The check was answered well; but only callbacks are refused for their time."""
    report, label = await exam.report(name), exam.label(name)
    here, window = exam.ahead or 0.0, exam.settings.wechat.timestamp_window_seconds
    apart = 0.0
    if not isinstance(report, NoReport) and isinstance(report.get("now"), int | float):
        apart = exam.clock.now() - report["now"]
    off = here + apart
    values["seconds"] = round(abs(off))
    if abs(off) <= window:
        yield Finding("server_url", State.OK, "server_url", values, label)
        return
    yield Finding("server_url", State.WARN, "server_url_late", values, label, because="clock")
    if abs(here) <= window:
        # The server runs on another machine, and this one's clock is well.
        yield Finding("clock", State.BAD, "clock_server", values)


async def proxy(exam: Examination, name: str) -> Findings:
    """What of a request arrives: the server tells."""
    if name not in exam.reached:
        yield Finding("proxy", State.SKIPPED, "not_outside", because="server_url")
        return
    report = await exam.report(name)
    if isinstance(report, NoReport):
        yield Finding("proxy", State.SKIPPED, "no_report", {"why": report.why})
        return
    here = exam.settings.server.public_url
    if report.get("public_url") != here:
        nothing = SENTENCES["nothing"]
        values: dict[str, object] = {
            "running": report.get("public_url") or nothing,
            "here": here or nothing,
        }
        yield Finding("proxy", State.BAD, "other_public_url", values)
        return
    headers = report.get("headers")
    headers = headers if isinstance(headers, dict) else {}
    shown = ", ".join(f"{key} {value}" for key, value in headers.items())
    values = {
        "base": exam.base,
        "headers": shown or SENTENCES["no_headers"],
        **{key: report.get(key, "") for key in ("host", "peer", "address", "scheme")},
    }
    yield _arrived(exam.base, headers, report, values)


def _arrived(
    base: str, headers: Mapping[str, str], report: Mapping[str, Any], values: dict[str, object]
) -> Finding:
    is_https = base.startswith("https://")
    if not is_https and not headers:
        return Finding("proxy", State.OK, "proxy_direct", values)
    believed = report.get("address") != report.get("peer")
    if "X-Forwarded-For" not in headers:
        return Finding("proxy", State.BAD, "proxy_no_address", values)
    # A proxy on this machine may have forwarded a request of this machine.
    same = report.get("address") == headers["X-Forwarded-For"].rpartition(",")[2].strip()
    if not believed and not same:
        return Finding("proxy", State.BAD, "proxy_unlisted", values)
    if is_https and report.get("scheme") != "https":
        named = headers.get("X-Forwarded-Proto", "")
        text = "proxy_unlisted" if named == "https" else "proxy_no_scheme"
        return Finding("proxy", State.BAD if named == "https" else State.WARN, text, values)
    return Finding("proxy", State.OK, "proxy", values)


async def socket(exam: Examination, name: str) -> Findings:
    """A page's WebSocket, for a login that is cancelled and costs no code."""
    if name not in exam.reached:
        yield Finding("socket", State.SKIPPED, "not_outside", because="server_url")
        return
    origin = origin_of(exam.base)
    sent = {"Origin": origin, "Content-Type": "application/json"}
    begun: dict[str, Any] = {}
    try:
        answer = await exam.ask_server(
            "POST",
            f"{exam.base}/api/scenes",
            headers=sent,
            content=json.dumps({"kind": "web", "account": name}).encode(),
        )
        begun = as_json(answer)
    except ExchangeFailed as error:
        why = await exam.why(exam.base, error)
        yield Finding("socket", State.SKIPPED, "socket_not_begun", {"status": why})
        return
    if answer.status != 201 or not {"ws", "status", "watch_token"} <= set(begun):
        values = {"status": answer.status}
        state = State.SKIPPED if answer.status == 429 else State.BAD
        yield Finding("socket", state, "socket_not_begun", values)
        return
    try:
        yield await _opened(exam, origin, begun)
    finally:
        bearer = {"Origin": origin, "Authorization": f"Bearer {begun['watch_token']}"}
        with suppress(ExchangeFailed):  # then it ends by itself, within minutes
            await exam.ask_server("DELETE", exam.base + str(begun["status"]), headers=bearer)


async def _opened(exam: Examination, origin: str, begun: Mapping[str, Any]) -> Finding:
    values: dict[str, object] = {"base": exam.base}
    timeout = aiohttp.ClientTimeout(total=SERVER_SECONDS)
    try:
        async with (
            asyncio.timeout(SERVER_SECONDS),
            aiohttp.ClientSession(timeout=timeout) as session,
            session.ws_connect(
                "ws" + exam.base.removeprefix("http") + str(begun["ws"]),
                protocols=("scanpush.v1", f"watch.{begun['watch_token']}"),
                origin=origin,
                ssl=exam.trusted,
            ) as opened,
        ):
            status = json.loads(await opened.receive_str())
            if status.get("type") == "status":
                return Finding("socket", State.OK, "socket", values)
    except aiohttp.WSServerHandshakeError as error:
        values["status"] = error.status
        text = "socket_refused" if error.status == 403 else "socket_no_upgrade"
        return Finding("socket", State.BAD, text, values)
    except (aiohttp.ClientError, TimeoutError, TypeError, ValueError, AttributeError):
        return Finding("socket", State.BAD, "socket_silent", values)
    return Finding("socket", State.BAD, "socket_silent", values)


async def verify_files(exam: Examination) -> Findings:
    """The MP_verify files, as WeChat fetches them."""
    files = exam.settings.wechat.verify_files
    if not files:
        yield Finding("verify_files", State.SKIPPED, "verify_none")
        return
    if not exam.reached:
        yield Finding("verify_files", State.SKIPPED, "not_outside", because="server_url")
        return
    for name, content in files.items():
        url = f"{exam.base}/{name}"
        status: object
        try:
            answer = await exam.ask_server("GET", url)
            status = answer.status
            served = (answer.body or b"").strip() == content.strip().encode()
        except ExchangeFailed as error:
            served, status = False, await exam.why(url, error)
        if not (served and status == 200):
            values = {"url": url, "name": name, "status": status}
            yield Finding("verify_files", State.BAD, "verify_missing", values)
            return
    yield Finding("verify_files", State.OK, "verify_files", {"names": ", ".join(files)})


async def callbacks(exam: Examination, name: str, account: AccountSettings) -> Findings:
    """Token, key, mode and format of the console: only WeChat's callbacks show them."""
    label = exam.label(name)
    report = await exam.report(name)
    told: Mapping[str, Any] = {} if isinstance(report, NoReport) else report["callbacks"]
    times = {
        outcome: float(last["at"])
        for outcome, last in told.items()
        if isinstance(last, dict) and isinstance(last.get("at"), int | float)
    }
    passed = [outcome for outcome in times if outcome not in REFUSED_CALLBACKS]
    signed = [outcome for outcome in times if outcome not in UNSIGNED_CALLBACKS]
    newest = max(signed, key=times.__getitem__, default="")
    unsigned_at = times.get("signature", 0.0)
    accepted = told[max(passed, key=times.__getitem__)] if passed else None
    minutes = max(0, round((exam.clock.now() - times.get(newest, unsigned_at)) / 60))
    ago: dict[str, object] = {"minutes": minutes}
    seen = SENTENCES["silence"]
    if accepted and newest in passed:
        seen = Said(*(half.format(minutes=minutes) for half in SENTENCES["seen"]))
    elsewhere = report.get("elsewhere") if not isinstance(report, NoReport) else None
    if isinstance(elsewhere, list) and elsewhere[1] > times.get(newest, 0.0):
        path = "/wechat/callback" + ("" if name == exam.first_account else f"/{name}")
        values = {"path": elsewhere[0], "url": exam.base + path}
        yield Finding("console_url", State.BAD, "callbacks_elsewhere", values, label)
    if not signed and unsigned_at:
        yield Finding("callback_token", State.BAD, "callback_token_differs", ago, label)
    elif unsigned_at > times.get(newest, 0.0):
        yield Finding("callback_token", State.WARN, "foreign_callbacks", {}, label)
    else:
        token = {"count": len(account.callback_token.get_secret_value()), "seen": seen}
        yield Finding("callback_token", State.OK, "callback_token", token, label)
    if account.mode == "plaintext":
        yield Finding("encoding_aes_key", State.SKIPPED, "no_key_needed", {}, label)
    elif newest == "decryption":
        yield Finding("encoding_aes_key", State.BAD, "key_differs", ago, label)
    else:
        yield Finding("encoding_aes_key", State.OK, "encoding_aes_key", {"seen": seen}, label)
    last: Mapping[str, Any] = told.get(newest, {})
    unknown = Finding("mode", State.SKIPPED, "no_callback", {}, label)
    if newest == "stale":
        unknown = Finding("mode", State.SKIPPED, "callback_stale", {}, label)
    if isinstance(report, NoReport):
        unknown = Finding("mode", State.SKIPPED, "no_report", {"why": report.why}, label)
    yield _mode(name, account, newest, {**last, **ago}, label) or unknown
    if accepted is None:
        yield Finding("format", State.SKIPPED, unknown.text, unknown.values, label)
    else:
        came = "JSON" if accepted.get("as_json") else "XML"
        yield Finding("format", State.OK, "format", {"format": came}, label)


def _mode(
    name: str, account: AccountSettings, newest: str, last: Mapping[str, Any], label: str
) -> Finding | None:
    """None where no callback tells.

    Args:
        newest: the outcome of the last callback that WeChat signed.
    """
    values: dict[str, object] = {
        "name": name,
        "mode": account.mode,
        "minutes": last.get("minutes", 0),
    }
    encrypted = last.get("encrypted")
    if newest == "downgrade" or (account.mode == "plaintext" and encrypted is True):
        came = SENTENCES["encrypted" if encrypted else "clear"]
        return Finding("mode", State.BAD, "mode_differs", {**values, "came": came}, label)
    if not newest or (newest in REFUSED_CALLBACKS and newest != "decryption"):
        return None
    if account.mode == "plaintext":
        return Finding("mode", State.WARN, "mode_unsafe", values, label)
    return Finding("mode", State.OK, "mode", values, label)


async def events(exam: Examination) -> Findings:
    """Whether a connection to events.url comes about; no event is sent."""
    url = exam.settings.events.url
    if not url:
        return
    values: dict[str, object] = {"host": urlsplit(url).netloc}
    if exam.outgoing.proxies.of(url) is not None:
        yield Finding("events", State.SKIPPED, "events_proxy", values)
    elif why := await exam.unreached(url):
        yield Finding("events", State.BAD, "events_not_reached", {**values, "why": why})
    elif len(exam.settings.events.secret.get_secret_value().split()) > 1:
        yield Finding("events", State.WARN, "events_two_secrets", values)
    else:
        yield Finding("events", State.OK, "events", values)
