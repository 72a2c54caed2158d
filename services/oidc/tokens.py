"""The back channel of the OpenID Provider: what a client gets for a code, and what becomes of it.

Grants (RFC 6749, 7636, 8628), access tokens (RFC 9068), ID tokens and userinfo (OpenID Connect
Core), introspection (RFC 7662) and revocation (RFC 7009).

Looked at: Authlib 1.9 (`oauth2.rfc6749.grants`, `rfc7636`, `rfc9068`, `oidc.core`) and joserfc 1.8.
Authlib's grants call stores as blocking functions (`query_client`, `save_token`), so that each
request would take a thread, and they delete a code by a second call, where here one atomic write
decides which of two callers gets its tokens; its code for parameters is a few lines each (`granted`
in clients.py, `_check_verifier`). joserfc signs by the same cryptography as PyJWT, which signs the
login tokens here: a second library for the same keys would bring nothing. So the grants are written
out, signatures are PyJWT's, and the tests hold the results to Authlib and joserfc.

An access token is a JWT, and yet can be ended: its ``jti`` is ``<family>.<number>``, where the
family is what its code brought (`grants.family`), and ``sid`` is the browser session. With
``offline_access`` the family is a session of its own below the browser's, which its refresh token
renews; without, it is nothing but a name, and the token lives as long as the browser session.
"""

import hashlib
import hmac
import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from services.clock import Clock
from services.errors import OAuthError, TokenError
from services.ids import UserId, base64url, secret_hash
from services.oidc.clients import OFFLINE, Client, Clients
from services.oidc.grants import Codes, Grant, family
from services.people.store import User, UserStore
from services.sessions.service import SessionService
from services.sessions.states import Session, SessionId
from services.sessions.store import SessionStore
from services.sessions.tokens import RefreshTokens
from services.tokens.issuer import BACKDATED_SECONDS, Issuer
from services.tokens.verifier import Verifier

log = logging.getLogger("scanpush.oidc")

ACCESS_TOKEN = "at+jwt"
"""RFC 9068, section 2.1."""

ID_TOKEN = "JWT"

PROFILE = "profile"

CODE_GRANT = "authorization_code"
REFRESH_GRANT = "refresh_token"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
"""RFC 7636, section 4.1."""

_ALG_512 = "EdDSA"
"""The algorithm whose hash has 512 bits: of Ed25519 it is SHA-512 (RFC 8032)."""


class DeviceFlow(Protocol):
    """The store of the device flow, as the token endpoint needs it."""

    async def redeem(self, device_code: str, client: str) -> Grant | str:
        """The person's grant to that device, for one of any number of polls that find it; its
        `session` is `family(device_code)`.

        Else the error code that RFC 8628, section 3.5, has for it. Raises `StoreUnavailable`.
        """


class _Login(NamedTuple):
    """What the tokens of one answer say."""

    client: Client
    scope: str
    user_id: UserId
    family: SessionId
    number: int
    sid: SessionId
    amr: str
    auth_at: float
    at: float
    """When they are issued; for a repeated answer that time, so that it says the same."""


