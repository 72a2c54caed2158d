"""What clients of the OpenID Provider ask: discovery, keys, tokens, userinfo, introspection,
revocation. Its pages for people are in oidc_pages.py.

Errors have OAuth's form, ``{"error", "error_description"}``. No cookie is read here, so that a page
of another site gains nothing by a request but what its own secrets bring.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from tornado.web import HTTPError

from handlers.api_request import ApiRequest, answer, as_api_error
from handlers.base import BaseHandler, PublicHandler, allowed_methods, write_response
from handlers.http_messages import (
    SAFE_HEADERS,
    HotRoute,
    HttpResponse,
    error_response,
)
from handlers.people import JwksHandler
from services.container import Container
from services.errors import ApiError, OAuthError
from services.oidc.clients import Client
from services.oidc.discovery import MAX_AGE_SECONDS
from services.oidc.provider import Provider

log = logging.getLogger("scanpush.oidc")

FORM = "application/x-www-form-urlencoded"

MOST_PARAMETERS = 64

_TARGET = re.compile(r"/oauth/token(?:\?.*)?")

_WAITING = ("authorization_pending", "slow_down")
"""Errors that a device gets every few seconds while all is well."""

_REALM = 'Bearer realm="scanpush"'


def is_form(asked: ApiRequest) -> bool:
    """Whether the body says that it is a form's."""
    return asked.headers.get("Content-Type", "").partition(";")[0].strip().lower() == FORM


def form_of(asked: ApiRequest) -> dict[str, str]:
    """The parameters of a body; those without a value count as absent (RFC 6749, section 3.2).

    Raises:
        OAuthError: ``invalid_request``: it is no form, or names a parameter twice.
    """
    if not is_form(asked):
        raise OAuthError("invalid_request", f"The body must be {FORM}.")
    try:
        pairs = parse_qsl(
            asked.body.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_PARAMETERS,
        )
    except ValueError:
        raise OAuthError("invalid_request", "The body is malformed.") from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise OAuthError("invalid_request", "A parameter is given twice.")
    return {name: value for name, value in form.items() if value}


def client_of(asked: ApiRequest, form: Mapping[str, str]) -> Client:
    """The client that sent the request.

    Raises:
        OAuthError: ``invalid_client``; ``invalid_request`` where a page may not do this.
    """
    clients, origin = provider_of(asked).clients, asked.headers.get("Origin")
    if origin is not None and origin not in clients.origins:
        if asked.container.origins.is_foreign(origin, asked.scheme, asked.host):
            asked.log_foreign_origin(origin)
            raise OAuthError("invalid_request", "Pages of that origin may not do this.", status=403)
    return clients.authenticate(asked.headers.get("Authorization", ""), form)


def provider_of(asked: ApiRequest) -> Provider:
    """The OpenID Provider. Raises `ApiError`, ``not_found``, where there are no clients."""
    provider = asked.container.provider
    if provider is None:
        raise ApiError("not_found", "There is nothing here.")
    return provider


async def token(asked: ApiRequest) -> HttpResponse:
    """The answer to ``POST /oauth/token`` (RFC 6749, section 5.1).

    Raises:
        ApiError, OAuthError, StoreUnavailable: no token is issued.
    """
    form = form_of(asked)
    client = client_of(asked, form)
    body = await provider_of(asked).tokens.redeem(client, form, asked.address)
    return asked.respond(body, headers={"Pragma": "no-cache", **cors(asked)})


async def userinfo(asked: ApiRequest) -> HttpResponse:
    """The answer to ``GET`` and ``POST /oauth/userinfo``: the token in the header, or in the form
    (RFC 6750, sections 2.1 and 2.2), never in the address.

    Raises:
        OAuthError, StoreUnavailable: nothing is told.
    """
    posted = form_of(asked).get("access_token", "") if asked.body and is_form(asked) else ""
    authorization = asked.headers.get("Authorization", "")
    if posted and authorization:
        raise OAuthError(
            "invalid_request",
            "The token is given twice.",
            challenge=f'{_REALM}, error="invalid_request"',
        )
    bearer = posted or asked.bearer()
    if not bearer:
        # Who shows no token is told no more than the scheme (RFC 6750, section 3.1).
        raise OAuthError("invalid_token", "There is no access token.", challenge=_REALM)
    try:
        claims = await provider_of(asked).tokens.userinfo(bearer)
    except OAuthError as error:
        challenge = f'{_REALM}, error="{error.code}", error_description="{error.description}"'
        if error.code == "insufficient_scope":
            challenge += ', scope="openid"'
        raise OAuthError(error.code, error.description, challenge=challenge) from None
    return asked.respond(claims, headers=cors(asked))


