"""services.tokens.issuer: what it mints verifies, and nothing else does (threat C14)."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from services.errors import TokenError
from services.ids import UserId
from services.tokens.claims import Claims, VerifiedClaims
from services.tokens.issuer import (
    BACKDATED_SECONDS,
    LEEWAY_SECONDS,
    MAX_TOKEN_CHARACTERS,
    Issuer,
)
from services.tokens.keys import Key, KeySet, generate, private_jwk, shared_secret

NOW = 1_700_000_000
ISSUED_AT = NOW - BACKDATED_SECONDS
CLAIMS = Claims(jti="jti-1", iat=NOW, exp=NOW + 7200, is_new=True)
KEY = generate("ES256")
FULL = {
    "iss": "https://login.test",
    "sub": "user-1",
    "aud": "scanpush",
    "iat": ISSUED_AT,
    "nbf": ISSUED_AT,
    "exp": NOW + 7200,
    "jti": "jti-1",
    "account": "default",
    "amr": ["wechat"],
}


def issuer_of(*keys: Key, issuer: str = "https://login.test") -> Issuer:
    return Issuer(KeySet(keys[0], keys), issuer=issuer, audience="scanpush")


ISSUER = issuer_of(KEY)


def minted(issuer: Issuer = ISSUER) -> str:
    return issuer.mint(subject=UserId("user-1"), claims=CLAIMS, account="default", amr=["wechat"])


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def signed(
    claims: Mapping[str, Any], header: Mapping[str, Any] | None = None, key: Key = KEY
) -> str:
    """A token properly signed by `key`, with any claims and header."""
    head = {"kid": key.kid, "typ": "JWT"} | dict(header or {})
    return jwt.encode(dict(claims), key.private, key.algorithm, head)  # type: ignore[arg-type]


def forged(header: Mapping[str, Any], sign_with: bytes = b"") -> str:
    """A token with any header at all, signed with HMAC or not."""
    text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(FULL).encode())}"
    signature = hmac.new(sign_with, text.encode(), hashlib.sha256).digest() if sign_with else b""
    return f"{text}.{b64(signature)}"


def refused(token: str, issuer: Issuer = ISSUER, now: float = NOW) -> str:
    with pytest.raises(TokenError) as caught:
        issuer.verify(token, now)
    assert len(token) < 8 or token not in str(caught.value)
    return str(caught.value)


def test_a_token_holds_the_claims_of_the_contract() -> None:
    """Exactly these, and the header names the key and the type."""
    header, payload, _ = minted().split(".")
    assert json.loads(unb64(payload)) == FULL
    assert json.loads(unb64(header)) == {"alg": "ES256", "kid": KEY.kid, "typ": "JWT"}


def test_minting_again_says_the_same() -> None:
    """Every delivery signs the claims fixed once."""
    assert minted().split(".")[1] == minted().split(".")[1]


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_what_is_minted_verifies(algorithm: str) -> None:
    """With every kind of key pair."""
    issuer = issuer_of(generate(algorithm))
    assert issuer.verify(minted(issuer), NOW) == VerifiedClaims(
        UserId("user-1"), "default", ("wechat",), "jti-1", ISSUED_AT, NOW + 7200
    )


def test_a_shared_secret_works_too() -> None:
    """HS256 verifies and publishes nothing."""
    issuer = issuer_of(shared_secret(b"s" * 32))
    assert issuer.verify(minted(issuer), NOW).jti == "jti-1"
    assert issuer.jwks() == {"keys": []}


@pytest.mark.parametrize("header", [{}, {"kid": "secret"}], ids=["no-kid", "kid-of-older-versions"])
def test_a_shared_secret_has_no_name(header: dict[str, str]) -> None:
    """A verifier that finds a ``kid`` looks for a key set; tokens of older versions stay valid."""
    key = shared_secret(b"s" * 32)
    issuer = issuer_of(key)
    assert json.loads(unb64(minted(issuer).split(".")[0])) == {"alg": "HS256", "typ": "JWT"}
    token = jwt.encode(FULL, b"s" * 32, "HS256", header)
    assert issuer.verify(token, NOW).jti == "jti-1"
    refused(token, ISSUER)


def test_a_stranger_verifies_with_the_published_key() -> None:
    """The JWKS is all that another program needs."""
    (jwk,) = ISSUER.jwks()["keys"]
    options: Any = {"verify_exp": False}
    claims = jwt.decode(
        minted(), jwt.PyJWK(jwk).key, ["ES256"], audience="scanpush", options=options
    )
    assert claims["sub"] == "user-1"


def test_the_old_key_still_verifies_after_a_rotation() -> None:
    """All keys of the set verify, the newest signs."""
    new = generate("EdDSA")
    rotated = issuer_of(new, KEY)
    assert rotated.verify(minted(), NOW).jti == "jti-1"
    assert jwt.get_unverified_header(minted(rotated))["kid"] == new.kid


# Other nodes


def test_another_nodes_key_verifies_once_trusted() -> None:
    """Nodes with keys of their own accept one another, and the JWKS is the union."""
    other = issuer_of(generate("ES256"))
    node = issuer_of(KEY)
    refused(minted(other), node)
    assert node.trust(other.jwks()["keys"]) == 1
    assert node.verify(minted(other), NOW).subject == "user-1"
    assert len(node.jwks()["keys"]) == 2


def test_trusting_again_replaces_what_was_trusted() -> None:
    """A node that left is forgotten; the issuer's own keys stay."""
    other, node = issuer_of(generate("ES256")), issuer_of(KEY)
    node.trust(other.jwks()["keys"])
    node.trust([])
    refused(minted(other), node)
    assert node.verify(minted(), NOW)


