"""What every `Broker` promises (services/push/broker.py)."""

import uuid

import pytest

from services.ids import SceneStr
from services.scenes.store import Notice
from tests.contracts.benches import BrokerBench, eventually


def notices(count: int) -> list[Notice]:
    return [Notice(SceneStr(str(uuid.uuid4())), seq, seq * 7) for seq in range(1, count + 1)]


def no_gap() -> None:
    pytest.fail("nothing was lost")


@pytest.mark.gen_test
async def test_notices_arrive_in_order(broker: BrokerBench) -> None:
    """What is published to a node arrives there whole and in its order."""
    seen: list[Notice] = []
    await broker.broker("a").listen(seen.append, no_gap)
    sent = notices(50)
    for notice in sent:
        await broker.publish("a", notice)
    await eventually(lambda: len(seen) == 50)
    assert seen == sent


@pytest.mark.gen_test
async def test_the_first_notice_after_listening_arrives(broker: BrokerBench) -> None:
    """When `listen` has returned, nothing published afterwards is missed."""
    for number in range(5):
        seen: list[Notice] = []
        await broker.broker(f"node{number}").listen(seen.append, no_gap)
        (notice,) = notices(1)
        await broker.publish(f"node{number}", notice)
        await eventually(lambda got=seen: bool(got))  # type: ignore[misc]
        assert seen == [notice]


@pytest.mark.gen_test
async def test_after_close_nothing_arrives(broker: BrokerBench) -> None:
    """A closed broker calls no listener; closing twice is no error."""
    seen: list[Notice] = []
    closed, other = broker.broker("a"), broker.broker("b")
    await closed.listen(seen.append, no_gap)
    await closed.close()
    await closed.close()
    late: list[Notice] = []
    await other.listen(late.append, no_gap)
    for node in ("a", "b"):
        await broker.publish(node, notices(1)[0])
    await eventually(lambda: bool(late))
    assert seen == []


@pytest.mark.gen_test
async def test_a_listening_broker_answers_a_ping(broker: BrokerBench) -> None:
    """While notices can arrive, a ping says nothing."""
    listening = broker.broker("a")
    await listening.listen(lambda notice: None, no_gap)
    await listening.ping()
