"""When a new key signs: nodes that start and stop, on a store and a clock that the tests turn."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ids import UserId
from services.settings.models import JwtSettings
from services.tokens.claims import Claims
from services.tokens.issuer import Issuer
from services.tokens.keys import (
    Key,
    KeySet,
    add_key,
    generate,
    open_keys,
    remove_key,
    shared_secret,
)
from services.tokens.verifier import JWKS_MAX_AGE_SECONDS, KeyRotation
from tests.clocks import START, StandingClock

AHEAD = 900


@dataclass
class Kept:
    """`remember` of a store."""

    values: dict[str, str] = field(default_factory=dict)

    async def remember(self, key: str, value: str, ttl_seconds: float) -> str:
        return self.values.setdefault(key, value)


class Node:
    """One start of a node."""

    def __init__(self, keys: KeySet, store: Kept, clock: StandingClock) -> None:
        self.issuer = Issuer(keys, issuer="i", audience="a")
        self.clock = clock
        self.rotations = [
            KeyRotation(
                keys.able_to_sign(algorithm),
                self.issuer,
                store,  # type: ignore[arg-type]
                clock,
                publish_ahead_seconds=AHEAD,
            )
            for algorithm in keys.algorithms
        ]
        self.rotation = self.rotations[0]

    async def start(self) -> "Node":
        for rotation in self.rotations:
            await rotation.begin()
        return self

    def token(self) -> str:
        now = int(self.clock.now())
        claims = Claims(jti="j", iat=now, exp=now + 7200, is_new=False)
        return self.issuer.mint(subject=UserId("u"), claims=claims, account="default", amr=["x"])

    def kid(self) -> str:
        """The key that signs now."""
        self.rotation.choose()
        return str(jwt.get_unverified_header(self.token())["kid"])


def test_the_default_is_twice_what_verifiers_may_keep() -> None:
    """And more than the ten minutes for which some keep a JWKS whatever its headers say."""
    assert JwtSettings().publish_ahead_seconds >= max(2 * JWKS_MAX_AGE_SECONDS, 600)


@pytest.mark.gen_test
async def test_the_first_key_signs_at_once(tmp_path: Path) -> None:
    """A server that starts for the first time has no other."""
    keys = open_keys(JwtSettings(key_file=tmp_path / "keys.json"))
    node = await Node(keys, Kept(), StandingClock()).start()
    assert node.kid() == keys.signing.kid


@pytest.mark.gen_test
async def test_a_shared_secret_signs() -> None:
    """It is published nowhere, and waits for nothing."""
    secret = shared_secret(b"s" * 32)
    node = await Node(KeySet(secret, (secret,)), Kept(), StandingClock()).start()
    node.rotation.choose()
    assert node.issuer.verify(node.token(), node.clock.now()).subject == "u"


@pytest.mark.gen_test
async def test_a_rotation_from_its_first_to_its_last_step(tmp_path: Path) -> None:
    """The new key is published at once and signs later, on every node at the same time, however
    often one of them is started meanwhile; tokens of the old one stay good until it is removed."""
    path, store, clock = tmp_path / "keys.json", Kept(), StandingClock()
    settings = JwtSettings(key_file=path)
    first = open_keys(settings).signing
    running = await Node(open_keys(settings), store, clock).start()
    old = running.token()
    second = add_key(path, "ES256")
    clock.seconds += 10_000
    a = await Node(open_keys(settings), store, clock).start()
    assert {key["kid"] for key in a.issuer.jwks()["keys"]} == {first.kid, second.kid}
    assert a.kid() == running.kid() == first.kid
    clock.seconds += AHEAD - 1
    b = await Node(open_keys(settings), store, clock).start()
    assert a.kid() == b.kid() == first.kid
    clock.seconds += 1
    c = await Node(open_keys(settings), store, clock).start()
    assert a.kid() == b.kid() == c.kid() == second.kid
    assert c.issuer.verify(old, START).subject == "u"
    remove_key(path, first.kid)
    d = await Node(open_keys(settings), store, clock).start()
    assert d.kid() == second.kid


@pytest.mark.gen_test
async def test_a_running_node_changes_its_key_by_itself(tmp_path: Path) -> None:
    """In the background, without a start; then the task ends."""
    settings, clock = JwtSettings(key_file=tmp_path / "keys.json"), StandingClock()
    open_keys(settings)
    new = add_key(tmp_path / "keys.json", "ES256")
    node = await Node(open_keys(settings), Kept(), clock).start()
    waiting = asyncio.create_task(node.rotation.choose_in_time())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    clock.seconds += AHEAD
    await node.rotation.choose_in_time()
    assert jwt.get_unverified_header(node.token())["kid"] == new.kid


@pytest.mark.gen_test
async def test_only_keys_of_the_configured_algorithm_sign(tmp_path: Path) -> None:
    """A key of another algorithm is published and never signs."""
    path = tmp_path / "keys.json"
    settings = JwtSettings(key_file=path)
    first = open_keys(settings).signing
    add_key(path, "EdDSA")
    clock = StandingClock()
    node = await Node(open_keys(settings), Kept(), clock).start()
    clock.seconds += 2 * AHEAD
    assert node.kid() == first.kid and len(node.issuer.jwks()["keys"]) == 2


@pytest.mark.gen_test
async def test_the_key_of_id_tokens_is_rotated_beside_the_other(tmp_path: Path) -> None:
    """Each algorithm for itself: the new RSA key waits until verifiers can know it, and the tokens
    of the configured algorithm go on with their key."""
    path, store, clock = tmp_path / "keys.json", Kept(), StandingClock()
    settings = JwtSettings(key_file=path)
    own, rsa = open_keys(settings).signing, open_keys(settings, ["RS256"]).keys[0]
    new = add_key(path, "RS256")
    node = await Node(open_keys(settings, ["RS256"]), store, clock).start()

    def kids() -> list[str]:
        for rotation in node.rotations:
            rotation.choose()
        tokens = [node.token(), node.issuer.sign({}, typ="JWT", algorithm="RS256")]
        return [str(jwt.get_unverified_header(token)["kid"]) for token in tokens]

    assert kids() == [own.kid, rsa.kid]
    assert {key["kid"] for key in node.issuer.jwks()["keys"]} == {own.kid, rsa.kid, new.kid}
    clock.seconds += AHEAD
    assert kids() == [own.kid, new.kid]


MANY_KEYS = [generate("EdDSA") for _ in range(5)]

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.just(0)),
        st.tuples(st.just("start"), st.integers(0, 2)),
        st.tuples(st.just("stop"), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.sampled_from([1, 60, AHEAD - 61, AHEAD - 1, AHEAD, 5000])),
        st.tuples(st.just("forget"), st.just(0)),
    ),
    max_size=30,
)


@given(STEPS)
def test_no_node_ever_signs_with_a_key_that_verifiers_may_not_know(
    steps: list[tuple[str, int]],
) -> None:
    """Keys are added, nodes started and stopped and the store forgets, in any order: every key that
    signs has been published for long enough, except for the very first."""
    clock, store, nodes = StandingClock(), Kept(), {}
    file: list[Key] = [MANY_KEYS[0]]
    published_at: dict[str, float] = {MANY_KEYS[0].kid: 0}
    for step, value in steps:
        if step == "add" and len(file) < len(MANY_KEYS):
            file.insert(0, MANY_KEYS[len(file)])
        elif step == "start":
            nodes[value] = Node(KeySet(file[0], tuple(file)), store, clock)
            for key in file:
                published_at.setdefault(key.kid, clock.now())
            asyncio.run(nodes[value].start())
        elif step == "stop":
            nodes.pop(value, None)
        elif step == "wait":
            clock.seconds += value
        elif step == "forget":
            store.values.clear()
        for node in nodes.values():
            assert clock.now() - published_at[node.kid()] >= AHEAD