def test_a_foreign_key_cannot_take_our_name() -> None:
    """The name is computed, so a key under the issuer's kid counts under its own."""
    evil = generate("ES256")
    node = issuer_of(KEY)
    node.trust([dict(evil.jwk) | {"kid": KEY.kid}])
    refused(signed(FULL, {"kid": KEY.kid}, evil), node)
    assert node.verify(minted(), NOW)


@pytest.mark.parametrize(
    "jwk", [None, {}, {"kty": "oct", "k": "c2VjcmV0", "kid": "x"}, private_jwk(generate("ES256"))]
)
def test_what_is_no_public_key_is_passed_over(jwk: object) -> None:
    """Rubbish in the store costs nothing, and a symmetric key never counts."""
    node = issuer_of(KEY)
    assert node.trust([jwk]) == 0
    assert len(node.jwks()["keys"]) == 1


# Threat C14


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_no_algorithm_is_refused(algorithm: str) -> None:
    """RFC 8725, section 2.1."""
    refused(forged({"alg": algorithm, "kid": KEY.kid, "typ": "JWT"}))


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_hs256_signed_with_the_public_key_is_refused(encoding: Encoding) -> None:
    """The classic confusion: what is public is taken for a shared secret."""
    assert not isinstance(KEY.public, bytes)
    public = KEY.public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    refused(forged({"alg": "HS256", "kid": KEY.kid, "typ": "JWT"}, sign_with=public))


def test_hs256_signed_with_the_published_spelling_is_refused() -> None:
    """The JWK itself is no secret either."""
    text = json.dumps(dict(KEY.jwk)).encode()
    refused(forged({"alg": "HS256", "kid": KEY.kid, "typ": "JWT"}, sign_with=text))


def test_another_algorithm_than_the_keys_is_refused() -> None:
    """An EdDSA header on an ES256 key."""
    header, payload, signature = minted().split(".")
    changed = b64(json.dumps({"alg": "EdDSA", "kid": KEY.kid, "typ": "JWT"}).encode())
    assert "algorithm" in refused(f"{changed}.{payload}.{signature}")


@pytest.mark.parametrize(
    "kid",
    [
        "unknown",
        "",
        "../../../../dev/null",
        "/etc/passwd",
        "' OR 1=1 --",
        None,
        1,
        [],
        {},
        "k" * 999,
    ],
    ids=str,
)
def test_an_unknown_kid_is_refused(kid: object) -> None:
    """It is looked up among the known keys, and nothing else is done with it."""
    refused(forged({"alg": "ES256", "kid": kid, "typ": "JWT"}, sign_with=b"x"))


def test_a_missing_kid_is_refused() -> None:
    """Keys are not tried one after another."""
    refused(forged({"alg": "ES256", "typ": "JWT"}, sign_with=b"x"))


@pytest.mark.parametrize("member", ["jku", "x5u", "jwk", "x5c"])
def test_a_key_that_the_token_brings_along_is_not_used(member: str) -> None:
    """A stranger's key, wherever the token says it is (RFC 8725, section 3.10)."""
    evil = generate("ES256")
    places = {"jku": "https://evil.test/jwks", "x5u": "https://evil.test/c", "jwk": dict(evil.jwk)}
    header = {member: places.get(member, ["MII"])}
    refused(signed(FULL, header, evil))
    refused(signed(FULL, header | {"kid": KEY.kid}, evil))


