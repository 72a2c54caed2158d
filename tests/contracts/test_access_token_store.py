"""What every `AccessTokenStore` promises (services/wechat/access_token.py)."""

import asyncio

import pytest

from services.wechat.access_token import AccessToken, AccessTokenRecord, AccessTokenStore

Stores = list[AccessTokenStore]


@pytest.mark.gen_test
async def test_a_record_is_read_back(access_token_stores: Stores) -> None:
    """Every node reads what one of them saved last."""
    one, other = access_token_stores
    assert await one.load("wx1:stable") is None
    for value in ("first", "第二"):
        record = AccessTokenRecord(AccessToken(value, 1_760_000_000.5), (1.25, 2.5))
        await one.save("wx1:stable", record)
        assert await other.load("wx1:stable") == record
    assert await other.load("wx2:stable") is None


@pytest.mark.gen_test(timeout=20)
async def test_one_at_a_time_holds_the_lock(access_token_stores: Stores) -> None:
    """Ten holders on two nodes come one after the other."""
    inside: list[int] = []
    most = 0

    async def hold(number: int) -> None:
        nonlocal most
        async with access_token_stores[number % 2].lock("wx1:stable"):
            inside.append(number)
            most = max(most, len(inside))
            await asyncio.sleep(0.01)
            inside.remove(number)

    await asyncio.gather(*(hold(number) for number in range(10)))
    assert most == 1


@pytest.mark.gen_test
async def test_locks_of_two_accounts_are_two(access_token_stores: Stores) -> None:
    """Renewing one account's token holds up no other."""
    store = access_token_stores[0]
    async with store.lock("wx1:stable"), store.lock("wx2:stable"):
        pass


@pytest.mark.gen_test
async def test_a_failure_inside_gives_the_lock_back(access_token_stores: Stores) -> None:
    """The next one may hold it at once, and the failure comes through."""
    store = access_token_stores[0]
    with pytest.raises(ZeroDivisionError):
        async with store.lock("wx1:stable"):
            raise ZeroDivisionError
    async with asyncio.timeout(2), store.lock("wx1:stable"):
        pass
