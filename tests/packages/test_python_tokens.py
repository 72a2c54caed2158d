"""packages/python accepts the tokens that it must, and nothing else."""

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest

from scanpush_client import AccessClaims, ExpiredToken, InvalidToken, LoginClaims, Scanpush
from services.ids import SceneStr, UserId
from services.tokens.claims import Claims, Purpose, Ticket
from services.tokens.issuer import Issuer
from services.tokens.keys import KeySet, generate, shared_secret
from tests.packages.fake_scanpush import URL, FakeScanpush, signed

NOW = int(time.time())
"""When the tests were collected, which may be minutes before they run."""
SECRET = "a secret of more than 32 bytes for HS256"


@pytest.fixture(scope="module")
def fake() -> FakeScanpush:
    return FakeScanpush()


@pytest.fixture
def scanpush(fake: FakeScanpush) -> Scanpush:
    return Scanpush(URL, http=fake.sync_http())


def signed_by(fake: FakeScanpush) -> Issuer:
    """The server's own issuer, with the key that the fake publishes."""
    key = fake.keys[0]
    return Issuer(KeySet(key, (key,)), issuer=URL, audience="scanpush")


def test_the_servers_own_tokens_are_accepted(fake: FakeScanpush, scanpush: Scanpush) -> None:
    """With every claim."""
    claims = Claims(jti="j", iat=NOW, exp=NOW + 86400, is_new=True)
    token = signed_by(fake).mint(subject=UserId("u1"), claims=claims, account="a", amr=["wechat"])
    said = scanpush.verify(token)
    assert said == LoginClaims("u1", "a", ("wechat",), "j", NOW - 10, NOW + 86400, None, said.all)
    assert said.all["iss"] == URL and "u1" in repr(said) and "iss" not in repr(said)


def test_the_session_is_told(fake: FakeScanpush, scanpush: Scanpush) -> None:
    """As `sid`."""
    assert scanpush.verify(fake.token(sid="s1")).sid == "s1"


@pytest.mark.parametrize("purpose", Purpose)
def test_tickets_are_no_login_tokens(
    fake: FakeScanpush, scanpush: Scanpush, purpose: Purpose
) -> None:
    """They allow one step of a login."""
    ticket = Ticket(SceneStr("3f2504e0-4f89-41d3-9a0c-0305e82c3301"), 1)
    with pytest.raises(InvalidToken):
        scanpush.verify(signed_by(fake).mint_ticket(purpose, ticket, until=NOW + 86400))


