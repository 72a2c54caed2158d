"""The access_token: shared, renewed in time, replaced with care (the lessons of many SDKs)."""

import asyncio
from typing import Any

import httpx
import pytest

from services.errors import StoreUnavailable, WeChatRefused, WeChatUnavailable
from services.wechat.access_token import AccessTokenCache, ClassicTokenSource, StableTokenSource
from tests.services.wechat.fakes import APP_ID, APP_SECRET, Bench, bench, eventually

STABLE = "/cgi-bin/stable_token"
CLASSIC = "/cgi-bin/token"


def node(b: Bench, kind: Any = StableTokenSource, jitter: float = 0.0) -> AccessTokenCache:
    """One process's credentials; all of them share the bench's store and clock."""
    source = kind(b.client, b.clock, APP_ID, APP_SECRET)
    return AccessTokenCache(source, b.store, b.clock, b.supervisor, jitter=lambda: jitter)


def asked(b: Bench) -> int:
    return len(b.wechat.asked(STABLE)) + len(b.wechat.asked(CLASSIC))


@pytest.mark.gen_test
async def test_stable_token() -> None:
    """Normal mode first, everything in the body, nothing in the address."""
    async with bench() as b:
        assert await node(b).get() == "TOKEN_1"
        (seen,) = b.wechat.asked(STABLE)
        assert (seen.method, seen.raw_query) == ("POST", "")
        assert seen.body == {
            "grant_type": "client_credential",
            "appid": APP_ID,
            "secret": APP_SECRET,
            "force_refresh": False,
        }


@pytest.mark.gen_test
async def test_classic_token() -> None:
    """By setting, the older interface."""
    async with bench() as b:
        assert await node(b, ClassicTokenSource).get() == "TOKEN_1"
        (seen,) = b.wechat.asked(CLASSIC)
        assert seen.query["grant_type"] == "client_credential"


@pytest.mark.gen_test
async def test_callers_share_one_request() -> None:
    """A hundred callers at once, one refresh."""
    async with bench() as b:
        tokens = node(b)
        assert set(await asyncio.gather(*(tokens.get() for _ in range(100)))) == {"TOKEN_1"}
        assert asked(b) == 1


@pytest.mark.gen_test
async def test_nodes_share_one_token() -> None:
    """Ten nodes with one store: the node that gets the lock second looks again and asks nothing."""
    async with bench() as b:
        nodes = [node(b, ClassicTokenSource) for _ in range(10)]
        assert set(await asyncio.gather(*(n.get() for n in nodes))) == {"TOKEN_1"}
        assert asked(b) == 1


@pytest.mark.gen_test
async def test_cancelled_caller_does_not_end_the_refresh() -> None:
    """The first caller gives up; the second still gets the token of the same request."""
    async with bench() as b:
        tokens = node(b)
        b.wechat.hanging = asyncio.Event()
        first = asyncio.ensure_future(tokens.get())
        second = asyncio.ensure_future(tokens.get())
        await eventually(lambda: asked(b) == 1)
        first.cancel()
        b.wechat.hanging.set()
        assert await second == "TOKEN_1"
        assert asked(b) == 1


@pytest.mark.gen_test
async def test_renewed_in_the_background() -> None:
    """With less than five minutes left the old token is still handed out at once."""
    async with bench() as b:
        tokens = node(b)
        await tokens.get()
        b.clock.seconds = 7200 - 299
        b.wechat.hanging = asyncio.Event()
        assert await tokens.get() == "TOKEN_1"
        b.wechat.hanging.set()
        await eventually(lambda: b.supervisor.running == 0)
        assert await tokens.get() == "TOKEN_2"


@pytest.mark.gen_test
async def test_not_renewed_early() -> None:
    """With more left nothing is asked."""
    async with bench() as b:
        tokens = node(b)
        await tokens.get()
        b.clock.seconds = 7200 - 301
        await tokens.get()
        assert b.supervisor.running == 0 and asked(b) == 1


@pytest.mark.gen_test
async def test_jitter_renews_earlier() -> None:
    """Nodes do not all come in the same second."""
    async with bench() as b:
        tokens = node(b, jitter=1.0)
        await tokens.get()
        b.clock.seconds = 7200 - 355
        await tokens.get()
        await eventually(lambda: b.supervisor.running == 0)
        assert asked(b) == 2


@pytest.mark.gen_test
async def test_same_token_handed_back_early() -> None:
    """Asked a little early, WeChat gives the same token: asked again only after a pause."""
    async with bench() as b:
        tokens = node(b, jitter=1.0)
        await tokens.get()
        b.clock.seconds = 7200 - 355
        for _ in range(20):
            assert await tokens.get() == "TOKEN_1"
            await eventually(lambda: b.supervisor.running == 0)
        assert asked(b) == 2