@pytest.mark.parametrize("typ", ["at+jwt", "jwt", "JOSE", "", None, 1])
def test_a_wrong_type_is_refused(typ: object) -> None:
    """A token made for another purpose is not a login (RFC 8725, section 3.11)."""
    token = forged({"alg": "ES256", "kid": KEY.kid, "typ": typ}, sign_with=b"x")
    assert "type" in refused(token)


def test_a_critical_header_is_refused() -> None:
    """RFC 7515, section 4.1.11: what must be understood and is not ends it."""
    refused(signed(FULL, {"crit": ["exp"], "exp": 1}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"iss": "https://evil.test"}, "issuer"),
        ({"iss": ["https://login.test"]}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": "other"}, "audience"),
        ({"aud": None}, "audience"),
        ({"aud": ["scanpush", "other"]}, "audience"),
        ({"exp": NOW - LEEWAY_SECONDS}, "expired"),
        ({"exp": str(NOW + 60)}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": None}, "exp"),
        ({"nbf": NOW + LEEWAY_SECONDS + 1}, "yet"),
        ({"nbf": None}, "nbf"),
        ({"iat": NOW + LEEWAY_SECONDS + 1}, "yet"),
        ({"iat": None}, "iat"),
        ({"sub": ""}, "sub"),
        ({"sub": 5}, "sub"),
        ({"jti": None}, "jti"),
        ({"account": None}, "account"),
        ({"amr": "wechat"}, "amr"),
        ({"amr": [1]}, "amr"),
    ],
    ids=str,
)
def test_a_wrong_claim_is_refused_though_we_signed_it(change: dict[str, Any], words: str) -> None:
    """Each claim is checked for itself, type included; None stands for missing."""
    claims = {name: value for name, value in (FULL | change).items() if value is not None}
    # PyJWS signs any payload; PyJWT itself would refuse to make some of these.
    header = {"kid": KEY.kid, "typ": "JWT"}
    token = jwt.PyJWS().encode(
        json.dumps(claims).encode(), KEY.private, "ES256", header  # type: ignore[arg-type]
    )
    assert words in refused(token)


def test_the_leeway_is_small_and_works_both_ways() -> None:
    """Clocks of two nodes may be a few seconds apart, no more."""
    token = minted()
    assert ISSUER.verify(token, CLAIMS.exp + LEEWAY_SECONDS - 1)
    assert ISSUER.verify(token, ISSUED_AT - LEEWAY_SECONDS)
    assert "expired" in refused(token, now=CLAIMS.exp + LEEWAY_SECONDS)
    assert "yet" in refused(token, now=ISSUED_AT - LEEWAY_SECONDS - 1)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_changed_token_is_refused(part: int) -> None:
    """One character in any part."""
    parts = minted().split(".")
    parts[part] = ("A" if parts[part][0] != "A" else "B") + parts[part][1:]
    refused(".".join(parts))


def test_a_huge_token_is_refused_undecoded() -> None:
    """Even one that would verify."""
    token = signed(FULL | {"more": "x" * MAX_TOKEN_CHARACTERS})
    assert "longer" in refused(token)


@pytest.mark.parametrize("token", ["", ".", "..", "...", "a.b.c", "\u4f8b", "a" * 4096, "\ud800"])
def test_what_is_no_token_is_refused(token: str) -> None:
    """Without another exception."""
    refused(token)


def test_deep_json_in_the_header_is_refused() -> None:
    """Python's parser gives up on nesting with an error of its own kind."""
    refused(b64(b"[" * 3000) + ".e30.AA")


@given(st.text(max_size=200) | st.lists(st.binary(max_size=60), min_size=3, max_size=3))
def test_hostile_text_only_ever_raises_one_error(text: str | list[bytes]) -> None:
    """Whatever comes in the Authorization header."""
    refused(text if isinstance(text, str) else ".".join(b64(part) for part in text))


@given(
    st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jku", "zip"]),
        st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.text()),
    )
)
def test_hostile_headers_only_ever_raise_one_error(header: dict[str, object]) -> None:
    """With the right kid mixed in or not."""
    refused(forged({"kid": KEY.kid, "typ": "JWT", "alg": "ES256"} | header, sign_with=b"x"))