WRONG: dict[str, dict[str, Any]] = {
    "of another issuer": {"iss": "https://other.example.com"},
    "for another audience": {"aud": "other"},
    "for several audiences": {"aud": ["other", "another"]},
    "not valid yet": {"nbf": NOW + 86400},
    "issued in the future": {"iat": NOW + 86400},
    "without a user": {"sub": None},
    "with an empty user": {"sub": ""},
    "with a number for a user": {"sub": 7},
    "without an end": {"exp": None},
    "without an id": {"jti": None},
    "without an account": {"account": None},
    "with a text for amr": {"amr": "wechat"},
    "with an empty session": {"sid": ""},
    "an access token": {"header": {"typ": "at+jwt"}},
    "without a type": {"header": {"typ": None}},
    "an ID token by its nonce": {"nonce": "n"},
    "an ID token by its at_hash": {"at_hash": "h"},
    "an ID token by its auth_time": {"auth_time": NOW},
    "with a critical header": {"header": {"crit": ["b64"], "b64": True}},
    "without a key's name": {"header": {"kid": None}},
    "of an unknown key": {"header": {"kid": "other"}},
    "with a number for a key's name": {"header": {"kid": 7}},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_token_is_refused(fake: FakeScanpush, scanpush: Scanpush, wrong: str) -> None:
    """Each differs in one thing from a token that is accepted."""
    scanpush.verify(fake.token())
    with pytest.raises(InvalidToken):
        scanpush.verify(fake.token(**WRONG[wrong]))


def test_expiry_has_an_error_of_its_own(fake: FakeScanpush, scanpush: Scanpush) -> None:
    """And the leeway of a minute."""
    scanpush.verify(fake.token(exp=int(time.time()) - 5))
    with pytest.raises(ExpiredToken):
        scanpush.verify(fake.token(exp=NOW - 600))


def unsigned(token: str) -> str:
    head = base64.urlsafe_b64encode(json.dumps({"typ": "JWT", "alg": "none"}).encode())
    return f"{head.decode().rstrip('=')}.{token.split('.')[1]}."


def by_the_public_key(fake: FakeScanpush) -> str:
    """HS256 under what is public: the attack on verifiers that let the token choose."""
    header = {"typ": "JWT", "alg": "HS256", "kid": fake.keys[0].kid}
    claims = jwt.decode(fake.token(), options={"verify_signature": False})
    public = json.dumps(dict(fake.keys[0].jwk)).encode()
    return signed(header, claims, lambda text: hmac.digest(public, text, "sha256"))


def by_another_key(fake: FakeScanpush) -> str:
    return fake.token(key=generate("ES256"), header={"kid": fake.keys[0].kid})


def by_another_algorithm(fake: FakeScanpush) -> str:
    return fake.token(key=generate("EdDSA"), header={"kid": fake.keys[0].kid})


FORGED = {
    "empty": lambda fake: "",
    "no token": lambda fake: "a.b.c",
    "nested too deep": lambda fake: base64.urlsafe_b64encode(b"[" * 4000).decode() + ".e30.x",
    "too long": lambda fake: fake.token(more="x" * 9000),
    "unsigned": lambda fake: unsigned(fake.token()),
    "changed": lambda fake: fake.token()[:-8] + "AAAAAAAA",
    "signed by the public key": by_the_public_key,
    "signed by another key": by_another_key,
    "signed by another algorithm": by_another_algorithm,
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_token_is_refused(fake: FakeScanpush, scanpush: Scanpush, forged: str) -> None:
    """And the error quotes nothing of it."""
    token = FORGED[forged](fake)
    with pytest.raises(InvalidToken) as caught:
        scanpush.verify(token)
    assert not token or token not in str(caught.value)


def test_an_access_token_is_verified_for_its_client(fake: FakeScanpush, scanpush: Scanpush) -> None:
    """With its scopes."""
    said = scanpush.verify_access_token(fake.access_token(), audience="grafana")
    assert isinstance(said, AccessClaims)
    assert (said.sub, said.client_id, said.scope) == ("u1", "grafana", {"openid", "profile"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "other"},
        {"header": {"typ": "JWT"}},
        {"client_id": None},
        {"exp": NOW - 600},
        {"scope": ["openid"]},
    ],
    ids=["audience", "type", "client", "expired", "scope"],
)
def test_a_wrong_access_token_is_refused(
    fake: FakeScanpush, scanpush: Scanpush, wrong: dict[str, Any]
) -> None:
    """A login token and an ID token, too: by the type."""
    with pytest.raises(InvalidToken):
        token = fake.access_token(**wrong)
        scanpush.verify_access_token(token, audience="grafana")


@pytest.mark.parametrize("algorithm", ["EdDSA", "RS256"])
def test_other_algorithms_by_their_setting(algorithm: Any) -> None:
    """Beside a key of another kind, which signs for other readers."""
    fake = FakeScanpush()
    fake.keys = [generate(algorithm), *fake.keys]
    scanpush = Scanpush(URL, algorithm=algorithm, http=fake.sync_http())
    assert scanpush.verify(fake.token()).sub == "u1"
    with pytest.raises(InvalidToken):
        scanpush.verify(fake.token(key=fake.keys[1]))


def test_a_shared_secret_verifies_without_a_request() -> None:
    """HS256: no key set, no name of a key."""
    fake = FakeScanpush()
    scanpush = Scanpush(URL, algorithm="HS256", secret=SECRET, http=fake.sync_http())
    key = shared_secret(SECRET.encode())
    issuer = Issuer(KeySet(key, (key,)), issuer=URL, audience="scanpush")
    claims = Claims(jti="j", iat=NOW, exp=NOW + 86400, is_new=True)
    token = issuer.mint(subject=UserId("u1"), claims=claims, account="a", amr=["x"])
    assert scanpush.verify(token).sub == "u1"
    with pytest.raises(InvalidToken):
        scanpush.verify(FakeScanpush().token())
    assert fake.asked == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "login.example.com"},
        {"url": "https://login.example.com/?x=1"},
        {"algorithm": "HS256"},
        {"secret": SECRET},
        {"algorithm": "HS256", "secret": "short"},
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_at_once(wrong: dict[str, Any]) -> None:
    """The error names the argument and quotes no secret."""
    with pytest.raises(ValueError, match=r"^(url|secret): ") as caught:
        Scanpush(**{"url": URL, "http": FakeScanpush().sync_http(), **wrong})
    assert SECRET not in str(caught.value)


def test_the_providers_issuer_may_be_another() -> None:
    """With `jwt.issuer`, which names the issuer of login tokens only."""
    fake = FakeScanpush()
    scanpush = Scanpush(URL, issuer="a-name", http=fake.sync_http())
    token = fake.access_token()
    assert scanpush.verify_access_token(token, audience="grafana", issuer=URL).sub == "u1"
    with pytest.raises(InvalidToken):
        scanpush.verify_access_token(token, audience="grafana")


def test_access_tokens_are_never_signed_by_a_secret() -> None:
    """Their readers are many."""
    http = FakeScanpush().sync_http()
    scanpush = Scanpush(URL, algorithm="HS256", secret=SECRET, http=http)
    with pytest.raises(ValueError, match="key pair"):
        scanpush.verify_access_token("x", audience="grafana")