@pytest.mark.gen_test
async def test_failed_renewal_keeps_the_old_token(logs: Any) -> None:
    """While WeChat is down the old token serves until its end."""
    logs.expect("no new access_token")
    async with bench() as b:
        tokens = node(b)
        await tokens.get()
        b.clock.seconds = 7200 - 100
        b.wechat.script[STABLE] = [httpx.Response(500)]
        assert await tokens.get() == "TOKEN_1"
        await eventually(lambda: b.supervisor.running == 0)
        assert await tokens.get() == "TOKEN_1"
        b.clock.seconds = 7201
        assert await tokens.get() == "TOKEN_2"


@pytest.mark.gen_test
async def test_other_node_renewed() -> None:
    """A node near the end of its token takes the one another node has fetched."""
    async with bench() as b:
        one, other = node(b, ClassicTokenSource), node(b, ClassicTokenSource)
        await one.get()
        await other.get()
        b.clock.seconds = 7200 - 200
        await one.get()
        await eventually(lambda: b.supervisor.running == 0)
        await other.get()
        await eventually(lambda: b.supervisor.running == 0)
        assert await other.get() == await one.get() == "TOKEN_2"
        assert asked(b) == 2


@pytest.mark.gen_test
async def test_invalidate_compares() -> None:
    """A late caller's old token does not end the new one."""
    async with bench() as b:
        tokens = node(b, ClassicTokenSource)
        first = await tokens.get()
        await tokens.invalidate(first)
        second = await tokens.get()
        await tokens.invalidate(first)
        assert await tokens.get() == second == "TOKEN_2"


@pytest.mark.gen_test
async def test_many_callers_refused_at_once() -> None:
    """A hundred calls fail with the same token: one replacement."""
    async with bench() as b:
        tokens = node(b, ClassicTokenSource)
        token = await tokens.get()

        async def refused() -> str:
            await tokens.invalidate(token)
            return await tokens.get()

        assert set(await asyncio.gather(*(refused() for _ in range(100)))) == {"TOKEN_2"}


@pytest.mark.gen_test
async def test_invalid_on_two_nodes() -> None:
    """The second node that meets the refusal finds the replacement in the store."""
    async with bench() as b:
        nodes = [node(b, ClassicTokenSource), node(b, ClassicTokenSource)]
        tokens = [await n.get() for n in nodes]
        for n, token in zip(nodes, tokens, strict=True):
            await n.invalidate(token)
            assert await n.get() == "TOKEN_2"
        assert asked(b) == 2


@pytest.mark.gen_test
async def test_old_record_stays_until_the_new_one_is_there(logs: Any) -> None:
    """An invalidation whose replacement fails leaves the store as it was."""
    logs.expect("no new access_token")
    async with bench() as b:
        tokens = node(b)
        await tokens.invalidate(await tokens.get())
        b.wechat.script[STABLE] = [httpx.Response(500)]
        with pytest.raises(WeChatUnavailable):
            await tokens.get()
        record = await b.store.load(f"stable:{APP_ID}")
        assert record is not None and record.token.value == "TOKEN_1"


@pytest.mark.gen_test
async def test_force_only_after_normal_mode() -> None:
    """Handed the very token that was refused, it is forced, once."""
    async with bench() as b:
        tokens = node(b)
        await tokens.invalidate(await tokens.get())
        assert await tokens.get() == "TOKEN_2"
        forced = [seen.body["force_refresh"] for seen in b.wechat.asked(STABLE)]
        assert forced == [False, False, True]


@pytest.mark.gen_test
async def test_no_force_when_normal_mode_helps() -> None:
    """WeChat already has another token: forcing would end it for everybody."""
    async with bench() as b:
        tokens = node(b)
        token = await tokens.get()
        b.wechat._new_token()
        await tokens.invalidate(token)
        assert await tokens.get() == "TOKEN_2"
        assert not any(seen.body["force_refresh"] for seen in b.wechat.asked(STABLE))


@pytest.mark.gen_test
async def test_force_is_thirty_seconds_apart(logs: Any) -> None:
    """A forced token that is refused too is surfaced, not forced in a loop, on any node."""
    logs.expect("no new access_token")
    async with bench() as b:
        one, other = node(b), node(b)
        await one.invalidate(await one.get())
        for n in (one, other):
            await n.invalidate(await n.get())
            with pytest.raises(WeChatRefused) as caught:
                await n.get()
            assert caught.value.code == "wechat_credentials"
        count = asked(b)
        with pytest.raises(WeChatRefused):
            await one.get()
        assert asked(b) == count
        b.clock.seconds = 31
        assert await one.get() == "TOKEN_3"


