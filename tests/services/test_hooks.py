"""The operator's hook: what is signed, which answers count, and how often it is told."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from services.clock import SystemClock
from services.errors import HookUnavailable
from services.hooks import (
    MAX_ANSWER_BYTES,
    PAUSES,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    Decision,
    Hook,
    signature,
)
from services.ids import UserId
from services.tasks import Supervisor
from tests.conftest import UnexpectedLogs

SECRET = "a-secret-of-the-operators-hook"
EVENT = {"type": "registration", "scene_str": "s", "fields": {"name": "爱丽丝"}}


class Site:
    """Answers what it is told to, and keeps what it was sent."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@asynccontextmanager
async def hook_to(site: Site, pauses: tuple[float, ...] = (0, 0)) -> AsyncIterator[Hook]:
    supervisor = Supervisor()
    async with httpx.MockTransport(site) as client:
        url = "http://site.test/hook?tenant=1"
        yield Hook(client, supervisor, SystemClock(), url, SECRET, pauses=pauses)
        while supervisor.running:
            await asyncio.sleep(0)


def says(answer: Any, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=answer)


def test_the_signature_is_the_documented_one() -> None:
    """Computed here by hand; timestamp and body both count."""
    expected = hmac.new(SECRET.encode(), b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert signature(SECRET, "1700000000", b'{"a":1}') == f"sha256={expected}"
    assert signature(SECRET, "1700000001", b'{"a":1}') != f"sha256={expected}"


@pytest.mark.gen_test
async def test_the_request_is_signed_json(logs: UnexpectedLogs) -> None:
    """The very bytes that were sent, under a timestamp of now."""
    site = Site(says({"decision": "approve"}))
    async with hook_to(site) as hook:
        assert await hook.decide(EVENT) == Decision(approved=True)
    (request,) = site.seen
    assert json.loads(request.content) == EVENT and request.url.query == b"tenant=1"
    timestamp = request.headers[TIMESTAMP_HEADER]
    assert abs(int(timestamp) - SystemClock().now()) < 60
    assert request.headers[SIGNATURE_HEADER] == signature(SECRET, timestamp, request.content)


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        ({"decision": "approve"}, Decision(True)),
        ({"decision": "approve", "user_id": None, "more": 1}, Decision(True)),
        ({"decision": "deny"}, Decision(False)),
        ({"decision": "deny", "user_id": "u1"}, Decision(False)),
        ({"user_id": "u1"}, Decision(True, UserId("u1"))),
        ({"decision": "approve", "user_id": "u" * 128}, Decision(True, UserId("u" * 128))),
    ],
)
@pytest.mark.gen_test
async def test_answers_that_count(answer: Any, decision: Decision) -> None:
    """A denial denies whatever else is said."""
    async with hook_to(Site(says(answer))) as hook:
        assert await hook.decide(EVENT) == decision


@pytest.mark.parametrize(
    "response",
    [
        says({}),
        says([]),
        says("approve"),
        says({"decision": True}),
        says({"decision": "APPROVE"}),
        says({"user_id": ""}),
        says({"user_id": 7}),
        says({"user_id": "u" * 129}),
        says({"user_id": "a b"}),
        says({"decision": "approve"}, 500),
        httpx.Response(302, headers={"Location": "http://elsewhere.test/"}),
        httpx.Response(200, content=b"\xff\xfe"),
        httpx.Response(200, content=b"[" * 15_000),
        httpx.Response(200, content=b" " * (MAX_ANSWER_BYTES + 1)),
    ],
)
@pytest.mark.gen_test
async def test_anything_else_admits_no_person(response: httpx.Response) -> None:
    """Neither does it fail in another way."""
    site = Site(response)
    async with hook_to(site) as hook:
        with pytest.raises(HookUnavailable) as caught:
            await hook.decide(EVENT)
    assert len(site.seen) == 1 and SECRET not in str(caught.value)


@pytest.mark.gen_test
async def test_a_login_is_sent_until_it_is_accepted(logs: UnexpectedLogs) -> None:
    """Signed again each time; any answer of 2xx ends it."""
    logs.expect("the hook was not told of a login")
    site = Site(says(None, 500), says(None, 404), httpx.Response(204))
    async with hook_to(site) as hook:
        hook.tell_later(EVENT)
    assert len(site.seen) == 3


@pytest.mark.gen_test
async def test_telling_ends_some_time(logs: UnexpectedLogs) -> None:
    """After the last pause it is given up."""
    logs.expect("the hook was not told of a login")
    site = Site(says(None, 500))
    async with hook_to(site, pauses=(0,) * len(PAUSES)) as hook:
        hook.tell_later(EVENT)
    assert len(site.seen) == len(PAUSES) + 1
