"""What the device flow promises over several nodes, on every store of small values."""

import asyncio

import pytest

from services.oidc.device import Answer, DeviceGrants, Refusal
from services.oidc.grants import Grant
from tests.contracts.benches import SceneBench
from tests.services.oidc.test_device import ANN, BOB, HOME

pytestmark = pytest.mark.gen_test


def on_nodes(bench: SceneBench) -> tuple[DeviceGrants, DeviceGrants]:
    """The same requests as two nodes see them."""
    first, second = (DeviceGrants(bench.store(node), bench.clock) for node in "ab")
    return first, second


async def test_one_poll_of_many_brings_the_grant(scenes: SceneBench) -> None:
    """On any number of nodes at the same moment; the others are refused."""
    first, second = on_nodes(scenes)
    codes = await first.begin("tv", "openid")
    await first.answer(await second.open(codes.user_code, HOME), ANN, allow=True)
    polls = [node.redeem(codes.device_code, "tv") for node in (first, second) for _ in range(10)]
    seen = await asyncio.gather(*polls)
    assert len([grant for grant in seen if isinstance(grant, Grant)]) == 1
    assert {refusal for refusal in seen if isinstance(refusal, Refusal)} == {Refusal.INVALID_GRANT}


async def test_the_first_answer_counts(scenes: SceneBench) -> None:
    """Of two people at the same moment one is told that the device is the other's."""
    first, second = on_nodes(scenes)
    codes = await first.begin("tv", "openid")
    opened = await first.open(codes.user_code, HOME)
    answers = await asyncio.gather(
        first.answer(opened, ANN, allow=True), second.answer(opened, BOB, allow=True)
    )
    assert sorted(answers) == [Answer.ALLOWED, Answer.TAKEN]
    grant = await second.redeem(codes.device_code, "tv")
    assert isinstance(grant, Grant)
    assert grant.user_id == (ANN, BOB)[answers.index(Answer.ALLOWED)].user_id


async def test_a_second_tap_is_told_the_same(scenes: SceneBench) -> None:
    """On another node, after the device has collected it, and by a page opened again."""
    first, second = on_nodes(scenes)
    codes = await first.begin("tv", "openid")
    opened = await first.open(codes.user_code, HOME)
    assert await first.answer(opened, ANN, allow=True) is Answer.ALLOWED
    assert isinstance(await second.redeem(codes.device_code, "tv"), Grant)
    assert await second.answer(opened, ANN, allow=True) is Answer.ALLOWED
    assert (await second.open(codes.user_code, HOME)).answer is Answer.ALLOWED


async def test_polls_of_all_nodes_are_paced_together(scenes: SceneBench) -> None:
    """A device behind a balancer polls now here, now there."""
    first, second = on_nodes(scenes)
    codes = await first.begin("tv", "openid")
    assert await first.redeem(codes.device_code, "tv") is Refusal.AUTHORIZATION_PENDING
    assert await second.redeem(codes.device_code, "tv") is Refusal.SLOW_DOWN
