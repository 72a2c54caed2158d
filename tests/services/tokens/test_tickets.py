"""Tickets: signed papers about a scene, each good for one purpose, on every node, for its time."""

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import TokenError, TokenExpired
from services.ids import SceneStr
from services.tokens.claims import Purpose, Ticket
from services.tokens.issuer import LEEWAY_SECONDS, Issuer
from services.tokens.keys import generate
from tests.services.tokens.test_issuer import ISSUER, NOW, issuer_of, minted, signed

TICKET = Ticket(SceneStr("3f2504e0-4f89-41d3-9a0c-0305e82c3301"), 3)
CLAIMS = {
    "iss": "https://login.test",
    "sub": TICKET.scene_str,
    "aud": "scanpush/exchange",
    "exp": NOW + 60,
    "seq": 3,
}


def ticket(purpose: Purpose = Purpose.EXCHANGE, issuer: Issuer = ISSUER) -> str:
    return issuer.mint_ticket(purpose, TICKET, until=NOW + 59.5)


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_ticket_says_what_it_was_made_for(purpose: Purpose) -> None:
    """Until the end of its scene's state, and a little for clocks that differ."""
    paper = ticket(purpose)
    assert ISSUER.verify_ticket(purpose, paper, NOW) == TICKET
    assert ISSUER.verify_ticket(purpose, paper, NOW + 59 + LEEWAY_SECONDS) == TICKET


def test_a_late_ticket_is_told_from_a_false_one() -> None:
    """Its holder is told that it is over."""
    with pytest.raises(TokenExpired):
        ISSUER.verify_ticket(Purpose.EXCHANGE, ticket(), NOW + 60 + LEEWAY_SECONDS)


def test_no_ticket_stands_in_for_another() -> None:
    """Nor for a login token, nor a login token for it."""
    with pytest.raises(TokenError):
        ISSUER.verify_ticket(Purpose.REGISTER, ticket(Purpose.EXCHANGE), NOW)
    with pytest.raises(TokenError):
        ISSUER.verify(ticket(), NOW)
    with pytest.raises(TokenError):
        ISSUER.verify_ticket(Purpose.EXCHANGE, minted(), NOW)


def test_another_node_knows_it_again() -> None:
    """By the public key it has learned."""
    other = issuer_of(generate("ES256"))
    with pytest.raises(TokenError):
        other.verify_ticket(Purpose.EXCHANGE, ticket(), NOW)
    other.trust(ISSUER.jwks()["keys"])
    assert other.verify_ticket(Purpose.EXCHANGE, ticket(), NOW) == TICKET


def test_nothing_of_a_login_is_in_it() -> None:
    """Neither the person nor the token's id."""
    claims = jwt.decode(ticket(), options={"verify_signature": False})
    assert claims == CLAIMS


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.test"},
        {"aud": "scanpush/register"},
        {"aud": "scanpush"},
        {"sub": "user-1"},
        {"sub": None},
        {"seq": "3"},
        {"seq": True},
        {"exp": None},
    ],
)
def test_a_wrong_claim_is_refused_though_we_signed_it(change: dict[str, object]) -> None:
    """Each claim is looked at for itself."""
    header = {"typ": "exchange+jwt"}
    assert ISSUER.verify_ticket(Purpose.EXCHANGE, signed(CLAIMS, header), NOW) == TICKET
    with pytest.raises(TokenError):
        ISSUER.verify_ticket(Purpose.EXCHANGE, signed({**CLAIMS, **change}, header), NOW)


@given(st.text())
def test_hostile_text_only_ever_raises_one_error(text: str) -> None:
    """Whatever is sent."""
    with pytest.raises(TokenError):
        ISSUER.verify_ticket(Purpose.EXCHANGE, text, NOW)
