"""A scanpush as your server sees it: `Scanpush`, and `AsyncScanpush` for asyncio.

Both do the same. What they decide is in `_Rulebook`, which does no input or output; the two classes
differ in how they wait and send. A request ends within `timeout_seconds` (of `Scanpush`: its
headers, and then its body, which is longer only where scanpush sends them byte by byte). No
redirect is followed.
"""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from scanpush_client.keys import Ask, Found, KeyCache
from scanpush_client.tokens import (
    AccessClaims,
    Algorithm,
    InvalidToken,
    LoginClaims,
    Refused,
    Rules,
    Unavailable,
    access_claims,
    kid_of,
    login_claims,
)

log = logging.getLogger("scanpush_client")

MAX_ANSWER_BYTES = 1024 * 1024
"""An answer that is longer is not read to its end. A key set has about 250 bytes a key."""

LEAST_SECRET_BYTES = 32
"""For HS256, as RFC 7518, section 3.2, asks for."""

_JWKS = "/.well-known/jwks.json"
_REFRESH = "/api/token/refresh"
_REVOKE = "/api/token/revoke"
_EXCHANGE = "/api/exchange"


@dataclass(frozen=True, slots=True)
class Login:
    """A login as scanpush hands it out: its `token`, and what renews it.

    Attributes:
        expires_in: seconds that `token` is valid for.
        is_new: whether the person was registered by this login.
        refresh_token: works once, for the next `Login`; None where the server keeps no sessions.
    """

    token: str = field(repr=False)
    expires_in: int
    user_id: str
    is_new: bool
    refresh_token: str | None = field(repr=False)