async def introspect(asked: ApiRequest) -> HttpResponse:
    """The answer to ``POST /oauth/introspect`` (RFC 7662).

    Raises:
        OAuthError, StoreUnavailable: nothing is told.
    """
    form = form_of(asked)
    client = client_of(asked, form)
    if client.public:
        # Section 2.1: only to those who prove themselves, or tokens could be tried.
        raise OAuthError("invalid_client", "Only clients with a secret may ask.")
    return asked.respond(await provider_of(asked).tokens.introspect(client, _token_of(form)))


async def revoke(asked: ApiRequest) -> HttpResponse:
    """The answer to ``POST /oauth/revoke`` (RFC 7009): empty, and of no type.

    Raises:
        OAuthError, StoreUnavailable: the token is what it was.
    """
    form = form_of(asked)
    client = client_of(asked, form)
    await provider_of(asked).tokens.revoke(client, _token_of(form))
    sent = {"Content-Length": "0", **SAFE_HEADERS, "X-Request-Id": asked.id, **cors(asked)}
    return HttpResponse(200, sent, b"")


def _token_of(form: Mapping[str, str]) -> str:
    if "token" not in form:
        raise OAuthError("invalid_request", "token is missing.")
    return form["token"]


def cors(asked: ApiRequest) -> dict[str, str]:
    """CORS for the pages of public clients."""
    origin = asked.headers.get("Origin")
    provider = asked.container.provider
    if origin is None or provider is None or origin not in provider.clients.origins:
        return {"Vary": "Origin"}
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "Retry-After, WWW-Authenticate, X-Request-Id",
    }


def failed(asked: ApiRequest, failure: BaseException) -> HttpResponse:
    """What is answered to a failure, in OAuth's form; where there are no clients, in the server's
    own."""
    if isinstance(failure, OAuthError):
        if failure.status == 400:
            # The access log, which is the next line, has the number only.
            level = logging.DEBUG if failure.code in _WAITING else logging.INFO
            log.log(level, "%s", failure, extra={"error": failure.code})
        headers = {"Pragma": "no-cache", **cors(asked)}
        if failure.challenge:
            headers["WWW-Authenticate"] = failure.challenge
        if failure.retry_after is not None:
            headers["Retry-After"] = str(failure.retry_after)
        body = {"error": failure.code, "error_description": failure.description}
        return asked.respond(body, failure.status, headers)
    status = failure.status_code if isinstance(failure, HTTPError) else 500
    target = "/oauth/token" if asked.container.provider is not None else ""
    return error_response(as_api_error(failure, status), asked.id, cors(asked), target=target)


def hot_route(container: Container) -> HotRoute:
    """``POST /oauth/token`` without a RequestHandler, which would be a sixth of its cost."""
    return HotRoute("POST", _TARGET, lambda request: answer(container, request, token, failed))


class ClientHandler(BaseHandler):
    """A route for clients of the OpenID Provider. Without clients there is none."""

    needs_clients = True

    def prepare(self) -> None:
        super().prepare()
        provider_of(self.asked)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        failure = kwargs.get("exc_info", (None, None))[1] or HTTPError(status_code)
        response = failed(self.asked, failure)
        if response.status == 405:
            self.set_header("Allow", ", ".join(allowed_methods(type(self))))
        write_response(self, response)


class SharedHandler(ClientHandler):
    """One that pages of public clients may call."""

    def options(self, *args: str) -> None:
        headers = cors(self.asked)
        if len(headers) > 1:
            headers["Access-Control-Allow-Methods"] = "GET, POST"
            headers["Access-Control-Allow-Headers"] = "authorization, content-type"
            headers["Access-Control-Max-Age"] = "600"
        for name, value in headers.items():
            self.set_header(name, value)
        self.set_status(204)


class TokenHandler(SharedHandler):
    """``/oauth/token``: the other methods, and the POST where Tornado's own connections serve
    it."""

    async def post(self) -> None:
        write_response(self, await token(self.asked))


class UserinfoHandler(SharedHandler):
    """``GET`` and ``POST /oauth/userinfo``."""

    async def get(self) -> None:
        write_response(self, await userinfo(self.asked))

    async def post(self) -> None:
        write_response(self, await userinfo(self.asked))


class RevocationHandler(SharedHandler):
    """``POST /oauth/revoke``."""

    async def post(self) -> None:
        write_response(self, await revoke(self.asked))


class IntrospectionHandler(ClientHandler):
    """``POST /oauth/introspect``: not for pages."""

    async def post(self) -> None:
        write_response(self, await introspect(self.asked))


class DiscoveryHandler(ClientHandler, PublicHandler):
    """``GET /.well-known/openid-configuration``, for any origin."""

    def get(self) -> None:
        self.set_header("Cache-Control", f"public, max-age={MAX_AGE_SECONDS}")
        self.write_json(provider_of(self.asked).metadata)


class ProviderKeysHandler(ClientHandler, JwksHandler):
    """``GET /oauth/jwks``: the set of ``/.well-known/jwks.json``."""
