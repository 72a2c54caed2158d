"""Login tokens, tickets and the OpenID Provider's tokens: signed from claims that are fixed before,
verified as RFC 8725 says.

Pure. The same claims give the same payload at every delivery. Verification trusts nothing that the
token says about itself: not its algorithm, not where its key could be found.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jwt
from pydantic_core import to_json

from services.errors import TokenError, TokenExpired, UnknownKey
from services.ids import SceneStr, UserId, is_scene_str
from services.tokens.claims import Claims, Purpose, Ticket, VerifiedClaims
from services.tokens.keys import SECRET_KID, Key, KeyProblem, KeySet, read_public

LEEWAY_SECONDS = 10
"""How far the clocks of two nodes may be apart."""

BACKDATED_SECONDS = 10
"""How long before the login ``iat`` and ``nbf`` are: a verifier whose clock is that far behind, and
that allows no leeway, accepts a token at once. ``exp`` is not affected."""

MAX_TOKEN_CHARACTERS = 4096
"""Those of `Issuer` have about 500. Nothing longer is even decoded."""

MAX_FOREIGN_KEYS = 256
"""Keys of other nodes that are kept at once."""

_TYPE = "JWT"


class Issuer:
    """Signs with one of this node's keys of each algorithm; verifies with all of them and the other
    nodes'.

    Args:
        keys: this node's. The newest of each algorithm signs until `sign_with` names another.
        issuer: the claim ``iss``, the same on every node (`Settings.token_issuer`).
        audience: the claim ``aud``.
    """

    def __init__(self, keys: KeySet, *, issuer: str, audience: str) -> None:
        self._own = keys
        self._issuer = issuer
        self._audience = audience
        self._jws = jwt.PyJWS()
        self._foreign: tuple[Key, ...] = ()
        self._known = {key.kid: key for key in keys.keys}
        self._signing: dict[str, Key] = {}
        for algorithm in keys.algorithms:
            self.sign_with(keys.able_to_sign(algorithm)[0])

    def sign_with(self, key: Key) -> None:
        """Sign with `key`, one of this node's, from now on, where its algorithm is asked for."""
        if key.private is None:
            raise ValueError("the signing key has no private part")
        self._signing[key.algorithm] = key
        if key.algorithm == self._own.signing.algorithm:
            self._private, self._algorithm = key.private, key.algorithm
            # A shared secret has no name: a verifier that finds one looks for a key of that name.
            self._header = {"typ": _TYPE} | ({} if key.kid == SECRET_KID else {"kid": key.kid})

    def mint(
        self,
        *,
        subject: UserId,
        claims: Claims,
        account: str,
        amr: Sequence[str],
        sid: str = "",
    ) -> str:
        """A token for `subject` that says exactly `claims`.

        ``amr`` holds how the person was recognised, ``simulated`` under the simulator; ``sid`` is
        the session, where the login began one.
        """
        issued_at = claims.iat - BACKDATED_SECONDS
        payload = {
            "iss": self._issuer,
            "sub": subject,
            "aud": self._audience,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": claims.exp,
            "jti": claims.jti,
            "account": account,
            "amr": list(amr),
        }
        if sid:
            payload["sid"] = sid
        return self._signed(payload, self._header)

    def mint_ticket(self, purpose: Purpose, ticket: Ticket, *, until: float) -> str:
        """A ticket that says exactly `ticket` and ends at `until`, the end of the scene's state.

        Nothing of it is stored: every node knows it by its signature.
        """
        payload = {
            "iss": self._issuer,
            "sub": ticket.scene_str,
            "aud": f"{self._audience}/{purpose}",
            "exp": math.ceil(until),
            "seq": ticket.seq,
        }
        return self._signed(payload, self._header | {"typ": _ticket_type(purpose)})

    def _signed(self, payload: Mapping[str, Any], header: dict[str, Any]) -> str:
        # PyJWT's lower half: the upper one would only look for dates among the claims.
        return self._jws.encode(to_json(payload), self._private, self._algorithm, header)

    def sign(self, claims: Mapping[str, Any], *, typ: str, algorithm: str = "") -> str:
        """A token of that type that says exactly `claims`.

        Args:
            algorithm: one of the key set's; by default the configured one.
        """
        key = self._signing[algorithm or self._algorithm]
        assert key.private is not None  # `sign_with` takes no other
        return self._jws.encode(
            to_json(claims), key.private, key.algorithm, {"typ": typ, "kid": key.kid}
        )

    def verify_ticket(self, purpose: Purpose, ticket: str, now: float) -> Ticket:
        """What `ticket` says, if a node signed it for that purpose and it is not over at `now`.

        Raises:
            TokenExpired: it was valid, and its time is over.
            UnknownKey: it may be another node's, whose key is not known here.
            TokenError: it is not valid.
        """
        claims = self.opened(ticket, _ticket_type(purpose))
        self._check_issuer(claims, f"{self._audience}/{purpose}")
        subject, seq, exp = _text(claims, "sub"), _time(claims, "seq"), _time(claims, "exp")
        if not is_scene_str(subject):
            raise TokenError("about no scene")
        if now >= exp + LEEWAY_SECONDS:
            raise TokenExpired("expired")
        return Ticket(SceneStr(subject), seq)

    def verify(self, token: str, now: float) -> VerifiedClaims:
        """The claims of `token`, if a node signed it and it is valid at `now`.

        Raises:
            UnknownKey: it may be another node's, whose key is not known here.
            TokenError: it is not; the text says why and is for the log, not for the client.
        """
        return self._checked(self.opened(token, _TYPE), now)

    def opened(self, token: str, typ: str) -> Mapping[str, Any]:
        """The claims of a token of that type, its signature verified; no claim is checked yet.

        Raises:
            UnknownKey: it may be another node's, whose key is not known here.
            TokenError: no node has signed it, or it is of another type.
        """
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise TokenError("longer than any that this server issues")
        key = self._key(_header(token), typ)
        try:
            payload = self._jws.decode(token, key.public, [key.algorithm])
            claims = json.loads(payload)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise TokenError("not signed by the key it names") from None
        if not isinstance(claims, dict):
            raise TokenError("without claims")
        return claims

    def trust(self, jwks: Iterable[object]) -> int:
        """Verify with these public keys too, the other nodes', in place of those given before.

        A key is known by its thumbprint, computed here, never by the name it comes with, so none
        can stand in for another. What is no usable public key is passed over. Returns how many
        are used.
        """
        found: dict[str, Key] = {}
        for jwk in jwks:
            try:
                key = read_public(jwk)
            except KeyProblem:
                continue
            if len(found) < MAX_FOREIGN_KEYS:
                found[key.kid] = key
        own = {key.kid: key for key in self._own.keys}
        self._foreign = tuple(key for kid, key in found.items() if kid not in own)
        self._known = found | own
        return len(found)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The document of ``/.well-known/jwks.json``: public keys of this node and the others."""
        return {"keys": [*self._own.public_jwks(), *(dict(key.jwk) for key in self._foreign)]}

    def _key(self, header: Mapping[str, Any], typ: str) -> Key:
        """The key that `header` names, among known ones (RFC 8725, sections 3.1, 3.10 and 3.11)."""
        if header.get("typ") != typ:
            raise TokenError("of another type")
        if "crit" in header:
            raise TokenError("with a critical header, of which we know none")
        # Tokens without a name are signed by a shared secret; older versions named it.
        kid = header.get("kid", SECRET_KID)
        key = self._known.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise UnknownKey("signed by a key that is not ours")
        if header.get("alg") != key.algorithm:
            raise TokenError("of another algorithm than its key")
        return key

    def _checked(self, claims: Mapping[str, Any], now: float) -> VerifiedClaims:
        self._check_issuer(claims, self._audience)
        iat, nbf, exp = (_time(claims, name) for name in ("iat", "nbf", "exp"))
        if now >= exp + LEEWAY_SECONDS:
            raise TokenExpired("expired")
        if max(iat, nbf) > now + LEEWAY_SECONDS:
            raise TokenError("not valid yet")
        amr = claims.get("amr")
        if not isinstance(amr, list) or not all(isinstance(item, str) for item in amr):
            raise TokenError("without a proper amr")
        sid = claims.get("sid", "")
        if not isinstance(sid, str):
            raise TokenError("without a proper sid")
        return VerifiedClaims(
            subject=UserId(_text(claims, "sub")),
            account=_text(claims, "account"),
            amr=tuple(amr),
            jti=_text(claims, "jti"),
            iat=iat,
            exp=exp,
            sid=sid,
        )

    def _check_issuer(self, claims: Mapping[str, Any], audience: str) -> None:
        if claims.get("iss") != self._issuer:
            raise TokenError("of another issuer")
        if claims.get("aud") != audience:
            raise TokenError("for another audience")


def _ticket_type(purpose: Purpose) -> str:
    return f"{purpose}+jwt"


def _header(token: str) -> Mapping[str, Any]:
    """The header as the token claims it to be: nothing in it is true yet."""
    try:
        return jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise TokenError("not a token") from None


def _time(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise TokenError(f"without a proper {name}")
    return value


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise TokenError(f"without a proper {name}")
    return value
