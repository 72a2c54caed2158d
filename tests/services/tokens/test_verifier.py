"""The exchange of public keys, on a store that is only a dictionary."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from services.errors import StoreUnavailable, TokenError, UnknownKey
from services.ids import SceneStr, UserId
from services.settings.models import JwtSettings
from services.tokens.claims import Claims, Purpose, Ticket
from services.tokens.issuer import Issuer
from services.tokens.keys import open_keys
from services.tokens.verifier import KEY, SharedKeys, Verifier
from tests.clocks import StandingClock
from tests.conftest import UnexpectedLogs

pytestmark = pytest.mark.gen_test


@dataclass
class Kept:
    """`recall` and `replace` of a store, which may be away or hang, and takes a turn to answer."""

    values: dict[str, str] = field(default_factory=dict)
    away: bool = False
    hangs: bool = False
    recalled: int = 0

    async def recall(self, key: str) -> str | None:
        self.recalled += 1
        if self.away:
            raise StoreUnavailable("test: away")
        if self.hangs:
            await asyncio.Event().wait()
        value = self.values.get(key)
        await asyncio.sleep(0)
        return value

    async def replace(self, key: str, value: str, ttl_seconds: float) -> str | None:
        before = self.values.get(key)
        self.values[key] = value
        return before


class Clock(StandingClock):
    """The time of day stands; the pauses between two looks, which are real, do not."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class Node:
    """An issuer with a key of its own, and its exchange."""

    def __init__(self, folder: Path, name: str, store: Any, clock: Clock) -> None:
        settings = JwtSettings(key_file=folder / f"{name}.json")
        self.issuer = Issuer(open_keys(settings), issuer="i", audience="a")
        (self.kid,) = self.kids
        self.clock = clock
        self.keys = SharedKeys(self.issuer, store, clock, keep_seconds=7200)
        self.verifier = Verifier(self.issuer, self.keys)

    @property
    def kids(self) -> set[str]:
        return {key["kid"] for key in self.issuer.jwks()["keys"]}

    async def exchange(self) -> None:
        await self.keys._exchange()

    def token(self) -> str:
        now = int(self.clock.now())
        claims = Claims(jti="j", iat=now, exp=now + 60, is_new=False)
        return self.issuer.mint(subject=UserId("u"), claims=claims, account="default", amr=["x"])

    async def accepts(self, token: str) -> bool:
        return (await self.verifier.verify(token, self.clock.now())).subject == "u"


async def test_nodes_learn_each_others_keys(tmp_path: Path) -> None:
    """After one exchange of each, and one more of the first."""
    store, clock = Kept(), Clock()
    a, b = (Node(tmp_path, name, store, clock) for name in "ab")
    for node in (a, b, a):
        await node.exchange()
    assert a.kids == b.kids == {a.kid, b.kid}


async def test_tokens_for_clients_are_opened_on_every_node(tmp_path: Path) -> None:
    """Also on one that has not met the key yet, and only as what they are."""
    store, clock = Kept(), Clock()
    a, b = (Node(tmp_path, name, store, clock) for name in "ab")
    await a.exchange()
    token = a.issuer.sign({"sub": "u"}, typ="at+jwt")
    assert await b.verifier.opened(token, "at+jwt") == {"sub": "u"}
    with pytest.raises(TokenError):
        await b.verifier.opened(token, "JWT")


async def test_a_lost_addition_is_made_again(tmp_path: Path) -> None:
    """A node that saw it writes it again, its owner or another; also to a store that came back
    empty."""
    store, clock = Kept(), Clock()
    a, b, c = (Node(tmp_path, name, store, clock) for name in "abc")
    for node in (a, b, c):
        await node.exchange()
    store.values.clear()
    for node in (b, c):
        await node.exchange()
    assert {a.kid, b.kid, c.kid} <= set(json.loads(store.values[KEY]))


async def test_a_key_outlives_its_node_by_a_tokens_life(tmp_path: Path) -> None:
    """And is forgotten then by those that remain, who go on naming their own."""
    store, clock = Kept(), Clock()
    gone, stays = (Node(tmp_path, name, store, clock) for name in "ab")
    for node in (gone, stays):
        await node.exchange()
    clock.seconds += 7200
    await stays.exchange()
    assert stays.kids == {gone.kid, stays.kid}
    clock.seconds += 1200
    await stays.exchange()
    assert stays.kids == {stays.kid} == set(json.loads(store.values[KEY]))


