"""Refresh tokens: how they are written, derived and read, and the key from which they come.

A token is base64url without padding (71 characters) of

    1 byte    the version, 1
    16 bytes  the session's id
    4 bytes   the generation, big-endian
    32 bytes  HMAC-SHA256 of the above, under the server's key

What proves a token is its SHA-256 in the store. The key only derives: the same token at each
delivery of a login, and the same successor when an answer was lost; and it tells a token that was
issued and used before (a theft, RFC 9700, section 4.14.2) from one that never was. So a key that
is lost or changed ends no session.

The key is derived from the signing keys where all nodes have the same ones, which is one node, or
HS256; other nodes share one through their store (`SharedKey`).
"""

import asyncio
import base64
import binascii
import hmac
import logging
import secrets
import struct
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.errors import StoreUnavailable
from services.ids import SceneStr, secret_hash
from services.key_values import KeyValues
from services.sessions.states import SessionId
from services.tokens.keys import KeySet, PrivateKey

log = logging.getLogger("scanpush.sessions")

VERSION = 1
CHARACTERS = 71
"""Of a refresh token."""

MAX_CHARACTERS = 512
"""Nothing longer is even looked at."""

KEY_BYTES = 32

_HEAD = struct.Struct(">B16sI")
LAST_GENERATION = 2**32 - 1

KEY = "refresh-token-key"
KEY_KEPT_SECONDS = 366 * 86400
"""As long as a session may live."""
LOOK_SECONDS = 30
RENEW_SECONDS = 86400


class Presented(NamedTuple):
    """A refresh token as its bearer sent it: nothing in it is proven but that `is_genuine`."""

    session_id: SessionId
    generation: int
    token_hash: bytes
    is_genuine: bool
    """Signed by a key of this server."""


class RefreshTokens:
    """Derives tokens from the first of its keys, and knows those of all of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.keys = tuple(keys)

    def derive(self, session_id: SessionId, generation: int) -> str:
        """The session's token of that generation."""
        head = _HEAD.pack(VERSION, session_bytes(session_id), generation)
        return _text(head + hmac.digest(self.keys[0], b"refresh|" + head, "sha256"))

    def jti(self, session_id: SessionId, generation: int) -> str:
        """The id of the access token that comes with that token."""
        head = _HEAD.pack(VERSION, session_bytes(session_id), generation)
        return _text(hmac.digest(self.keys[0], b"jti|" + head, "sha256")[:16])

    def read(self, text: str) -> Presented | None:
        """What `text` says; None where it is no refresh token at all."""
        if len(text) != CHARACTERS:
            return None
        try:
            # Discards nothing that is not of the alphabet, unlike base64's own functions.
            raw = binascii.a2b_base64(
                text.replace("-", "+").replace("_", "/") + "=", strict_mode=True
            )
        except ValueError:
            return None
        head, mac = raw[: _HEAD.size], raw[_HEAD.size :]
        version, id_bytes, generation = _HEAD.unpack(head)
        # The last generation has no successor: no session lives so long, but a forger may write it.
        if version != VERSION or generation == LAST_GENERATION or _text(raw) != text:
            return None
        is_genuine = any(
            hmac.compare_digest(hmac.digest(key, b"refresh|" + head, "sha256"), mac)
            for key in self.keys
        )
        return Presented(SessionId(_text(id_bytes)), generation, secret_hash(text), is_genuine)


class SharedKey:
    """Has `tokens` derive from one key that all nodes share, through their store.

    Where the store has lost it, the first node that looks puts its own back. Where another came
    in its place, it is used from then on, and tokens of the one before are still known.

    With this key and a session's id current tokens can be derived: the store that has it must be
    guarded as signing keys are (docs/security.md).
    """

    def __init__(self, tokens: RefreshTokens, store: KeyValues) -> None:
        self._tokens = tokens
        self._store = store

    async def introduce(self) -> None:
        """To be called before the first login.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        own = self._tokens.keys[0].hex()
        kept = bytes.fromhex(await self._store.remember(KEY, own, KEY_KEPT_SECONDS))
        if kept != self._tokens.keys[0]:
            self._tokens.keys = (kept, *self._tokens.keys[:1])

    async def renew_forever(self) -> None:
        """For a background task."""
        left = RENEW_SECONDS
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            left -= LOOK_SECONDS
            try:
                await self.introduce()
                if left <= 0:
                    await self._store.replace(KEY, self._tokens.keys[0].hex(), KEY_KEPT_SECONDS)
                    left = RENEW_SECONDS
            except StoreUnavailable as error:
                log.debug("the key of refresh tokens is not renewed: %s", error)


def derived_keys(keys: KeySet) -> list[bytes]:
    """The keys of refresh tokens that belong to a node's signing keys, the newest first."""
    private = {key.kid: key.private for key in (keys.signing, *keys.keys)}
    return [_derived(key) for key in private.values() if key is not None]


def _derived(private: PrivateKey | bytes) -> bytes:
    if not isinstance(private, bytes):
        private = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    hkdf = HKDF(SHA256(), KEY_BYTES, salt=None, info=b"scanpush refresh tokens")
    return hkdf.derive(private)


def new_session_id() -> SessionId:
    return SessionId(_text(secrets.token_bytes(16)))


def session_of_scene(scene_str: SceneStr) -> SessionId:
    """The id of the session that a scene's login begins: the same however often it is tried."""
    return SessionId(_text(secret_hash(f"session:{scene_str}")[:16]))


def session_bytes(session_id: SessionId) -> bytes:
    """The sixteen bytes of an id. Raises `ValueError` on anything else."""
    return base64.urlsafe_b64decode(session_id + "==")


def _text(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).rstrip(b"=").decode().translate(_URL_SAFE)


_URL_SAFE = str.maketrans("+/", "-_")
