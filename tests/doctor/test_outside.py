"""The server as it is met through a proxy: what arrives, what is echoed, and what is in the way."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from doctor import from_outside
from doctor.findings import Finding, State, first_to_mend
from services.clock import SystemClock
from services.settings.models import EventSettings, Settings
from services.settings.outgoing import Outgoing, Proxies, Proxy
from services.wechat.accounts import proof
from simulator.clock import TurnableClock
from tests.conftest import UnexpectedLogs
from tests.doctor.benches import (
    OUTGOING,
    doctor,
    findings_of,
    first_account,
    of_check,
    settings_of,
)
from tests.doctor.front import Front, answer
from tests.event_server import SECRET, EventServer
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

FORWARDED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http"}


async def outside(settings: Settings) -> list[Finding]:
    """The findings about the server alone."""
    found: list[Finding] = []
    async with doctor(settings) as exam:
        name, account = first_account(settings)
        for check in (
            from_outside.public_url(exam),
            from_outside.server_url(exam, name, account),
            from_outside.proxy(exam, name),
            from_outside.socket(exam, name),
            from_outside.verify_files(exam),
            from_outside.callbacks(exam, name, account),
        ):
            found += [finding async for finding in check]
    return found


async def through(stack: Stack, *, trusted: bool = True, **switches: Any) -> list[Finding]:
    async with Front(stack.port, **switches) as front:
        settings = settings_of(stack, front.url)
        return await outside(settings)


def trusting() -> dict[str, Any]:
    return {"trusted_proxies": ["127.0.0.1"], "port": 0}


async def test_a_good_proxy_is_well(tmp_path: Path) -> None:
    """Echo, headers and upgrade; the scene that was begun for it is cancelled."""
    async with Stack(tmp_path, server=trusting()) as stack:
        found = await through(stack, headers=FORWARDED)
        for check in ("server_url", "proxy", "socket"):
            assert of_check(found, check).state is State.OK
        assert "203.0.113.9" in of_check(found, "proxy").what("en")
        assert stack.container.metrics.exposition()[0].count(b'state="cancelled"') >= 0
        assert stack.container.push.hub.sockets == 0


SERVER_MISTAKES: dict[str, tuple[Mapping[str, Any], str]] = {
    "redirect": (
        {"answers": {"callback": answer("301 Moved", b"", "Location: /x")}},
        "server_redirects",
    ),
    "another page": (
        {"answers": {"callback": answer("404 Not Found", b"<html>")}},
        "server_status",
    ),
    "refuses": ({"answers": {"callback": answer("403 Forbidden", b"no")}}, "server_status"),
    "byte order mark": ({"around": (b"\xef\xbb\xbf", b"")}, "server_echo"),
    "newline": ({"around": (b"", b"\n")}, "server_echo"),
    "own page": ({"answers": {"callback": answer("200 OK", b"<html>")}}, "server_echo"),
    "down": ({"answers": {"callback": answer("502 Bad Gateway", b"<html>")}}, "server_status"),
    "closes": ({"answers": {"callback": b""}}, "server_not_reached"),
}


@pytest.mark.parametrize("mistake", SERVER_MISTAKES)
async def test_what_spoils_the_echo_is_named(mistake: str, tmp_path: Path) -> None:
    """Each has a text of its own, and what needs the server is skipped."""
    switches, text = SERVER_MISTAKES[mistake]
    async with Stack(tmp_path) as stack:
        found = await through(stack, **switches)
        finding = of_check(found, "server_url")
        assert (finding.state, finding.text) == (State.BAD, text)
        assert finding.remedy("en") and finding.remedy("zh")
        assert of_check(found, "proxy").text == "not_outside"


async def test_a_server_that_accepts_anything_is_not_scanpush(tmp_path: Path) -> None:
    """A wrong signature has to be refused."""

    class Parrot(Front):
        async def _forward(self, head: str, reader: Any, writer: Any) -> None:
            echo = head.partition("echostr=")[2].partition(" ")[0]
            writer.write(answer("200 OK", echo.encode()))

    async with Stack(tmp_path) as stack, Parrot(stack.port) as front:
        found = await outside(settings_of(stack, front.url))
        assert of_check(found, "server_url").text == "server_accepts"


async def test_a_probe_does_not_look_like_an_attack(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The wrong signature is refused with 403 and counted nowhere; the log keeps it to itself, but
    not that of a stranger, whatever he claims to be, nor a push."""
    caplog.set_level(logging.INFO, "scanpush.http")
    async with Stack(tmp_path) as stack:
        counted = stack.container.metrics.exposition()[0].count(b"scanpush_callbacks_total")
        await outside(settings_of(stack))
        assert "/wechat/callback" not in caplog.text
        assert stack.container.accounts.named("").watch.callbacks == {}
        assert stack.container.metrics.exposition()[0].count(b"scanpush_callbacks_total") == counted
        query = {"signature": "0" * 40, "timestamp": "1", "nonce": "1", "echostr": "1"}
        account = stack.container.accounts.named("").settings
        good = proof(account.app_secret.get_secret_value(), int(stack.now))
        for bearer, lines in ((f"{int(stack.now)}.{good}", 0), (f"{int(stack.now)}.x", 1)):
            headers = {"Authorization": f"Bearer {bearer}", "User-Agent": "scanpush-doctor"}
            refused = await stack.http.get("/wechat/callback", params=query, headers=headers)
            assert refused.status_code == 403
            assert caplog.text.count("403 GET /wechat/callback") == lines
        # A push is no probe, whatever comes with it: the proof hides none.
        headers = {"Authorization": f"Bearer {int(stack.now)}.{good}"}
        await stack.http.post("/wechat/callback", params=query, headers=headers)
        assert "403 POST /wechat/callback" in caplog.text
        assert stack.container.accounts.named("").watch.callbacks.keys() == {"signature"}


