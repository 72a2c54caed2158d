"""C14: tokens that the server did not sign open nothing, by any trick of RFC 8725."""

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.tokens.issuer import BACKDATED_SECONDS
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def logged_in(stack: Stack) -> str:
    page = await stack.begin()
    await stack.scan(page)
    return str((await page.poll()).json()["login"]["token"])


async def me(stack: Stack, token: str) -> int:
    bearer = {"Authorization": f"Bearer {token}"}
    return (await stack.http.get("/api/me", headers=bearer)).status_code


async def test_every_forged_token_is_401(tmp_path: Path) -> None:
    """none, HS256 with the public key, foreign keys, kid tricks, wrong claims and types."""
    async with Stack(tmp_path) as stack:
        good = await logged_in(stack)
        assert await me(stack, good) == 200
        claims = jwt.decode(good, options={"verify_signature": False})
        header = jwt.get_unverified_header(good)
        jwk = (await stack.http.get("/.well-known/jwks.json")).json()["keys"][0]
        assert jwk["kid"] == header["kid"] and "d" not in jwk
        public = jwt.PyJWK(jwk).key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        stranger = ec.generate_private_key(ec.SECP256R1())
        key = jwt.PyJWK(json.loads((tmp_path / "keys.json").read_text())["keys"][0]).key

        def forged(changes: dict[str, Any], headers: dict[str, Any], with_key: Any = key) -> str:
            kept = {name: v for name, v in {**claims, **changes}.items() if v is not None}
            named = {name: v for name, v in {**header, **headers}.items() if v is not None}
            return jwt.encode(kept, with_key, "ES256", named)

        assert await me(stack, forged({}, {})) == 200
        now = int(time.time())
        bad = [
            jwt.encode(claims, "", "none", {"kid": header["kid"]}),
            _hs256(claims, public, header["kid"]),
            forged({}, {}, stranger),
            forged({}, {"kid": "unknown"}),
            forged({}, {"kid": "../../keys.json"}),
            forged({}, {"kid": None}),
            forged({}, {"typ": "at+jwt"}),
            forged({}, {"jku": "https://evil.example/jwks"}, stranger),
            forged({}, {"jwk": jwk}, stranger),
            forged({"exp": now - 120}, {}),
            forged({"nbf": now + 3600}, {}),
            forged({"iss": "https://evil.example"}, {}),
            forged({"aud": "another"}, {}),
            forged({"aud": None}, {}),
            forged({"exp": None}, {}),
            forged({"sub": None}, {}),
            forged({"sub": "nobody"}, {}),
            good[:-4] + "AAAA",
            good.split(".")[0] + "..",
            "a" * 9000,
        ]
        for number, token in enumerate(bad):
            assert await me(stack, token) == 401, number


async def test_the_token_says_what_the_contract_says(tmp_path: Path) -> None:
    """Claims and header of docs/contract.md; simulated logins say so; iss is never the Host
    header."""
    async with Stack(tmp_path) as stack:
        token = await logged_in(stack)
        claims = jwt.decode(token, options={"verify_signature": False})
        assert set(claims) == {"iss", "sub", "aud", "iat", "nbf", "exp", "jti", "account", "amr"}
        assert claims["amr"] == ["simulated"] and claims["account"] == "default"
        assert claims["iss"] == "scanpush" and claims["aud"] == "scanpush"
        assert claims["iat"] == claims["nbf"] == claims["exp"] - 7200 - BACKDATED_SECONDS
        header = jwt.get_unverified_header(token)
        assert (header["alg"], header["typ"]) == ("ES256", "JWT") and header["kid"]


@pytest.mark.parametrize("algorithm", ["EdDSA", "RS256", "HS256"])
async def test_other_algorithms_work_and_stay_apart(tmp_path: Path, algorithm: str) -> None:
    """A token of the ES256 server does not open this one, and HS256 publishes no key."""
    async with Stack(tmp_path) as stack:
        foreign = await logged_in(stack)
    secret = "s" * 40 if algorithm == "HS256" else ""
    jwt_section = {"algorithm": algorithm, "secret": secret, "key_file": tmp_path / "other.json"}
    async with Stack(tmp_path, jwt=jwt_section) as stack:
        token = await logged_in(stack)
        assert jwt.get_unverified_header(token)["alg"] == algorithm
        assert await me(stack, token) == 200 and await me(stack, foreign) == 401
        assert ("kid" in jwt.get_unverified_header(token)) == (algorithm != "HS256")
        keys = (await stack.http.get("/.well-known/jwks.json")).json()["keys"]
        assert [key["alg"] for key in keys] == ([] if algorithm == "HS256" else [algorithm])


def _hs256(claims: dict[str, Any], public: bytes, kid: str) -> str:
    """Signed with the public key as an HMAC secret, which PyJWT itself would refuse to do."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = part(json.dumps({"alg": "HS256", "typ": "JWT", "kid": kid}).encode())
    body = part(json.dumps(claims).encode())
    return f"{head}.{body}.{part(hmac.digest(public, f'{head}.{body}'.encode(), 'sha256'))}"