class TokenService:
    """What the endpoints answer.

    Args:
        store: of `sessions`, for what a client gives up by itself: that is no log-out to tell of.
        issuer_url: the claim ``iss``: the server's public address.
        ttl_seconds: how long access and ID tokens live.
        refresh_ttl_seconds: how long a session with a refresh token lives; 0: there are none.
    """

    def __init__(
        self,
        clients: Clients,
        codes: Codes,
        devices: DeviceFlow,
        sessions: SessionService,
        store: SessionStore,
        refresh_tokens: RefreshTokens,
        users: UserStore,
        issuer: Issuer,
        verifier: Verifier,
        clock: Clock,
        *,
        issuer_url: str,
        ttl_seconds: int,
        refresh_ttl_seconds: int,
    ) -> None:
        self._clients = clients
        self._codes = codes
        self._devices = devices
        self._sessions = sessions
        self._store = store
        self._refresh_tokens = refresh_tokens
        self._users = users
        self._issuer = issuer
        self._verifier = verifier
        self._clock = clock
        self._issuer_url = issuer_url
        self._ttl_seconds = ttl_seconds
        self._refresh_ttl_seconds = refresh_ttl_seconds

    # The token endpoint.

    async def redeem(self, client: Client, form: Mapping[str, str], address: str) -> dict[str, Any]:
        """The answer to the token request of a client, which has proven itself.

        Raises:
            ApiError: ``rate_limited``: too many forged refresh tokens from that address.
            OAuthError: RFC 6749, section 5.2; RFC 8628, section 3.5.
            StoreUnavailable: a store did not answer; the code may be spent.
        """
        grant_type = _required(form, "grant_type")
        if grant_type == CODE_GRANT:
            return await self._by_code(client, form)
        if grant_type == REFRESH_GRANT:
            if not self._refresh_ttl_seconds:
                off = "Refresh tokens are off: sessions.refresh_ttl_seconds is 0."
                raise OAuthError("unsupported_grant_type", off)
            return await self._by_refresh(client, form, address)
        if grant_type == DEVICE_GRANT:
            return await self._by_device(client, form)
        raise OAuthError("unsupported_grant_type", "There is no such grant here.")

    async def _by_code(self, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
        if not client.redirect_uris:
            raise OAuthError("unauthorized_client", "The client has no redirect URIs.")
        code, redirect_uri = _required(form, "code"), _required(form, "redirect_uri")
        brings = family(code)
        found = await self._codes.look(code)
        if found is None:
            # Used so long ago that the store has forgotten it, while what it brought may live on.
            await self._end_family(client, brings)
            raise OAuthError("invalid_grant", "No such code, or its time is up.")
        grant = found.grant
        # Nothing is spent here: a client must not be able to spoil the codes of others.
        if grant.client != client.id:
            raise OAuthError("invalid_grant", "The code is of another client.")
        if found.is_used:
            raise await self._used_twice(client, brings)
        if grant.redirect_uri != redirect_uri:
            raise OAuthError("invalid_grant", "The code is for another redirect URI.")
        _check_verifier(grant.code_challenge, form.get("code_verifier", ""), public=client.public)
        now = self._clock.now()
        browser = await self._sessions.get(grant.session)
        if browser is None:
            raise OAuthError("invalid_grant", "The person has logged out.")
        user = await self._user(grant.user_id)
        if not await self._codes.use(code, grant):
            raise await self._used_twice(client, brings)
        # The scopes of the settings may have changed since.
        scope = client.granted(grant.scope)
        refresh_token = ""
        if OFFLINE in scope.split():
            grant = grant._replace(kind=browser.kind, label=browser.label)
            refresh_token = await self._begin(client, grant, brings, browser.id, scope, now)
            # The code may have come again before there was a session to be ended.
            if await self._codes.is_ended(brings):
                raise await self._used_twice(client, brings)
        login = _Login(
            client=client,
            scope=scope,
            user_id=grant.user_id,
            family=brings,
            number=1,
            sid=browser.id,
            amr=grant.amr,
            auth_at=grant.auth_at,
            at=now,
        )
        return self._answer(login, user, refresh_token, grant.nonce, now)

    async def _by_device(self, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
        grant = await self._devices.redeem(_required(form, "device_code"), client.id)
        if isinstance(grant, str):
            raise OAuthError(grant, _DEVICE_ERRORS.get(grant, "The device code is not valid."))
        now = self._clock.now()
        user = await self._user(grant.user_id, "access_denied")
        scope = client.granted(grant.scope)
        # A device has no browser session, so the tokens have a session of their own in any case.
        refresh_token = await self._begin(client, grant, grant.session, None, scope, now)
        if await self._sessions.get(grant.session) is None:
            raise OAuthError("access_denied", "The person may not log in.")
        login = _Login(
            client=client,
            scope=scope,
            user_id=grant.user_id,
            family=grant.session,
            number=1,
            sid=grant.session,
            amr=grant.amr,
            auth_at=grant.auth_at,
            at=now,
        )
        return self._answer(login, user, refresh_token, grant.nonce, now)

    async def _by_refresh(
        self, client: Client, form: Mapping[str, str], address: str
    ) -> dict[str, Any]:
        if OFFLINE not in client.scopes:
            raise OAuthError("unauthorized_client", "The client gets no refresh tokens.")
        refresh_token = _required(form, "refresh_token")
        renewal = await self._sessions.renew(refresh_token, address, client=client.id)
        if renewal is None:
            raise OAuthError("invalid_grant", "The refresh token is not valid, or not any more.")
        session = renewal.session
        user = await self._user(session.user_id)
        scope = client.granted(session.scope)
        # What is asked beyond the grant is left out, and what is left out stays with the token.
        narrowed = [one for one in scope.split() if one in form.get("scope", scope).split()]
        login = _Login(
            client=client,
            scope=" ".join(narrowed) or scope,
            user_id=session.user_id,
            family=session.id,
            number=session.generation,
            sid=session.parent or session.id,
            amr=session.amr,
            auth_at=session.auth_at,
            at=session.rotated_at,
        )
        return self._answer(login, user, renewal.refresh_token, "", self._clock.now())

    async def _begin(
        self,
        client: Client,
        grant: Grant,
        brings: SessionId,
        parent: SessionId | None,
        scope: str,
        now: float,
    ) -> str:
        """Begin the session of a client's tokens; its refresh token, if it is to have one."""
        offline = OFFLINE in scope.split()
        refresh_token = self._sessions.first_token(brings) if offline else ""
        life_seconds = self._refresh_ttl_seconds if offline else self._ttl_seconds
        session = Session(
            id=brings,
            user_id=grant.user_id,
            client=client.id,
            parent=parent,
            account=grant.account,
            kind=grant.kind,
            label=grant.label,
            amr=grant.amr,
            scope=scope,
            begun_at=now,
            auth_at=grant.auth_at,
            used_at=now,
            ends_at=now + life_seconds,
            generation=1,
            token_hash=secret_hash(refresh_token) if offline else b"",
        )
        await self._sessions.begin(session)
        return refresh_token

    async def _used_twice(self, client: Client, brings: SessionId) -> OAuthError:
        """End what the code brought (RFC 6749, section 4.1.2); the error to raise."""
        log.warning("an authorization code came twice", extra={"client": client.id})
        # First the mark, then the session: `_by_code` does it the other way round.
        await self._codes.end(brings)
        await self._end_family(client, brings)
        return OAuthError("invalid_grant", "The code was used before.")

    async def _end_family(self, client: Client, brings: SessionId) -> None:
        session = await self._sessions.get(brings)
        if session is not None and session.client == client.id:
            await self._store.end(brings)

    async def _is_welcome(self, user_id: UserId) -> bool:
        user = await self._users.get(user_id)
        return user is not None and not user.banned

    async def _user(self, user_id: UserId, refusal: str = "invalid_grant") -> User:
        user = await self._users.get(user_id)
        if user is None:
            raise OAuthError(refusal, "There is no such person any more.")
        if user.banned:
            # The ban has not come to the person's sessions yet, or was cut off before.
            raise OAuthError(refusal, "The person may not log in.")
        return user

    # Tokens.

    def _answer(
        self, login: _Login, user: User, refresh_token: str, nonce: str, now: float
    ) -> dict[str, Any]:
        access_token = self._access_token(login)
        answer: dict[str, Any] = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": self._ttl_seconds - int(max(now - login.at, 0)),
            "scope": login.scope,
        }
        if refresh_token:
            answer["refresh_token"] = refresh_token
        if "openid" in login.scope.split():
            answer["id_token"] = self._id_token(login, user, access_token, nonce)
        return answer

    def _access_token(self, login: _Login) -> str:
        claims = {
            **self._common(login),
            "aud": login.client.audience,
            "client_id": login.client.id,
            "jti": f"{login.family}.{login.number}",
            "scope": login.scope,
        }
        # With the configured algorithm: RSA for both would nearly double what an exchange costs.
        return self._issuer.sign(claims, typ=ACCESS_TOKEN)

    def _id_token(self, login: _Login, user: User, access_token: str, nonce: str) -> str:
        algorithm = login.client.id_token_alg
        claims = {
            **self._common(login),
            "aud": login.client.id,
            "amr": login.amr.split(),
            "acr": acr_of(login.amr),
            "at_hash": _half_hash(access_token, algorithm),
        }
        if nonce:
            claims["nonce"] = nonce
        if PROFILE in login.scope.split():
            claims |= profile_of(user, login.user_id)
        return self._issuer.sign(claims, typ=ID_TOKEN, algorithm=algorithm)

    def _common(self, login: _Login) -> dict[str, Any]:
        at, auth_time = int(login.at), int(login.auth_at)
        return {
            "iss": self._issuer_url,
            "sub": login.user_id,
            # Not before the person logged in, for clients that compare the two.
            "iat": max(at - BACKDATED_SECONDS, min(at, auth_time)),
            "exp": at + self._ttl_seconds,
            "auth_time": auth_time,
            "sid": login.sid,
        }

    # What becomes of a token.

    async def userinfo(self, token: str) -> dict[str, Any]:
        """The claims about the person of an access token (OpenID Connect Core, section 5.3).

        Raises:
            OAuthError: ``invalid_token``, ``insufficient_scope`` (RFC 6750, section 3.1).
            StoreUnavailable: a store did not answer.
        """
        claims = await self._live(token)
        user = None if claims is None else await self._users.get(UserId(claims["sub"]))
        if claims is None or user is None or user.banned:
            raise OAuthError("invalid_token", "The access token is not valid, or was ended.")
        scopes = claims["scope"].split()
        if "openid" not in scopes:
            raise OAuthError("insufficient_scope", "The access token is not for openid.")
        # As the token says, also where the person goes by an older id since (section 5.3.2).
        answer = {"sub": claims["sub"]}
        return answer | profile_of(user, claims["sub"]) if PROFILE in scopes else answer

    async def introspect(self, client: Client, token: str) -> dict[str, Any]:
        """What is known of a token, for that client; no reason where it is nothing (RFC 7662).

        Raises `StoreUnavailable`.
        """
        claims = await self._live(token)
        if claims is not None:
            may_know = claims["client_id"] == client.id or client.introspects_all
            if may_know and await self._is_welcome(UserId(claims["sub"])):
                return {"active": True, "token_type": "Bearer", **claims}
            return {"active": False}
        # A refresh token is its client's alone: an API must not take one for an access token.
        session = await self._of_refresh_token(client, token)
        if (
            session is None
            or session.token_hash != secret_hash(token)
            or not await self._is_welcome(session.user_id)
        ):
            return {"active": False}
        return {
            "active": True,
            "iss": self._issuer_url,
            "sub": session.user_id,
            "client_id": client.id,
            "scope": session.scope,
            "iat": int(session.rotated_at or session.begun_at),
            "exp": int(session.ends_at),
            "auth_time": int(session.auth_at),
            "sid": session.parent or session.id,
        }

    async def revoke(self, client: Client, token: str) -> None:
        """End a token of that client, and what came of the same login for it (RFC 7009).

        What is no valid token is no error.

        Raises:
            OAuthError: ``invalid_grant``: it is another client's (section 2.1).
            StoreUnavailable: it may be valid still.
        """
        claims = await self._live(token)
        if claims is None:
            session = await self._of_refresh_token(client, token)
            if session is not None:
                await self._store.end(session.id)
            return
        if claims["client_id"] != client.id:
            raise OAuthError("invalid_grant", "The token is of another client.")
        brought, _ = _family_of(claims)
        await self._codes.end(brought)
        await self._end_family(client, brought)

    async def _live(self, token: str) -> Mapping[str, Any] | None:
        """The claims of an access token that was not ended; None for everything else."""
        try:
            claims = await self._verifier.opened(token, ACCESS_TOKEN)
        except TokenError:
            return None
        client = self._clients.get(claims["client_id"])
        expired = self._clock.now() >= claims["exp"]
        if claims["iss"] != self._issuer_url or client is None or expired:
            return None
        brought, number = _family_of(claims)
        # A refresh may have left out the scope: what was refreshed has a session all the same.
        if OFFLINE in claims["scope"].split() or number > 1:
            over = await self._sessions.get(brought) is None
        else:
            session = await self._sessions.get(claims["sid"])
            over = session is None or await self._codes.is_ended(brought)
        return None if over else claims

    async def _of_refresh_token(self, client: Client, token: str) -> Session | None:
        """The session of a refresh token of that client."""
        presented = self._refresh_tokens.read(token)
        if presented is None or not self._refresh_ttl_seconds:
            return None
        session = await self._sessions.get(presented.session_id)
        if session is None or session.client != client.id:
            return None
        known = presented.is_genuine or presented.token_hash == session.token_hash
        return session if known else None


def profile_of(user: User, sub: str) -> dict[str, Any]:
    """The claims of the scope `PROFILE`; what is not known is left out.

    ``preferred_username`` is the id: many clients know people by it, and WeChat's names are neither
    unique nor do they stay.
    """
    claims: dict[str, Any] = {"preferred_username": sub}
    if user.name:
        claims["name"] = user.name
    if user.avatar:
        claims["picture"] = user.avatar
    if user.email:
        # As the person typed it: a client must not join accounts by it.
        claims |= {"email": user.email, "email_verified": False}
    return claims


def acr_of(amr: str) -> str:
    """``1`` of ISO/IEC 29115 (OpenID Connect Core, section 2): WeChat says who it is. ``0`` of the
    simulator, where anybody is anybody."""
    return "0" if "simulated" in amr.split() else "1"


_DEVICE_ERRORS = {
    "authorization_pending": "The person has not answered yet.",
    "slow_down": "Please wait five seconds longer between two polls.",
    "access_denied": "The person has refused.",
    "expired_token": "The device code has expired.",
}


def _required(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise OAuthError("invalid_request", f"{name} is missing.")
    return value


def _check_verifier(challenge: str, verifier: str, *, public: bool) -> None:
    """PKCE with S256 (RFC 7636, section 4.6); RFC 9700, section 2.1.1."""
    if not challenge:
        # A verifier without a challenge: the challenge was cut out of the authorization request.
        if verifier or public:
            raise OAuthError("invalid_grant", "The authorization had no code_challenge.")
        return
    if not verifier:
        raise OAuthError("invalid_grant", "code_verifier is missing.")
    digest = hashlib.sha256(verifier.encode()).digest()
    if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(base64url(digest), challenge):
        raise OAuthError("invalid_grant", "code_verifier does not fit.")


def _half_hash(access_token: str, algorithm: str) -> str:
    """``at_hash`` (OpenID Connect Core, section 3.1.3.6)."""
    hashed = hashlib.sha512 if algorithm == _ALG_512 else hashlib.sha256
    digest = hashed(access_token.encode()).digest()
    return base64url(digest[: len(digest) // 2])


def _family_of(claims: Mapping[str, Any]) -> tuple[SessionId, int]:
    """What an access token's code brought, and the how many-th token of it this is."""
    family_id, _, number = claims["jti"].partition(".")
    return SessionId(family_id), int(number)
