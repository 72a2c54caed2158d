"""packages/python asks for keys as seldom as it can, and renews logins; in both of its clients."""

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from scanpush_client import AsyncScanpush, InvalidToken, Login, Refused, Scanpush, Unavailable
from scanpush_client.keys import KeyCache
from services.tokens.keys import generate
from tests.conftest import UnexpectedLogs
from tests.packages.fake_scanpush import LOGIN, SESSION_TOKEN, URL, FakeScanpush

JWKS = "/.well-known/jwks.json"


class Bench:
    """A client of one kind, a scanpush for it, and a clock that is turned by hand."""

    def __init__(self, asynchronous: bool) -> None:
        self.fake = FakeScanpush()
        self.now = 0.0
        self._runner = asyncio.Runner()
        if asynchronous:
            self.client: Any = AsyncScanpush(URL, http=self.fake.async_http(), clock=self._time)
        else:
            self.client = Scanpush(URL, http=self.fake.sync_http(), clock=self._time)

    def _time(self) -> float:
        return self.now

    def call(self, method: str, *args: Any, **more: Any) -> Any:
        """What the method of that name gives, waited for where it must be."""
        given = getattr(self.client, method)(*args, **more)
        return self._runner.run(given) if inspect.iscoroutine(given) else given

    def verify(self, **changes: Any) -> str:
        return str(self.call("verify", self.fake.token(**changes)).sub)

    def close(self) -> None:
        self._runner.close()


@pytest.fixture(params=[False, True], ids=["threads", "asyncio"])
def bench(request: pytest.FixtureRequest) -> Any:
    bench = Bench(request.param)
    yield bench
    bench.close()


def test_keys_are_fetched_once(bench: Bench) -> None:
    """And again when max-age is over."""
    for _ in range(3):
        bench.verify()
    assert bench.fake.asked == [JWKS]
    bench.now = 301
    bench.verify()
    assert bench.fake.asked == [JWKS] * 2


@pytest.mark.parametrize(
    ("control", "seconds"),
    [("no-store", 300), ("", 300), ("max-age=0", 60), ("s-maxage=5, max-age=900", 900)],
)
def test_max_age_has_bounds(control: str, seconds: int) -> None:
    """A server that allows no caching is asked once in a while all the same."""
    fake = FakeScanpush()
    cache = KeyCache()
    cache.keep({"keys": [dict(fake.keys[0].jwk)]}, control, 0)
    found = [cache.find(fake.keys[0].kid, "ES256", now).ask.value for now in (seconds - 1, seconds)]
    assert found == ["no", "may"]


def test_a_new_key_is_learned_at_once(bench: Bench) -> None:
    """From the first token that it signs, ten seconds after the last request."""
    bench.verify()
    bench.fake.keys.insert(0, generate("ES256"))
    bench.now = 11
    assert bench.verify() == "u1"


def test_invented_keys_cause_no_flood(bench: Bench) -> None:
    """A hundred tokens of unknown keys: one request in ten seconds."""
    for number in range(100):
        with pytest.raises(InvalidToken):
            bench.verify(header={"kid": f"invented{number}"})
    assert bench.fake.asked == [JWKS]
    bench.now = 11
    bench.verify(key=bench.fake.keys[0])
    assert bench.fake.asked == [JWKS]


def test_a_removed_key_is_forgotten(bench: Bench) -> None:
    """With the next key set."""
    old = bench.fake.keys[0]
    bench.verify()
    bench.fake.keys = [generate("ES256")]
    bench.now = 301
    bench.verify()
    with pytest.raises(InvalidToken):
        bench.verify(key=old)


