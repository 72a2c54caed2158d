"""What every `CredentialStore` promises (services/wechat/credentials.py)."""

import asyncio

import pytest

from services.wechat.access_token import CredentialRecord, CredentialStore, Token

Stores = list[CredentialStore]


@pytest.mark.gen_test
async def test_a_record_is_read_back(credential_stores: Stores) -> None:
    """Every node reads what one of them saved last."""
    one, other = credential_stores
    assert await one.load("wx1:stable") is None
    for value in ("first", "第二"):
        record = CredentialRecord(Token(value, 1_760_000_000.5), (1.25, 2.5))
        await one.save("wx1:stable", record)
        assert await other.load("wx1:stable") == record
    assert await other.load("wx2:stable") is None


@pytest.mark.gen_test(timeout=20)
async def test_one_at_a_time_holds_the_lock(credential_stores: Stores) -> None:
    """Ten holders on two nodes come one after the other."""
    inside: list[int] = []
    most = 0

    async def hold(number: int) -> None:
        nonlocal most
        async with credential_stores[number % 2].lock("wx1:stable"):
            inside.append(number)
            most = max(most, len(inside))
            await asyncio.sleep(0.01)
            inside.remove(number)

    await asyncio.gather(*(hold(number) for number in range(10)))
    assert most == 1


@pytest.mark.gen_test
async def test_locks_of_two_accounts_are_two(credential_stores: Stores) -> None:
    """Renewing one account's token holds up no other."""
    store = credential_stores[0]
    async with store.lock("wx1:stable"), store.lock("wx2:stable"):
        pass


@pytest.mark.gen_test
async def test_a_failure_inside_gives_the_lock_back(credential_stores: Stores) -> None:
    """The next one may hold it at once, and the failure comes through."""
    store = credential_stores[0]
    with pytest.raises(ZeroDivisionError):
        async with store.lock("wx1:stable"):
            raise ZeroDivisionError
    async with asyncio.timeout(2), store.lock("wx1:stable"):
        pass
