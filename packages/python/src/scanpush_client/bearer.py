"""What all adapters share: the token of a request, and the answer to one that is not let in."""

from collections.abc import Mapping
from dataclasses import dataclass

from scanpush_client.tokens import InvalidToken, Unavailable


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that is not let in (RFC 6750, section 3)."""

    status: int
    headers: Mapping[str, str]
    code: str
    message: str

    def document(self) -> dict[str, dict[str, str]]:
        """The body, in the form of scanpush's own errors."""
        return {"error": {"code": self.code, "message": self.message}}


def bearer_token(authorization: str | None) -> str:
    """The token of an ``Authorization`` header (RFC 6750, section 2.1); empty if there is none."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def refusal(error: InvalidToken | Unavailable, token: str) -> Refusal:
    """How to answer where `Scanpush.verify` raised `error` for `token`.

    The client is not told why a token is not valid; the error's text is for the log.
    """
    if isinstance(error, Unavailable):
        headers = {"Retry-After": "5"}
        return Refusal(503, headers, "unavailable", "The login cannot be checked now; try again.")
    challenge = 'Bearer error="invalid_token"' if token else "Bearer"
    headers = {"WWW-Authenticate": challenge}
    return Refusal(401, headers, "unauthorized", "A valid login token is needed.")
