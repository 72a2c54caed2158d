"""Refresh tokens: written, read, and the key they come from."""

import base64
import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ids import SceneStr, secret_hash
from services.sessions.states import SessionId
from services.sessions.tokens import (
    CHARACTERS,
    KEY,
    RefreshTokens,
    SharedKey,
    derived_keys,
    new_session_id,
    session_of_scene,
)
from services.settings.models import JwtSettings
from services.tokens.keys import add_key, open_keys

ONE, TWO = b"1" * 32, b"2" * 32
IDS = st.binary(min_size=16, max_size=16).map(
    lambda raw: SessionId(base64.urlsafe_b64encode(raw).rstrip(b"=").decode())
)
ON_LOOP = pytest.mark.gen_test


class Store:
    """`KeyValues` as two nodes use it, as far as they need it here."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def remember(self, key: str, value: str, ttl_seconds: float) -> str:
        return self.kept.setdefault(key, value)

    async def replace(self, key: str, value: str, ttl_seconds: float) -> str | None:
        before, self.kept[key] = self.kept.get(key), value
        return before

    async def recall(self, key: str) -> str | None:
        return self.kept.get(key)

    async def take(self, key: str) -> str | None:
        return self.kept.pop(key, None)

    async def count(self, key: str, ttl_seconds: float) -> int:
        raise NotImplementedError


@given(IDS, st.integers(1, 2**32 - 2))
def test_what_is_derived_is_read_back(session_id: SessionId, generation: int) -> None:
    """Session, generation, hash, and that it is genuine; the same whenever it is derived."""
    tokens = RefreshTokens([ONE])
    text = tokens.derive(session_id, generation)
    assert text == RefreshTokens([ONE, TWO]).derive(session_id, generation)
    assert len(text) == CHARACTERS and text.replace("-", "").replace("_", "").isalnum()
    read = tokens.read(text)
    assert read == (session_id, generation, secret_hash(text), True)


@given(IDS, st.integers(0, CHARACTERS - 1), st.sampled_from("AZaz09-_+/=é\n "))
def test_a_changed_character_is_noticed(session_id: SessionId, at: int, other: str) -> None:
    """It is no token at all, or not genuine; and never the same token in another spelling."""
    tokens = RefreshTokens([ONE])
    text = tokens.derive(session_id, 1)
    changed = text[:at] + other + text[at + 1 :]
    read = tokens.read(changed)
    assert changed == text or read is None or not read.is_genuine


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: raw.hex()))
def test_anything_else_is_no_token(text: str) -> None:
    """Whatever is sent: no error."""
    read = RefreshTokens([ONE]).read(text)
    assert read is None or not read.is_genuine


def test_every_key_knows_its_tokens() -> None:
    """The first derives; tokens of the others are genuine, those of a lost one are not."""
    session_id = new_session_id()
    old, both = RefreshTokens([ONE]), RefreshTokens([TWO, ONE])
    read = both.read(old.derive(session_id, 3))
    assert read is not None and read.is_genuine
    assert both.derive(session_id, 3) == RefreshTokens([TWO]).derive(session_id, 3)
    lost = RefreshTokens([TWO]).read(old.derive(session_id, 3))
    assert lost is not None and not lost.is_genuine and lost.generation == 3


def test_sessions_and_generations_share_nothing() -> None:
    """Neither refresh tokens nor token ids are the same for two of them."""
    tokens = RefreshTokens([ONE])
    pairs = [(one, number) for one in (new_session_id(), new_session_id()) for number in (1, 2)]
    derived = {tokens.derive(*pair) for pair in pairs} | {tokens.jti(*pair) for pair in pairs}
    assert len(derived) == 8


def test_a_scenes_session_has_one_id() -> None:
    """However often it is asked for, and none that another scene has."""
    one, two = SceneStr("a"), SceneStr("b")
    assert session_of_scene(one) == session_of_scene(one) != session_of_scene(two)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "HS256"])
def test_a_nodes_key_is_derived_from_its_signing_keys(tmp_path: Path, algorithm: str) -> None:
    """The same after each start; a new signing key comes first, and the one before is known."""
    settings = JwtSettings.model_validate(
        {"algorithm": algorithm, "key_file": tmp_path / "keys.json", "secret": "s" * 32}
    )
    first = derived_keys(open_keys(settings))
    assert first == derived_keys(open_keys(settings)) and len(first[0]) == 32
    if algorithm != "HS256":
        add_key(settings.key_file, algorithm)
        assert derived_keys(open_keys(settings))[1:] == first
    assert b"s" * 32 not in first


@ON_LOOP
async def test_nodes_share_one_key() -> None:
    """The first's; what the others would have derived is never asked for."""
    store = Store()
    nodes = [RefreshTokens([secrets.token_bytes(32)]) for _ in range(3)]
    for tokens in nodes:
        await SharedKey(tokens, store).introduce()
    session_id = new_session_id()
    assert len({tokens.derive(session_id, 1) for tokens in nodes}) == 1


@ON_LOOP
async def test_a_key_that_the_store_lost_comes_back() -> None:
    """From the first node that looks; where a new one came in between, old tokens are known."""
    store = Store()
    one, two = RefreshTokens([ONE]), RefreshTokens([TWO])
    shared = SharedKey(one, store)
    await shared.introduce()
    old = one.derive(new_session_id(), 1)
    store.kept.clear()
    await shared.introduce()
    assert store.kept[KEY] == ONE.hex()
    store.kept.clear()
    await SharedKey(two, store).introduce()
    await shared.introduce()
    assert one.keys == (TWO, ONE)
    read = one.read(old)
    assert read is not None and read.is_genuine