async def test_the_clock_of_the_server_is_told(tmp_path: Path) -> None:
    """The console's check looks at no time; callbacks, which do, are refused by a server whose
    clock is off, also where the doctor's own machine is well. It is one mistake of all accounts."""
    clock = TurnableClock(SystemClock())
    accounts: dict[str, Any] = {"default": {}, "second": {}}
    async with Stack(tmp_path, clock=clock, wechat={"accounts": accounts}) as stack:
        clock.skew = -200.0
        settings = settings_of(stack)
        wechat = settings.wechat.model_copy(update={"timestamp_window_seconds": 100})
        found = await findings_of(settings.model_copy(update={"wechat": wechat}))
        late = of_check(found, "server_url")
        assert (late.state, late.text) == (State.WARN, "server_url_late")
        assert "looks at no time" in late.what("en") and "校验不看时间" in late.what("zh")
        (bad,) = (finding for finding in found if finding.text == "clock_server")
        assert (bad.check, bad.state) == ("clock", State.BAD) and "200 s off" in bad.what("en")
        first = first_to_mend(found)
        assert first and first.finding is bad and "mode" in first.explained


async def test_a_server_that_runs_with_other_settings_is_told(tmp_path: Path) -> None:
    """Its token refuses what config.yaml signs; its AppSecret refuses the doctor."""
    async with Stack(tmp_path) as stack:
        other = settings_of(stack)
        name, account = first_account(other)
        token = type(account.callback_token)("anothertoken")
        found = await outside(settings_of(stack, callback_token=token))
        assert of_check(found, "server_url").text == "server_refuses"
        secret = type(account.app_secret)("0" * 32)
        found = await outside(settings_of(stack, app_secret=secret))
        assert "other settings" in of_check(found, "proxy").what("en")


@pytest.mark.parametrize(
    ("headers", "trusted", "text"),
    [
        ({"X-Forwarded-For": "203.0.113.9"}, False, "proxy_unlisted"),
        ({"X-Real-Ip": "203.0.113.9"}, True, "proxy_no_address"),
        ({"Via": "1.1 proxy"}, False, "proxy_no_address"),
        ({}, False, "proxy_direct"),
    ],
)
async def test_headers_that_do_not_arrive_are_named(
    headers: Mapping[str, str], trusted: bool, text: str, tmp_path: Path
) -> None:
    """An address of its own for each visitor is what the limits need."""
    server = trusting() if trusted else {"port": 0}
    async with Stack(tmp_path, server=server) as stack:
        found = await through(stack, headers=headers)
        assert of_check(found, "proxy").text == text


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ({"scheme": "http", "headers": {"X-Forwarded-For": "203.0.113.9"}}, "proxy_no_scheme"),
        (
            {
                "scheme": "http",
                "headers": {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"},
            },
            "proxy_unlisted",
        ),
        ({"scheme": "http", "headers": {}}, "proxy_no_address"),
        (
            {
                "scheme": "https",
                "headers": {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"},
            },
            "proxy",
        ),
    ],
)
def test_tls_ends_at_a_proxy(report: dict[str, Any], text: str) -> None:
    """So with https there is one, and it has to say so."""
    told = {"peer": "127.0.0.1", "address": "203.0.113.9", **report}
    found = from_outside._arrived("https://login.example.com", report["headers"], told, {})
    assert found.text == text


