"""What a login leaves in /metrics."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from services.clock import SystemClock
from simulator.clock import TurnableClock
from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Stack, status, until

pytestmark = ON_LOOP


async def samples(stack: Stack) -> dict[str, float]:
    """Every sample, by its name and the values of its labels."""
    text = (await stack.http.get("/metrics")).text
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_login_is_measured_from_the_store_to_its_frame(tmp_path: Path) -> None:
    """Once for a waiting socket; a page that comes later was not waited with."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        async with page.socket() as socket:
            await status(socket)
            await stack.scan(page)
            await until(socket, "authorized")
        async with page.socket() as socket:
            await until(socket, "authorized")
        assert (await samples(stack))["scanpush_push_seconds_count"] == 1


async def test_calls_to_wechat_are_counted(tmp_path: Path) -> None:
    """By endpoint and outcome; with the life of the credential they brought."""
    async with Stack(tmp_path, wechat={"codes_ahead": 0}) as stack:
        await stack.begin()
        found = await samples(stack)
        assert found["scanpush_wechat_calls_total /cgi-bin/qrcode/create ok"] == 1
        assert found["scanpush_wechat_calls_total /cgi-bin/stable_token ok"] == 1
        assert found["scanpush_wechat_call_seconds_count /cgi-bin/qrcode/create"] == 1
        assert 7000 < found["scanpush_wechat_credential_remaining_seconds default"] <= 7200


async def test_refusals_are_counted_by_errcode(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """And the call with the server's own code for it."""
    logs.expect("WeChat refuses|wechat_refused|wechat_quota")
    async with Stack(tmp_path, wechat={"codes_ahead": 0}) as stack:
        await stack.simulator("faults", path="/cgi-bin/qrcode/create", errcode=45009)
        assert (await stack.http.post("/api/scenes")).status_code == 503
        found = await samples(stack)
        assert found["scanpush_wechat_errcodes_total 45009"] == 1
        assert found["scanpush_wechat_calls_total /cgi-bin/qrcode/create wechat_quota"] == 1


async def test_an_unreachable_wechat_is_an_outcome(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """Not a refusal: there was no errcode."""
    logs.expect("wechat_unavailable")
    async with Stack(tmp_path, wechat={"codes_ahead": 0}) as stack:
        await stack.begin()
        await stack.simulator("faults", path="/cgi-bin/qrcode/create", drop=True)
        assert (await stack.http.post("/api/scenes")).status_code == 502
        found = await samples(stack)
        name = "scanpush_wechat_calls_total /cgi-bin/qrcode/create wechat_unavailable"
        assert found[name] == 1


async def test_the_codes_that_are_left_are_told(tmp_path: Path) -> None:
    """Of the 100,000 of a day, and all of them again on the next one."""
    async with Stack(tmp_path, TurnableClock(SystemClock()), wechat={"codes_ahead": 0}) as stack:
        await stack.begin()
        name = "scanpush_wechat_codes_left default"
        assert (await samples(stack))[name] == 99_999
        await stack.advance(86_400)
        assert (await samples(stack))[name] == 100_000


async def test_a_store_that_fails_is_told(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """By the check behind /readyz, which is repeated without being asked for."""
    logs.expect("store_unavailable")
    async with Stack(tmp_path, faulty=True) as stack:
        assert (await stack.http.get("/readyz")).status_code == 200
        assert (await samples(stack))["scanpush_store_up users"] == 1
        stack.users.refuse("ping")
        assert (await stack.http.get("/readyz")).status_code == 503
        found = await samples(stack)
        assert found["scanpush_store_up users"] == 0
        assert found["scanpush_store_seconds_count users"] == 2
