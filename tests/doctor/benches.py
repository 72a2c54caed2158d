"""A doctor for a server of a test, its findings by check, and the server's settings changed."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from doctor.examination import Examination
from doctor.findings import Finding, State
from doctor.walk import walk
from services.clock import SystemClock
from services.http_client import make_transport
from services.settings.models import AccountSettings, Settings
from services.settings.outgoing import Outgoing
from tests.stack import Stack

OUTGOING = Outgoing(trusted=ssl.create_default_context())
"""One for all tests: reading the certificates takes longer than a walk."""


def settings_of(stack: Stack, public_url: str = "", **account: Any) -> Settings:
    """What the operator of `stack` would have in config.yaml; `account`: of its first account.

    The server has the same public_url, which nothing else of it reads any more.
    """
    settings = stack.container.settings
    url = public_url or f"http://127.0.0.1:{stack.port}"
    server = settings.server.model_copy(update={"port": stack.port, "public_url": url})
    stack.container.settings = settings.model_copy(update={"server": server})
    accounts = dict(settings.wechat.accounts)
    name = next(iter(accounts))
    accounts[name] = accounts[name].model_copy(update=account)
    wechat = settings.wechat.model_copy(update={"accounts": accounts})
    return settings.model_copy(update={"server": server, "wechat": wechat})


@asynccontextmanager
async def doctor(settings: Settings, only: str = "") -> AsyncIterator[Examination]:
    transport = make_transport(settings.wechat.api_base, OUTGOING)
    exam = Examination(settings, OUTGOING, transport, SystemClock(), only)
    try:
        yield exam
    finally:
        await exam.close()


async def findings_of(settings: Settings, **limits: float) -> list[Finding]:
    """A whole walk."""
    async with doctor(settings) as exam:
        return await walk(exam, lambda _: None, lambda _: None, **limits)


def of_check(findings: list[Finding], check: str) -> Finding:
    """The one finding of that check, the worst of several."""
    order = [State.BAD, State.WARN, State.OK, State.SKIPPED]
    return min(
        (found for found in findings if found.check == check),
        key=lambda found: order.index(found.state),
    )


def first_account(settings: Settings) -> tuple[str, AccountSettings]:
    return next(iter(settings.wechat.accounts.items()))
