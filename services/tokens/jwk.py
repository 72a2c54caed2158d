"""One signing key, and its two spellings as a JSON Web Key (RFC 7517). Pure.

A key belongs to exactly one algorithm, which follows from its type and never from a token
(RFC 8725, section 3.1). Its name, the ``kid``, is its thumbprint (RFC 7638), so that two nodes
cannot give one name to two keys.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
)
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey
PublicKey = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey

RSA_BITS = 2048
"""The least that RFC 7518, section 3.3, allows for RS256, and what we make."""

ALGORITHMS: Mapping[tuple[str, str | None], str] = MappingProxyType(
    {("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA", ("RSA", None): "RS256"}
)
"""The algorithm of each kind of key, by ``kty`` and ``crv``."""

PUBLIC_MEMBERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
)
"""What makes up a public key, in the order its thumbprint takes (RFC 7638, section 3.2)."""


class KeyProblem(ValueError):
    """A JSON Web Key that we cannot use. The text holds nothing of the key."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key ready for use: building it anew for each token would cost more than signing.

    `private` is None for another node's key; both are bytes for HS256.
    """

    kid: str
    algorithm: str
    private: PrivateKey | bytes | None
    public: PublicKey | bytes
    jwk: Mapping[str, str]
    """The public spelling, for the JWKS; empty for HS256, which has none."""


def generate(algorithm: str) -> Key:
    """A new key pair for ES256, EdDSA or RS256."""
    match algorithm:
        case "ES256":
            return _of_private(generate_private_key(SECP256R1()))
        case "EdDSA":
            return _of_private(Ed25519PrivateKey.generate())
        case "RS256":
            return _of_private(generate_rsa(public_exponent=65537, key_size=RSA_BITS))
    raise KeyProblem(f"no key pair can be made for {algorithm}")


def shared_secret(secret: bytes) -> Key:
    """The key of HS256.

    Its name is a fixed word: the thumbprint of a secret would let others try guesses
    (RFC 7638, section 7).
    """
    return Key("secret", "HS256", secret, secret, MappingProxyType({}))


def private_jwk(key: Key) -> dict[str, str]:
    """The whole key as a JSON Web Key: a secret."""
    return {"kid": key.kid, "alg": key.algorithm, "use": "sig"} | _members(key.private)


def read_private(jwk: object) -> Key:
    """The key of a private JSON Web Key.

    The public half is derived from the private one, whatever the text says it is.

    Raises:
        KeyProblem: it is not one, or not for an algorithm of ours.
    """
    key = _read(jwk)
    if not isinstance(key, PrivateKey):
        raise KeyProblem("has no private part")
    return _of_private(key)


def read_public(jwk: object) -> Key:
    """The key of a public JSON Web Key, as another node publishes it.

    Raises:
        KeyProblem: it is not one, or not for an algorithm of ours, or holds a private part.
    """
    key = _read(jwk)
    if not isinstance(key, PublicKey):
        raise KeyProblem("has a private part")
    return _of_public(key)


def _read(jwk: object) -> PrivateKey | PublicKey:
    if not isinstance(jwk, Mapping):
        raise KeyProblem("is not a JSON object")
    curve = jwk.get("crv")
    algorithm = ALGORITHMS.get((str(jwk.get("kty")), None if curve is None else str(curve)))
    if algorithm is None or jwk.get("alg", algorithm) != algorithm:
        raise KeyProblem("is not a key for ES256, EdDSA or RS256")
    try:
        key = jwt.PyJWK(dict(jwk), algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        raise KeyProblem(f"is not a valid key for {algorithm}") from None
    if isinstance(key, RSAPrivateKey | RSAPublicKey) and key.key_size < RSA_BITS:
        raise KeyProblem(f"has fewer than {RSA_BITS} bits")
    if not isinstance(key, PrivateKey | PublicKey):
        raise KeyProblem(f"is not a valid key for {algorithm}")
    return key


def _of_private(private: PrivateKey) -> Key:
    public = _of_public(private.public_key())
    return Key(public.kid, public.algorithm, private, public.public, public.jwk)


def _of_public(public: PublicKey) -> Key:
    members = _members(public)
    names = PUBLIC_MEMBERS[members["kty"]]
    plain = {name: members[name] for name in names}
    algorithm = ALGORITHMS[members["kty"], members.get("crv")]
    kid = _thumbprint(plain)
    jwk = MappingProxyType({"kid": kid, "alg": algorithm, "use": "sig"} | plain)
    return Key(kid, algorithm, None, public, jwk)


def _thumbprint(members: Mapping[str, str]) -> str:
    """RFC 7638, section 3: SHA-256 of the needed members, sorted, without blanks."""
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _members(key: PrivateKey | PublicKey | bytes | None) -> dict[str, str]:
    members: dict[str, Any]
    match key:
        case EllipticCurvePrivateKey() | EllipticCurvePublicKey():
            members = ECAlgorithm.to_jwk(key, as_dict=True)
        case Ed25519PrivateKey() | Ed25519PublicKey():
            members = OKPAlgorithm.to_jwk(key, as_dict=True)
        case RSAPrivateKey() | RSAPublicKey():
            members = RSAAlgorithm.to_jwk(key, as_dict=True)
        case _:
            raise KeyProblem("a shared secret has no JSON Web Key")
    return {name: value for name, value in members.items() if isinstance(value, str)}