async def test_what_is_not_understood_is_overwritten(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """Nothing of it is trusted."""
    logs.expect("the shared keys are not valid")
    for text in ("rubbish", "[]", '{"kid": 5}', '{"kid": ["soon", {}]}'):
        store = Kept({KEY: text})
        node = Node(tmp_path, "a", store, Clock())
        await node.exchange()
        assert set(json.loads(store.values[KEY])) == {node.kid}


async def test_a_key_cannot_stand_in_for_another(tmp_path: Path) -> None:
    """A foreign key under the name of the node's own key does not take its place."""
    store, clock = Kept(), Clock()
    a, b = (Node(tmp_path, name, store, clock) for name in "ab")
    await a.exchange()
    (jwk,) = b.issuer.jwks()["keys"]
    store.values[KEY] = json.dumps({a.kid: [clock.now() + 60, {**jwk, "kid": a.kid}]})
    await a.exchange()
    (own,) = [key for key in a.issuer.jwks()["keys"] if key["kid"] == a.kid]
    assert own["x"] != jwk["x"]


async def test_a_store_that_is_away_stops_a_newcomer(tmp_path: Path) -> None:
    """It could not publish its key; a node that runs already goes on."""
    node = Node(tmp_path, "a", Kept(away=True), Clock())
    with pytest.raises(StoreUnavailable):
        await node.keys.introduce()
    going_on = asyncio.ensure_future(node.keys.exchange_forever())
    await asyncio.sleep(0)
    assert not going_on.done()
    going_on.cancel()
    await asyncio.gather(going_on, return_exceptions=True)


async def test_nodes_that_start_at_once_all_leave_their_keys(tmp_path: Path) -> None:
    """Each finds an empty store and overwrites the others; no node's key is lost by it."""
    store, clock = Kept(), Clock()
    nodes = [Node(tmp_path, name, store, clock) for name in "abcd"]
    await asyncio.gather(*(node.keys.introduce() for node in nodes))
    assert set(json.loads(store.values[KEY])) == {node.kid for node in nodes}


async def test_the_first_token_of_a_newcomer_is_accepted(tmp_path: Path) -> None:
    """By nodes that have exchanged nothing since it came, and by each that started with it."""
    store, clock = Kept(), Clock()
    old, *newcomers = (Node(tmp_path, name, store, clock) for name in "abc")
    await old.keys.introduce()
    await asyncio.gather(*(node.keys.introduce() for node in newcomers))
    for signer in newcomers:
        for node in (old, *newcomers):
            assert await node.accepts(signer.token())


async def test_a_newcomers_ticket_is_accepted(tmp_path: Path) -> None:
    """As its tokens are: registration and exchange may reach any node."""
    store, clock = Kept(), Clock()
    a, b = (Node(tmp_path, name, store, clock) for name in "ab")
    await b.keys.introduce()
    given = Ticket(SceneStr("3f2504e0-4f89-41d3-9a0c-0305e82c3301"), 3)
    ticket = b.issuer.mint_ticket(Purpose.EXCHANGE, given, until=clock.now() + 60)
    assert await a.verifier.verify_ticket(Purpose.EXCHANGE, ticket, clock.now()) == given


async def test_the_key_set_names_a_newcomer_at_once(tmp_path: Path) -> None:
    """A client that asks for it because of a token with an unknown key gets that key."""
    store, clock = Kept(), Clock()
    a, b = (Node(tmp_path, name, store, clock) for name in "ab")
    await a.keys.introduce()
    await b.keys.introduce()
    assert {key["kid"] for key in (await a.verifier.jwks())["keys"]} == {a.kid, b.kid}


async def test_unknown_keys_share_looks_at_the_store(tmp_path: Path) -> None:
    """However many come at once, and none of them is accepted; known keys cause none."""
    store, clock = Kept(), Clock()
    node, stranger = Node(tmp_path, "a", store, clock), Node(tmp_path, "b", Kept(), clock)
    assert await node.accepts(node.token())
    assert store.recalled == 0
    for looks in (1, 2):
        tries = [node.accepts(stranger.token()) for _ in range(50)]
        answers = await asyncio.gather(*tries, return_exceptions=True)
        assert {type(answer) for answer in answers} == {UnknownKey}
        assert store.recalled == looks


@pytest.mark.parametrize("fault", ["away", "hangs"])
async def test_without_the_store_an_unknown_key_is_neither_good_nor_bad(
    tmp_path: Path, fault: str
) -> None:
    """The one who asks is told so in time; the key set goes on with what is known."""
    store, clock = Kept(), Clock()
    node, stranger = (Node(tmp_path, name, store, clock) for name in "ab")
    setattr(store, fault, True)
    tries = [node.accepts(stranger.token()) for _ in range(3)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert [key["kid"] for key in (await node.verifier.jwks())["keys"]] == [node.kid]
    assert await node.accepts(node.token())
