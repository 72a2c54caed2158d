"""Authorization codes (services/oidc/grants.py) on every store that keeps them."""

import asyncio

import pytest

from services.ids import UserId
from services.oidc.grants import Codes, Grant, family
from services.sessions.states import SessionId
from tests.contracts.benches import SceneBench

TOKEN_SECONDS = 7200
GRANT = Grant(
    client="grafana",
    redirect_uri="https://grafana.test/cb",
    scope="openid profile",
    nonce='n"\u540d',
    code_challenge="",
    session=SessionId("s" * 22),
    user_id=UserId("u1"),
    account="default",
    amr="wechat",
    auth_at=1_760_000_000.25,
)


def codes_of(scenes: SceneBench, node: str = "a") -> Codes:
    return Codes(scenes.store(node), used_seconds=TOKEN_SECONDS)


@pytest.mark.gen_test
async def test_a_code_stands_for_its_grant(scenes: SceneBench) -> None:
    """Unchanged, and before and after its use."""
    codes = codes_of(scenes)
    code = await codes.issue(GRANT)
    assert await codes.look(code) == (GRANT, False)
    assert await codes.use(code, GRANT)
    assert await codes.look(code) == (GRANT, True)
    assert await codes.look("another") is None


@pytest.mark.gen_test
async def test_of_many_at_once_one_uses_it(scenes: SceneBench) -> None:
    """On whichever node."""
    nodes = [codes_of(scenes, "a"), codes_of(scenes, "b")]
    code = await nodes[0].issue(GRANT)
    used = await asyncio.gather(*(nodes[n % 2].use(code, GRANT) for n in range(50)))
    assert used.count(True) == 1


@pytest.mark.gen_test
async def test_an_end_is_kept_for_the_family_alone(scenes: SceneBench) -> None:
    """As long as a token of it may live; the use of the code does not undo it."""
    codes = codes_of(scenes)
    code, other = await codes.issue(GRANT), await codes.issue(GRANT)
    await codes.end(family(code))
    await codes.use(code, GRANT)
    assert await codes.is_ended(family(code)) and not await codes.is_ended(family(other))