FAILURES: list[int | Exception] = [
    503,
    404,
    302,
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("slow"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_an_outage_logs_no_one_out(
    bench: Bench, logs: UnexpectedLogs, failure: int | Exception
) -> None:
    """Known keys serve for a day more, and scanpush is asked once in ten seconds."""
    logs.expect("scanpush_client WARNING keys of scanpush")
    bench.verify()
    bench.fake.failing = [failure] * 3
    for bench.now in (301.0, 302.0, 312.0):
        assert bench.verify() == "u1"
    assert bench.fake.asked == [JWKS] * 3
    bench.now = 300 + 86_401
    with pytest.raises(Unavailable):
        bench.verify()
    assert bench.now > 0 and bench.fake.failing == []


def test_without_keys_nothing_is_known(bench: Bench, logs: UnexpectedLogs) -> None:
    """503 and not 401, within ten seconds of the failure too; then it is tried again."""
    logs.expect("scanpush_client WARNING keys of scanpush")
    bench.fake.failing = [503]
    for _ in range(3):
        with pytest.raises(Unavailable):
            bench.verify()
    assert bench.fake.asked == [JWKS]
    bench.now = 11
    assert bench.verify() == "u1"


@pytest.mark.parametrize("body", [b"<html>", b"[" * 99_999, b"[]", b'{"keys": 1}'], ids=len)
def test_what_is_no_key_set_is_an_outage(bench: Bench, logs: UnexpectedLogs, body: bytes) -> None:
    """As the page of a proxy is."""
    logs.expect("scanpush_client WARNING keys of scanpush")
    bench.fake.body = body
    with pytest.raises(Unavailable):
        bench.verify()


def test_too_much_is_not_read(bench: Bench, logs: UnexpectedLogs) -> None:
    """A megabyte is enough for 4,000 keys."""
    logs.expect("scanpush_client WARNING keys of scanpush: .* too long")
    bench.fake.body = b"[" * (1024 * 1024 + 1)
    with pytest.raises(Unavailable):
        bench.verify()


def test_keys_of_no_use_are_passed_over() -> None:
    """A key set may hold others."""
    good = dict(generate("ES256").jwk)
    odd: list[object] = [
        "text",
        {"kid": 7, "kty": "EC"},
        {**good, "kid": "a", "use": "enc"},
        {**good, "kid": "b", "alg": "ES384"},
        {**good, "kid": "c", "crv": ["P-256"]},
        {**good, "kid": "d", "x": "AA"},
        {**good, "kid": "e", "x": 5},
        {"kid": "f", "kty": "oct", "k": "AAAA"},
    ]
    cache = KeyCache()
    cache.keep({"keys": [*odd, good]}, "", 0)
    assert [kid for kid in ["a", "b", "c", "d", "e", "f"] if cache.find(kid, "ES256", 1).key] == []
    assert cache.find(good["kid"], "ES256", 1).key is not None


def test_many_tasks_wait_for_one_request() -> None:
    """All are verified by its answer."""
    fake = FakeScanpush()

    async def verified() -> list[str]:
        fake.hold = asyncio.Event()
        async with AsyncScanpush(URL, http=fake.async_http()) as scanpush:
            tasks = [asyncio.create_task(scanpush.verify(fake.token())) for _ in range(20)]
            await asyncio.sleep(0)
            fake.hold.set()
            return [claims.sub for claims in await asyncio.gather(*tasks)]

    assert asyncio.run(verified()) == ["u1"] * 20
    assert fake.asked == [JWKS]


def test_a_task_that_goes_away_keeps_no_one_waiting() -> None:
    """The next one asks."""
    fake = FakeScanpush()

    async def verified() -> str:
        fake.hold = asyncio.Event()
        async with AsyncScanpush(URL, http=fake.async_http()) as scanpush:
            task = asyncio.create_task(scanpush.verify(fake.token()))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            fake.hold.set()
            return (await scanpush.verify(fake.token())).sub

    assert asyncio.run(verified()) == "u1"


def test_a_silent_scanpush_is_given_up(logs: UnexpectedLogs) -> None:
    """After `timeout_seconds`."""
    logs.expect("scanpush_client WARNING keys of scanpush: .* TimeoutError")
    fake = FakeScanpush()

    async def refused() -> None:
        fake.hold = asyncio.Event()
        scanpush = AsyncScanpush(URL, http=fake.async_http(), timeout_seconds=0.01)
        with pytest.raises(Unavailable):
            await scanpush.verify(fake.token())

    asyncio.run(refused())


def test_many_threads_share_one_request() -> None:
    """One asks, the others wait for its answer."""
    fake = FakeScanpush()
    begun, go_on = threading.Event(), threading.Event()

    def slow(request: httpx.Request) -> httpx.Response:
        begun.set()
        assert go_on.wait(10)
        return fake(request)

    scanpush = Scanpush(URL, http=httpx.Client(transport=httpx.MockTransport(slow)))
    said: list[str] = []
    token = fake.token()
    threads = [
        threading.Thread(target=lambda: said.append(scanpush.verify(token).sub)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    go_on.set()
    for thread in threads:
        thread.join()
    assert said == ["u1"] * 8 and fake.asked == [JWKS]


LOGGED_IN = Login("a-token", 300, "u1", False, "its-successor")


def test_a_refresh_gives_the_next_pair(bench: Bench) -> None:
    """Which no repr shows."""
    login = bench.call("refresh", SESSION_TOKEN)
    assert login == LOGGED_IN
    assert "a-token" not in repr(login) and "successor" not in repr(login)


def test_a_session_that_ended_is_refused(bench: Bench) -> None:
    """With scanpush's code, and without a second try."""
    with pytest.raises(Refused) as caught:
        bench.call("refresh", "an-old-one")
    assert (caught.value.status, caught.value.code) == (401, "unauthorized")
    assert len(bench.fake.asked) == 1


@pytest.mark.parametrize("failure", [502, httpx.ReadError("reset")], ids=repr)
def test_a_lost_answer_is_asked_for_again(bench: Bench, failure: int | Exception) -> None:
    """Once: scanpush gives the same pair."""
    bench.fake.failing = [failure]
    assert bench.call("refresh", SESSION_TOKEN) == LOGGED_IN
    bench.fake.failing = [failure, failure]
    with pytest.raises(Unavailable):
        bench.call("refresh", SESSION_TOKEN)
    assert len(bench.fake.asked) == 4


def test_a_limit_is_respected(bench: Bench) -> None:
    """429 is not answered by the next request."""
    bench.fake.failing = [429]
    with pytest.raises(Unavailable) as caught:
        bench.call("refresh", SESSION_TOKEN)
    assert caught.value.status == 429 and len(bench.fake.asked) == 1


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b"null", b'{"token": 1, "expires_in": 1, "user": {"id": "u", "is_new": false}}'],
)
def test_what_is_no_login_is_an_outage(bench: Bench, body: bytes) -> None:
    """Nothing half understood is handed on."""
    bench.fake.body = body
    with pytest.raises(Unavailable):
        bench.call("refresh", SESSION_TOKEN)


def test_a_session_is_revoked(bench: Bench) -> None:
    """By any refresh token, known or not."""
    assert bench.call("revoke", "any") is None
    bench.fake.failing = [404]
    with pytest.raises(Refused):
        bench.call("revoke", "any")


def test_a_kiosks_code_is_exchanged(bench: Bench) -> None:
    """With the operator's token only."""
    assert bench.call("exchange", "a-code", operator_token="operator") == LOGGED_IN
    with pytest.raises(Refused):
        bench.call("exchange", "a-code", operator_token="other")


def test_without_sessions_there_is_no_refresh_token() -> None:
    """The server of today, or one with sessions switched off."""
    fake = FakeScanpush()
    answer: Callable[[httpx.Request], httpx.Response] = lambda request: httpx.Response(
        200, json={name: value for name, value in LOGIN.items() if name != "refresh_token"}
    )
    scanpush = Scanpush(URL, http=httpx.Client(transport=httpx.MockTransport(answer)))
    assert scanpush.refresh("x").refresh_token is None
    assert fake.asked == []


def test_both_clients_are_twins() -> None:
    """The same methods with the same arguments."""
    pairs = {
        name: (inspect.signature(method), inspect.signature(getattr(AsyncScanpush, name)))
        for name, method in vars(Scanpush).items()
        if not name.startswith("__") and callable(method)
    }
    assert len(pairs) == 8
    for one, other in pairs.values():
        assert one == other
