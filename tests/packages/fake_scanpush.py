"""A scanpush for the Python package: key set and token routes over httpx, with switches."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import jwt
from jwt.utils import base64url_encode

from services.tokens.keys import Key, generate

URL = "https://login.example.com"
SESSION_TOKEN = "a-refresh-token"
LOGIN = {
    "token": "a-token",
    "token_type": "Bearer",
    "expires_in": 300,
    "user": {"id": "u1", "is_new": False},
    "refresh_token": "its-successor",
}


def signed(
    header: Mapping[str, Any], claims: Mapping[str, Any], sign: Callable[[bytes], bytes]
) -> str:
    """A token of any header, also of one that libraries refuse to write."""
    parts = [base64url_encode(json.dumps(part).encode()) for part in (header, claims)]
    signature = sign(b".".join(parts))
    return b".".join([*parts, base64url_encode(signature)]).decode()


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


class FakeScanpush:
    """Answers as scanpush does.

    Attributes:
        keys: those of the key set; the first one signs.
        cache_control: of the key set.
        failing: answers to give instead, the oldest first: a status, or an error to raise.
        asked: the paths of all requests.
        hold: a request waits for it, where the client is asynchronous.
    """

    def __init__(self) -> None:
        self.keys: list[Key] = [generate("ES256")]
        self.cache_control = "public, max-age=300"
        self.failing: list[int | Exception] = []
        self.asked: list[str] = []
        self.hold: asyncio.Event | None = None
        self.body: bytes | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.failing:
            failure = self.failing.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return httpx.Response(failure, json={"error": {"code": "unavailable"}})
        if self.body is not None:
            return httpx.Response(200, content=self.body)
        match request.url.path:
            case "/.well-known/jwks.json":
                document = {"keys": [dict(key.jwk) for key in self.keys]}
                return httpx.Response(
                    200, json=document, headers={"Cache-Control": self.cache_control}
                )
            case "/api/token/refresh":
                if json.loads(request.content) != {"refresh_token": SESSION_TOKEN}:
                    return httpx.Response(401, json={"error": {"code": "unauthorized"}})
                return httpx.Response(200, json=LOGIN)
            case "/api/token/revoke":
                return httpx.Response(204)
            case "/api/exchange":
                if request.headers["Authorization"] != "Bearer operator":
                    return httpx.Response(401, json={"error": {"code": "unauthorized"}})
                return httpx.Response(200, json={"login": LOGIN})
        return httpx.Response(404)

    async def held(self, request: httpx.Request) -> httpx.Response:
        """The same for an asynchronous client."""
        if self.hold is not None:
            await self.hold.wait()
        return self(request)

    def sync_http(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self))

    def async_http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self.held))

    def token(
        self,
        *,
        key: Key | None = None,
        header: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A login token of this moment, but for what is given; None leaves a claim out."""
        key = key or self.keys[0]
        now = int(time.time())
        payload = {
            "iss": URL,
            "aud": "scanpush",
            "sub": "u1",
            "iat": now - 10,
            "nbf": now - 10,
            "exp": now + 300,
            "jti": "j1",
            "account": "default",
            "amr": ["wechat"],
            **claims,
        }
        head = {"typ": "JWT", "alg": key.algorithm, "kid": key.kid, **(header or {})}
        sign = jwt.get_algorithm_by_name(key.algorithm).sign
        return signed(_present(head), _present(payload), lambda text: sign(text, key.private))

    def access_token(self, **changes: Any) -> str:
        """An access token of the OpenID Provider (RFC 9068) for the client ``grafana``."""
        changes = {
            "header": {"typ": "at+jwt"},
            "aud": "grafana",
            "client_id": "grafana",
            "scope": "openid profile",
            "account": None,
            "amr": None,
            "nbf": None,
        } | changes
        return self.token(**changes)
