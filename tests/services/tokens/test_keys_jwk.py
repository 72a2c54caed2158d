"""services.tokens.jwk: keys keep their spelling, their name and their one algorithm."""

import pytest

from services.tokens.keys import KeyProblem, generate, private_jwk, read_private, read_public

ALGORITHMS = ("ES256", "EdDSA", "RS256")

# RFC 7638, section 3.1: the example key and its thumbprint.
RFC_7638_KEY = {
    "kty": "RSA",
    "n": (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_"
        "BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
        "FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI"
        "4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    ),
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}


def test_the_name_of_a_key_is_its_thumbprint() -> None:
    """By the example of RFC 7638; the name it came with is not believed."""
    assert read_public(RFC_7638_KEY).kid == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_the_thumbprint_of_an_okp_key() -> None:
    """By the example of RFC 8037, appendix A.3."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert read_public(jwk).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_survives_its_spelling(algorithm: str) -> None:
    """Written and read again it is the same key."""
    key = generate(algorithm)
    again = read_private(private_jwk(key))
    assert (again.kid, again.algorithm, again.jwk) == (key.kid, algorithm, key.jwk)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_public_spelling_has_no_private_part(algorithm: str) -> None:
    """What is published cannot sign."""
    key = generate(algorithm)
    assert set(key.jwk) <= {"kid", "alg", "use", "kty", "crv", "x", "y", "e", "n"}
    assert read_public(key.jwk).private is None


def test_the_public_half_is_derived() -> None:
    """A file that claims another public half does not get that half published."""
    key, other = generate("EdDSA"), generate("EdDSA")
    mixed = private_jwk(key) | {"x": other.jwk["x"]}
    try:
        assert read_private(mixed).kid == key.kid
    except KeyProblem:
        pass  # refusing it is as good


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        [],
        {},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": 5, "y": []},
        {"kty": "EC", "crv": ["P-256"]},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        RFC_7638_KEY | {"alg": "HS256"},
    ],
)
def test_what_is_no_usable_key_is_a_problem(jwk: object) -> None:
    """Other kinds, broken ones and weak ones are refused, with one kind of exception."""
    with pytest.raises(KeyProblem):
        read_public(jwk)


def test_a_private_key_is_not_taken_for_a_public_one() -> None:
    """A node that publishes its private key is not helped in doing so."""
    with pytest.raises(KeyProblem, match="private"):
        read_public(private_jwk(generate("ES256")))


def test_a_public_key_cannot_sign() -> None:
    """A key file without private parts is broken."""
    with pytest.raises(KeyProblem, match="no private"):
        read_private(generate("ES256").jwk)