@pytest.mark.parametrize(
    ("switches", "text"),
    [
        ({"headers": {"Upgrade": ""}}, "socket_no_upgrade"),
        ({"headers": {"Sec-WebSocket-Protocol": ""}}, "socket_refused"),
        ({"answers": {"/ws/": answer("400 Bad Request")}}, "socket_no_upgrade"),
        ({"answers": {"/ws/": b""}}, "socket_silent"),
        ({"answers": {"/api/scenes": answer("404 Not Found")}}, "socket_not_begun"),
        ({"answers": {"/api/scenes": b""}}, "socket_not_begun"),
    ],
)
async def test_what_keeps_a_socket_from_opening_is_named(
    switches: Mapping[str, Any], text: str, tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """No upgrade, no subprotocol, another's answer."""
    logs.expect("Sec-WebSocket-Protocol|subprotocol")
    async with Stack(tmp_path) as stack:
        found = await through(stack, **switches)
        assert of_check(found, "socket").text == text


async def test_verify_files_are_fetched(tmp_path: Path) -> None:
    """As WeChat does; one that the proxy keeps for itself is named."""
    files = {"MP_verify_x.txt": "x", "MP_verify_y.txt": "y"}
    async with Stack(tmp_path, wechat={"verify_files": files}) as stack:
        assert of_check(await through(stack), "verify_files").state is State.OK
        kept = {"MP_verify_y": answer("404 Not Found", b"<html>")}
        finding = of_check(await through(stack, answers=kept), "verify_files")
        assert finding.state is State.BAD and "MP_verify_y.txt" in finding.what("en")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://192.168.1.7", "public_url_private"),
        ("https://login.example.com:8443", "public_url_port"),
    ],
)
async def test_an_address_that_wechat_cannot_call_is_named(
    url: str, text: str, tmp_path: Path
) -> None:
    """Private networks, and other ports than 80 and 443; for the real WeChat only."""
    async with Stack(tmp_path) as stack:
        settings = settings_of(stack, url)
        wechat = settings.wechat.model_copy(update={"open_base": "https://open.weixin.qq.com"})
        async with doctor(settings.model_copy(update={"wechat": wechat})) as exam:
            assert [one.text async for one in from_outside.public_url(exam)] == [text]
        async with doctor(settings) as exam:
            assert [one async for one in from_outside.public_url(exam)] == []


async def test_without_a_server_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    """It is said to be not running, which is nothing of the account's to mend."""
    async with Stack(tmp_path) as stack:
        settings = settings_of(stack, "http://127.0.0.1:1")
        nowhere = settings.server.model_copy(update={"port": 1})
        found = await outside(settings.model_copy(update={"server": nowhere}))
        assert of_check(found, "server_url").text == "not_running"
        assert not [one for one in found if one.state is State.BAD]
        # The server runs, but nothing leads to it.
        found = await outside(settings)
        finding = of_check(found, "server_url")
        assert finding.text == "server_not_reached" and "refuses" in finding.what("en")


async def test_the_receiver_of_events_is_connected_to_and_sent_nothing(tmp_path: Path) -> None:
    """A port that refuses is named; a second secret is remembered, and an address behind a proxy
    left alone."""

    async def events(url: str, *secrets: str, proxies: Proxies = Proxies()) -> Finding:
        section = EventSettings(url=url, secret=SecretStr(" ".join(secrets)))
        async with doctor(settings.model_copy(update={"events": section})) as exam:
            exam.outgoing = Outgoing(proxies, OUTGOING.trusted)
            (finding,) = [one async for one in from_outside.events(exam)]
            return finding

    async with Stack(tmp_path) as stack, EventServer() as server:
        settings = settings_of(stack)
        url = server.settings["url"]
        assert (await events(url, SECRET)).state is State.OK
        assert (await events(url, SECRET, SECRET)).text == "events_two_secrets"
        refused = await events("http://127.0.0.1:1/e", SECRET)
        assert refused.state is State.BAD and "refuses" in refused.what("en")
        through = Proxies({"http": Proxy("http", "proxy.test", 3128)})
        assert (await events("http://e.test/", SECRET, proxies=through)).state is State.SKIPPED
        assert server.tried == []


async def test_the_server_tells_only_who_has_its_settings(tmp_path: Path) -> None:
    """Another key, another time, another account, and nothing at all: the same 401."""
    async with Stack(tmp_path) as stack:
        account = stack.container.accounts.named("")
        secret, now = account.settings.app_secret.get_secret_value(), int(stack.now)
        good = f"{now}.{proof(secret, now)}"
        early = f"{now - 1000}.{proof(secret, now - 1000)}"
        cases = {
            "x": 401,
            good: 200,
            early: 401,
            f"{now}.{proof('0' * 32, now)}": 401,
            f"{now + 1}.{proof(secret, now)}": 401,
            f"x.{proof(secret, now)}": 401,
            f"{now}.": 401,
        }
        for bearer, status in cases.items():
            headers = {"Authorization": f"Bearer {bearer}"}
            found = await stack.http.get("/api/doctor", headers=headers)
            assert found.status_code == status, bearer
        headers = {"Authorization": f"Bearer {good}"}
        other = await stack.http.get("/api/doctor", params={"account": "x"}, headers=headers)
        assert other.status_code == 401
        report = (await stack.http.get("/api/doctor", headers=headers)).json()
        assert secret not in str(report)
        assert (report["peer"], report["address"]) == ("127.0.0.1", "127.0.0.1")