@pytest.mark.gen_test
async def test_force_is_limited_a_day(logs: Any) -> None:
    """WeChat heeds twenty a day; the next day there are twenty again."""
    logs.expect("no new access_token")
    async with bench() as b:
        tokens = node(b)
        for _ in range(20):
            await tokens.invalidate(await tokens.get())
            b.clock.seconds += 60
        assert await tokens.get() == "TOKEN_21"
        await tokens.invalidate("TOKEN_21")
        with pytest.raises(WeChatRefused):
            await tokens.get()
        b.clock.seconds += 86_400
        assert await tokens.get()


@pytest.mark.parametrize("errcode", [40001, 40013, 40125, 40164, 40243, 50004, 89503])
@pytest.mark.gen_test
async def test_wrong_configuration(errcode: int, logs: Any) -> None:
    """The refusal is told to every caller, and WeChat is not asked in a loop."""
    logs.expect("no new access_token|WeChat refuses")
    async with bench() as b:
        tokens = node(b)
        b.wechat.script[STABLE] = [{"errcode": errcode, "errmsg": "no"}]
        for _ in range(10):
            with pytest.raises(WeChatRefused) as caught:
                await tokens.get()
            assert caught.value.errcode == errcode
        assert asked(b) == 1
        b.clock.seconds = 3
        assert await tokens.get() == "TOKEN_1"


@pytest.mark.gen_test
async def test_refreshes_are_limited(logs: Any) -> None:
    """Two systems that invalidate one another must not use up the day's quota."""
    logs.expect("no new access_token")
    async with bench() as b:
        tokens = node(b, ClassicTokenSource)
        with pytest.raises(WeChatUnavailable):
            for _ in range(12):
                await tokens.invalidate(await tokens.get())
        assert asked(b) == 10
        b.clock.seconds = 61
        assert await tokens.get()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"access_token": "T"},
        {"access_token": "", "expires_in": 7200},
        {"access_token": "T", "expires_in": 0},
        {"access_token": "T", "expires_in": "7200"},
        {"access_token": "T" * 3000, "expires_in": 7200},
        {"access_token": 1, "expires_in": 7200},
    ],
    ids=lambda answer: str(answer)[:40],
)
@pytest.mark.gen_test
async def test_rubbish_is_no_token(answer: dict[str, Any], logs: Any) -> None:
    """An answer without a token or its life is no answer."""
    logs.expect("no new access_token")
    async with bench() as b:
        b.wechat.script[STABLE] = [answer]
        with pytest.raises(WeChatUnavailable):
            await node(b).get()


@pytest.mark.gen_test
async def test_failing_store(logs: Any) -> None:
    """Without a store no token is fetched that other nodes would not know of; one that is known
    serves on."""
    logs.expect("no new access_token")
    async with bench() as b:
        tokens = node(b)
        b.store.fail = StoreUnavailable("down")
        with pytest.raises(StoreUnavailable):
            await tokens.get()
        b.store.fail = None
        await tokens.get()
        b.store.fail = StoreUnavailable("down")
        b.clock.seconds = 7000
        assert await tokens.get() == "TOKEN_1"
        await eventually(lambda: b.supervisor.running == 0)


@pytest.mark.gen_test
async def test_restart_takes_the_stored_token() -> None:
    """A node that starts asks WeChat nothing while the stored token lives."""
    async with bench() as b:
        await node(b).get()
        b.clock.seconds = 3600
        assert await node(b).get() == "TOKEN_1"
        assert asked(b) == 1


@pytest.mark.gen_test
async def test_families_are_apart() -> None:
    """A classic token is never taken for a stable one."""
    async with bench() as b:
        await node(b).get()
        await node(b, ClassicTokenSource).get()
        assert len(b.wechat.asked(STABLE)) == len(b.wechat.asked(CLASSIC)) == 1


@pytest.mark.gen_test
async def test_no_secret_in_errors(logs: Any) -> None:
    """Neither secret nor token shows in what is logged or raised."""
    logs.expect("no new access_token|WeChat refuses")
    async with bench() as b:
        b.wechat.script[CLASSIC] = [{"errcode": 40125, "errmsg": f"invalid {APP_SECRET}"}]
        with pytest.raises(WeChatRefused) as caught:
            await node(b, ClassicTokenSource).get()
    assert APP_SECRET not in str(caught.value) + "".join(logs.lines)