class _Rulebook:
    """What both clients know and decide."""

    def __init__(
        self,
        url: str,
        *,
        issuer: str | None,
        audience: str,
        algorithm: Algorithm,
        secret: str | None,
        leeway_seconds: float,
        timeout_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ValueError("url: the address of scanpush, as in https://login.example.com")
        if (algorithm == "HS256") != (secret is not None):
            raise ValueError("secret: needed with algorithm HS256, and only then")
        if secret is not None and len(secret.encode()) < LEAST_SECRET_BYTES:
            raise ValueError(f"secret: HS256 needs {LEAST_SECRET_BYTES} bytes or more")
        self.url = url.rstrip("/")
        self.timeout_seconds = timeout_seconds
        self.clock = clock
        self.keys = KeyCache()
        self._secret = secret
        self._login = Rules(issuer or self.url, audience, algorithm, leeway_seconds)

    def login_rules(self) -> Rules:
        return self._login

    def access_rules(self, audience: str, issuer: str | None) -> Rules:
        """Those of the OpenID Provider, which does not exist with a shared secret."""
        if self._secret is not None:
            raise ValueError("algorithm: access tokens are signed by a key pair")
        return replace(self._login, audience=audience, issuer=issuer or self._login.issuer)

    def secret_for(self, token: str, rules: Rules) -> str | None:
        """The shared secret where one verifies; None: look for the key that the token names."""
        if rules.algorithm != "HS256":
            return None
        kid_of(token, rules.algorithm)
        return self._secret

    def find(self, token: str, rules: Rules) -> Found:
        kid = kid_of(token, rules.algorithm)
        if kid is None:
            raise InvalidToken("names no key")
        return self.keys.find(kid, rules.algorithm, self.clock())

    def key_of(self, found: Found) -> Any:
        """The key, after scanpush was asked where it had to be."""
        if found.key is not None:
            return found.key
        if found.complete:
            raise InvalidToken("signed by a key that scanpush does not have")
        raise Unavailable("the keys of scanpush are not known")

    def keep_keys(self, answer: httpx.Response) -> None:
        if answer.status_code != 200:
            raise Unavailable(f"scanpush answered {answer.status_code}", answer.status_code)
        try:
            control = answer.headers.get("Cache-Control", "")
            self.keys.keep(_document(answer), control, self.clock())
        except ValueError:
            raise Unavailable("the answer of scanpush is no key set", 200) from None


def _document(answer: httpx.Response) -> Any:
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None


def _accepted(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is the one that was hoped for."""
    status = answer.status_code
    if status in (200, 204):
        return answer
    if status == 429 or not 400 <= status < 500:
        raise Unavailable(f"scanpush answered {status}", status)
    code: object = ""
    try:
        code = _document(answer)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        log.debug("an answer %d without a code", status)
    raise Refused(status, code if isinstance(code, str) else "")


def _login_of(answer: httpx.Response) -> Login:
    """The login document: an exchange wraps it, the answer to a refresh is the document itself."""
    try:
        document = _document(_accepted(answer))
        login = document.get("login", document)
        refresh_token = login.get("refresh_token")
        found = Login(
            token=login["token"],
            expires_in=login["expires_in"],
            user_id=login["user"]["id"],
            is_new=login["user"]["is_new"],
            refresh_token=refresh_token,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unavailable("the answer of scanpush is no login", answer.status_code) from None
    texts = (found.token, found.user_id, *([refresh_token] if refresh_token is not None else []))
    if not all(isinstance(text, str) and text for text in texts):
        raise Unavailable("the answer of scanpush is no login", answer.status_code)
    return found


def _is_lost(error: Unavailable) -> bool:
    """Whether the answer to a refresh may have been lost: the same request again is answered by
    the same pair, within ten seconds."""
    return error.status is None or error.status >= 500


class Scanpush:
    """One scanpush, for threads: share it among them.

    Args:
        url: where scanpush is.
        issuer: the ``iss`` of its tokens; by default `url`, which is right where the server's
            ``server.public_url`` is the same and ``jwt.issuer`` is not set. A server without either
            says ``scanpush``.
        audience: the server's ``jwt.audience``.
        algorithm: the server's ``jwt.algorithm``. Tokens of every other one are refused.
        secret: the server's ``jwt.secret``, with HS256 only.
        leeway_seconds: how far this machine's clock may be off.
        timeout_seconds: how long a request may take in all.
        http: what sends the requests, for proxies or certificates of your own; you close it.
        clock: seconds, monotonic: by which the keys grow old.
    """

    def __init__(
        self,
        url: str,
        *,
        issuer: str | None = None,
        audience: str = "scanpush",
        algorithm: Algorithm = "ES256",
        secret: str | None = None,
        leeway_seconds: float = 60.0,
        timeout_seconds: float = 4.0,
        http: httpx.Client | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rulebook = _Rulebook(
            url,
            issuer=issuer,
            audience=audience,
            algorithm=algorithm,
            secret=secret,
            leeway_seconds=leeway_seconds,
            timeout_seconds=timeout_seconds,
            clock=clock,
        )
        self._owns_http = http is None
        self._http = httpx.Client() if http is None else http
        self._asking = threading.Lock()

    def close(self) -> None:
        """Close the connections that this object opened."""
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def verify(self, token: str) -> LoginClaims:
        """What a login token says, if it is valid.

        Raises:
            InvalidToken: it is not; answer 401.
            Unavailable: the key is not known and scanpush does not answer; answer 503.
        """
        rules = self._rulebook.login_rules()
        return login_claims(token, self._key(token, rules), rules)

    def verify_access_token(
        self, token: str, *, audience: str, issuer: str | None = None
    ) -> AccessClaims:
        """What an access token of the OpenID Provider says, if it is valid.

        Args:
            audience: the client's ``audience`` in scanpush's settings, else the client's id.
            issuer: the server's ``server.public_url``, where ``jwt.issuer`` is set to another.

        Raises:
            InvalidToken, Unavailable: as of `verify`.
        """
        rules = self._rulebook.access_rules(audience, issuer)
        return access_claims(token, self._key(token, rules), rules)

    def refresh(self, refresh_token: str) -> Login:
        """A new token and a new refresh token in place of this one.

        Where the answer is lost, the request is sent once more: scanpush gives the same pair again.

        Raises:
            Refused: the session has ended, or scanpush keeps none; log the person out.
            Unavailable: it is not known whether the token was used. Try again within ten seconds;
                later, the session may be gone.
        """
        body = {"refresh_token": refresh_token}
        try:
            return _login_of(self._send("POST", _REFRESH, body))
        except Unavailable as error:
            if not _is_lost(error):
                raise
        return _login_of(self._send("POST", _REFRESH, body))

    def revoke(self, refresh_token: str) -> None:
        """End the session of this refresh token. One that is unknown or over is no error."""
        _accepted(self._send("POST", _REVOKE, {"refresh_token": refresh_token}))

    def exchange(self, exchange_code: str, *, operator_token: str) -> Login:
        """The login for which a kiosk's screen got this code. A code works once.

        Raises:
            Refused: the code was used or is over (410), or `operator_token` is wrong (401).
            Unavailable: scanpush did not answer; the code may have been used.
        """
        bearer = {"Authorization": f"Bearer {operator_token}"}
        return _login_of(self._send("POST", _EXCHANGE, {"exchange_code": exchange_code}, bearer))

    def _key(self, token: str, rules: Rules) -> Any:
        book = self._rulebook
        if (secret := book.secret_for(token, rules)) is not None:
            return secret
        found = book.find(token, rules)
        if found.key is not None and found.ask is Ask.NO:
            return found.key
        # Without a key every caller waits for the one that asks. With one, only that one waits.
        wait = book.timeout_seconds if found.key is None else 0
        if not self._asking.acquire(timeout=wait):
            return book.key_of(found)
        try:
            found = book.find(token, rules)
            if found.ask is not Ask.NO:
                book.keys.asked(book.clock())
                try:
                    book.keep_keys(self._send("GET", _JWKS))
                except Unavailable as error:
                    log.warning("keys of scanpush: %s", error)
                found = book.find(token, rules)
            return book.key_of(found)
        finally:
            self._asking.release()

    def _send(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """The whole answer, whatever its status."""
        timeout = self._rulebook.timeout_seconds
        end = time.monotonic() + timeout
        request = self._http.build_request(
            method, self._rulebook.url + path, json=body, headers=headers, timeout=timeout
        )
        try:
            answer = self._http.send(request, stream=True, follow_redirects=False)
            try:
                content = bytearray()
                for piece in answer.iter_bytes():
                    content += piece
                    if len(content) > MAX_ANSWER_BYTES or time.monotonic() > end:
                        raise Unavailable("the answer of scanpush is too long or too slow")
            finally:
                answer.close()
        except httpx.HTTPError as error:
            raise Unavailable(f"scanpush cannot be reached: {type(error).__name__}") from None
        return _whole(answer, content)


class AsyncScanpush:
    """One scanpush, for one event loop. Arguments and methods are those of `Scanpush`."""

    def __init__(
        self,
        url: str,
        *,
        issuer: str | None = None,
        audience: str = "scanpush",
        algorithm: Algorithm = "ES256",
        secret: str | None = None,
        leeway_seconds: float = 60.0,
        timeout_seconds: float = 4.0,
        http: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rulebook = _Rulebook(
            url,
            issuer=issuer,
            audience=audience,
            algorithm=algorithm,
            secret=secret,
            leeway_seconds=leeway_seconds,
            timeout_seconds=timeout_seconds,
            clock=clock,
        )
        self._owns_http = http is None
        self._http = httpx.AsyncClient() if http is None else http
        self._asking = asyncio.Lock()

    async def close(self) -> None:
        """As `Scanpush.close`."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def verify(self, token: str) -> LoginClaims:
        """As `Scanpush.verify`."""
        rules = self._rulebook.login_rules()
        return login_claims(token, await self._key(token, rules), rules)

    async def verify_access_token(
        self, token: str, *, audience: str, issuer: str | None = None
    ) -> AccessClaims:
        """As `Scanpush.verify_access_token`."""
        rules = self._rulebook.access_rules(audience, issuer)
        return access_claims(token, await self._key(token, rules), rules)

    async def refresh(self, refresh_token: str) -> Login:
        """As `Scanpush.refresh`."""
        body = {"refresh_token": refresh_token}
        try:
            return _login_of(await self._send("POST", _REFRESH, body))
        except Unavailable as error:
            if not _is_lost(error):
                raise
        return _login_of(await self._send("POST", _REFRESH, body))

    async def revoke(self, refresh_token: str) -> None:
        """As `Scanpush.revoke`."""
        _accepted(await self._send("POST", _REVOKE, {"refresh_token": refresh_token}))

    async def exchange(self, exchange_code: str, *, operator_token: str) -> Login:
        """As `Scanpush.exchange`."""
        bearer = {"Authorization": f"Bearer {operator_token}"}
        body = {"exchange_code": exchange_code}
        return _login_of(await self._send("POST", _EXCHANGE, body, bearer))

    async def _key(self, token: str, rules: Rules) -> Any:
        book = self._rulebook
        if (secret := book.secret_for(token, rules)) is not None:
            return secret
        found = book.find(token, rules)
        if found.key is not None and (found.ask is Ask.NO or self._asking.locked()):
            return found.key
        # The one that holds the lock gives up within the time of a request.
        async with self._asking:
            found = book.find(token, rules)
            if found.ask is not Ask.NO:
                book.keys.asked(book.clock())
                try:
                    book.keep_keys(await self._send("GET", _JWKS))
                except Unavailable as error:
                    log.warning("keys of scanpush: %s", error)
                except asyncio.CancelledError:
                    book.keys.given_up()
                    raise
                found = book.find(token, rules)
            return book.key_of(found)

    async def _send(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """The whole answer, whatever its status."""
        timeout = self._rulebook.timeout_seconds
        request = self._http.build_request(
            method, self._rulebook.url + path, json=body, headers=headers, timeout=timeout
        )
        try:
            async with asyncio.timeout(timeout):
                answer = await self._http.send(request, stream=True, follow_redirects=False)
                try:
                    content = bytearray()
                    async for piece in answer.aiter_bytes():
                        content += piece
                        if len(content) > MAX_ANSWER_BYTES:
                            raise Unavailable("the answer of scanpush is too long")
                finally:
                    await answer.aclose()
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable(f"scanpush cannot be reached: {type(error).__name__}") from None
        return _whole(answer, content)


def _whole(answer: httpx.Response, content: bytearray) -> httpx.Response:
    """The answer with its body, which was decompressed while it was read."""
    control = {"Cache-Control": answer.headers.get("Cache-Control", "")}
    return httpx.Response(answer.status_code, headers=control, content=bytes(content))
