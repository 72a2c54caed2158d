"""The adapters of packages/python, each in a real application of its framework."""

import asyncio
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from scanpush_client import AsyncScanpush, LoginClaims, Scanpush
from scanpush_client.bearer import bearer_token
from tests.conftest import UnexpectedLogs
from tests.packages.fake_scanpush import URL, FakeScanpush


@dataclass(frozen=True)
class Answer:
    """What an application answered."""

    status: int
    headers: Mapping[str, str]
    text: str


Site = Callable[..., Answer]
"""Sends ``POST /items/7`` with these headers; the route gives the user's id and the 7."""


def needs(framework: str) -> None:
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed; scripts/test installs it")


def fastapi_site(fake: FakeScanpush) -> Site:
    needs("fastapi")
    from fastapi import Depends, FastAPI

    from scanpush_client.fastapi import logged_in

    scanpush = AsyncScanpush(URL, http=fake.async_http())
    app = FastAPI()

    @app.post("/items/{number}")
    async def items(
        number: int, login: Annotated[LoginClaims, Depends(logged_in(scanpush))]
    ) -> dict[str, str]:
        return {"said": f"{login.sub} {number}"}

    assert app.openapi()["paths"]["/items/{number}"]["post"]["security"] == [{"scanpush": []}]

    async def ask(**headers: str) -> Answer:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://site") as http:
            answer = await http.post("/items/7", headers=headers)
        return Answer(answer.status_code, answer.headers, answer.text)

    return lambda **headers: asyncio.run(ask(**headers))


def flask_site(fake: FakeScanpush) -> Site:
    needs("flask")
    from flask import Flask

    from scanpush_client.flask import token_required

    app = Flask("site")

    @app.post("/items/<int:number>")
    @token_required(Scanpush(URL, http=fake.sync_http()))
    def items(login: LoginClaims, number: int) -> dict[str, str]:
        return {"said": f"{login.sub} {number}"}

    def ask(**headers: str) -> Answer:
        answer = app.test_client().post("/items/7", headers=headers)
        return Answer(answer.status_code, answer.headers, answer.text)

    return ask


def _django() -> None:
    needs("django")
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            SECRET_KEY="of tests",
            ALLOWED_HOSTS=["*"],
            MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
            USE_TZ=True,
        )
        import django

        django.setup()


def django_site(fake: FakeScanpush, asynchronous: bool = False) -> Site:
    _django()
    from django.http import HttpRequest, JsonResponse
    from django.middleware.csrf import CsrfViewMiddleware
    from django.test import RequestFactory

    from scanpush_client.django import token_required

    def answer(login: LoginClaims, number: int) -> JsonResponse:
        return JsonResponse({"said": f"{login.sub} {number}"})

    if asynchronous:

        @token_required(AsyncScanpush(URL, http=fake.async_http()))
        async def items(request: HttpRequest, login: LoginClaims, number: int) -> JsonResponse:
            return answer(login, number)

    else:

        @token_required(Scanpush(URL, http=fake.sync_http()))
        def items(request: HttpRequest, login: LoginClaims, number: int) -> JsonResponse:
            return answer(login, number)

    def ask(**headers: str) -> Answer:
        request = RequestFactory(enforce_csrf_checks=True).post("/items/7", headers=headers)
        request._dont_enforce_csrf_checks = False
        assert CsrfViewMiddleware(items).process_view(request, items, (), {}) is None
        given = items(request, 7)
        response = asyncio.run(_waited(given)) if asynchronous else given
        return Answer(response.status_code, response.headers, response.content.decode())

    return ask


async def _waited(given: Any) -> Any:
    return await given


def tornado_site(fake: FakeScanpush) -> Site:
    from scanpush_client.tornado import TokenRequired

    class Prepared(RequestHandler):
        async def prepare(self) -> None:
            self.prepared = True

    class Items(TokenRequired, Prepared):
        def post(self, number: str) -> None:
            assert self.prepared
            self.write({"said": f"{self.login.sub} {number}"})

        def options(self, number: str) -> None:
            self.set_status(204)

    async def ask(method: str = "POST", **headers: str) -> Answer:
        scanpush = AsyncScanpush(URL, http=fake.async_http())
        server = HTTPServer(Application([(r"/items/(\d+)", Items)], scanpush=scanpush))
        listening, port = bind_unused_port()
        server.add_sockets([listening])
        async with httpx.AsyncClient(verify=False) as http:
            answer = await http.request(method, f"http://127.0.0.1:{port}/items/7", headers=headers)
        server.stop()
        await server.close_all_connections()
        return Answer(answer.status_code, answer.headers, answer.text)

    return lambda **arguments: asyncio.run(ask(**arguments))


SITES: dict[str, Callable[[FakeScanpush], Site]] = {
    "fastapi": fastapi_site,
    "flask": flask_site,
    "django": django_site,
    "django-async": lambda fake: django_site(fake, asynchronous=True),
    "tornado": tornado_site,
}
each_framework = pytest.mark.parametrize("framework", SITES)


@each_framework
def test_a_valid_token_lets_in(framework: str, logs: UnexpectedLogs) -> None:
    """And the route gets the claims beside its own arguments; a bad one is 401 with a challenge."""
    logs.expect("(401|Unauthorized)")
    fake = FakeScanpush()
    site = SITES[framework](fake)
    answer = site(Authorization=f"Bearer {fake.token()}")
    assert (answer.status, json.loads(answer.text)) == (200, {"said": "u1 7"})
    refused = site(Authorization=f"Bearer {fake.access_token()}")
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert "said" not in refused.text


@each_framework
def test_without_a_token_the_challenge_names_no_error(framework: str, logs: UnexpectedLogs) -> None:
    """RFC 6750, section 3.1."""
    logs.expect("(401|Unauthorized)")
    site = SITES[framework](FakeScanpush())
    for headers in ({}, {"Authorization": "Basic dTpw"}):
        answer = site(**headers)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


@each_framework
def test_an_outage_is_no_refusal(framework: str, logs: UnexpectedLogs) -> None:
    """503: the page tries again and stays logged in."""
    logs.expect("(503|Service Unavailable|keys of scanpush)")
    fake = FakeScanpush()
    fake.failing = [503]
    answer = SITES[framework](fake)(Authorization=f"Bearer {fake.token()}")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


def test_tornado_answers_preflights() -> None:
    """Browsers send them without a token."""
    assert tornado_site(FakeScanpush())(method="OPTIONS").status == 204


def test_django_refuses_a_mix_of_views_and_clients() -> None:
    """Where the view is decorated."""
    _django()
    from scanpush_client.django import token_required

    async def coroutine(request: object) -> None: ...

    fake = FakeScanpush()
    with pytest.raises(TypeError, match="needs an AsyncScanpush"):
        token_required(Scanpush(URL, http=fake.sync_http()))(coroutine)
    with pytest.raises(TypeError, match="needs a Scanpush"):
        token_required(AsyncScanpush(URL, http=fake.async_http()))(lambda request: None)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, ""),
        ("", ""),
        ("Bearer", ""),
        ("Basic a", ""),
        ("Bearer a", "a"),
        ("bearer  a ", "a"),
    ],
)
def test_the_header_is_read_as_rfc_6750_says(header: str | None, token: str) -> None:
    """The name of the scheme in any case."""
    assert bearer_token(header) == token
