"""How clients are told that a person is logged out, without a server."""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from services.clock import SystemClock
from services.oidc.clients import Clients
from services.oidc.logout import MOST_TELLING, ClientLogouts
from services.sessions.states import BROWSER, Session, SessionId
from services.settings.models import ClientSettings, OidcSettings
from services.tasks import Supervisor
from tests.conftest import UnexpectedLogs
from tests.contracts.sessions import a_session
from tests.flows.oidc import SHOP, WIKI

pytestmark = pytest.mark.gen_test

URI = "https://wiki.example.test/bcl"


class Signer:
    """Signs nothing: the token is its jti."""

    def sign(self, claims: dict[str, Any], *, typ: str, algorithm: str) -> str:
        return f"{typ}.{algorithm}.{claims['sid']}.{claims['jti']}"


class Told:
    """The back channel to one client, which answers `statuses`, and 200 after them."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.heard: list[str] = []
        self.supervisor = Supervisor()
        wiki = ClientSettings.model_validate({**WIKI, "backchannel_logout_uri": URI})
        clients = {"wiki": wiki, "shop": ClientSettings.model_validate(SHOP)}
        self.logouts = ClientLogouts(
            Clients(OidcSettings(clients=clients), offline=True),
            None,  # type: ignore[arg-type]
            Signer(),  # type: ignore[arg-type]
            httpx.MockTransport(self._answer),
            self.supervisor,
            SystemClock(),
            issuer="https://op.example.test",
            pauses=(0, 0),
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert str(request.url) == URI and request.method == "POST"
        self.heard.append(request.content.decode())
        return httpx.Response(self.statuses.pop(0) if self.statuses else 200)

    async def end(self, ended: Sequence[Session]) -> list[str]:
        self.logouts.tell(ended)
        while self.supervisor.running:
            await asyncio.sleep(0)
        return self.heard


def session(client: str, name: str = "s1", parent: str | None = "browser") -> Session:
    above = None if parent is None else SessionId(parent)
    return a_session("u1", 1.0, id=SessionId(name), client=client, parent=above)


@pytest.mark.parametrize(
    ("statuses", "times"),
    [((200,), 1), ((204,), 1), ((503, 500, 200), 3), ((500, 500, 500, 500), 3), ((400, 200), 1)],
)
async def test_a_client_that_fails_is_told_again(
    logs: UnexpectedLogs, statuses: tuple[int, ...], times: int
) -> None:
    """A few times, with the same jti; one that refuses the token is not."""
    logs.expect("a client was not told of a log-out: HTTP (400|50[03])")
    heard = await Told(*statuses).end([session("wiki")])
    assert len(heard) == times and len(set(heard)) == 1
    assert heard[0].startswith("logout_token=logout%2Bjwt.RS256.browser.")


async def test_each_client_is_told_once_for_each_browser_session() -> None:
    """Whatever it had below it; sessions that are no client's tell no client."""
    heard = await Told().end(
        [
            session(BROWSER, "browser", None),
            session("", "login", None),
            session("gone"),
            session("shop"),
            session("wiki", "a"),
            session("wiki", "b"),
            session("wiki", "c", "another"),
            session("wiki", "device", None),
        ]
    )
    assert [token.split(".")[2] for token in heard] == ["browser", "another", "device"]


async def test_what_is_told_at_once_is_bounded(logs: UnexpectedLogs) -> None:
    """More log-outs than that are dropped, with a line for each."""
    logs.expect("a client is not told of a log-out: 500 are in flight")
    many = [session("wiki", str(n), f"browser-{n}") for n in range(MOST_TELLING + 1)]
    assert len(await Told().end(many)) == MOST_TELLING
