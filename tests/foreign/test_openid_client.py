"""node's openid-client, in a program of its own, logs people in and out with the OpenID Provider.

It checks what a client has to: metadata, signatures by the published keys, nonce, state, iss, PKCE.
"""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.browser.real_server import Real

from .provider import WITHIN_SECONDS, Arrived, Browser, Cluster, one_server

HERE = Path(__file__).resolve().parent
SECRET = "a-secret+with%41signs&a:colon"
CALLBACK, BYE = "http://app.example.test/callback", "http://app.example.test/bye"
CLIENT = {"redirect_uris": [CALLBACK], "post_logout_redirect_uris": [BYE]}
CLIENTS = {
    "app": {"secret": SECRET, **CLIENT},
    "page": {"public": True, **CLIENT},
    "tv": {"public": True},
}
SCOPE = "openid profile offline_access"


class Failed(Exception):
    """openid-client takes an answer for a refusal, or for none that is allowed.

    Attributes:
        error: OAuth's, or the library's code.
        passes: the server could not answer now.
    """

    def __init__(self, error: str, message: str, passes: bool) -> None:
        super().__init__(f"{error}: {message}")
        self.error = error
        self.passes = passes


class Application:
    """The program, which knows one client. Use it in ``with``."""

    def __init__(self, issuer: str, client: str, method: str) -> None:
        node = shutil.which("node")
        if node is None or not (HERE / "node_modules/openid-client").exists():
            pytest.skip(
                "SKIPPED LOUDLY: node or openid-client is missing: scripts/test installs it"
            )
        self._command = [node, "openid_client.mjs"]
        self._known = {"issuer": issuer, "id": client, "method": method}
        if method != "none":
            self._known["secret"] = SECRET

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.metadata = self.do("discover", **self._known)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def do(self, step: str, **asked: Any) -> Any:
        """What the step brings; again as long as the server cannot answer.

        Raises:
            Failed: anything else.
        """
        deadline = time.monotonic() + WITHIN_SECONDS
        while True:
            try:
                return self.try_once(step, **asked)
            except Failed as failed:
                if not failed.passes or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def try_once(self, step: str, **asked: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"step": step, **asked}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "failed" in answer:
            raise Failed(**answer["failed"])
        return answer["done"]

    def refused(self, step: str, **asked: Any) -> str:
        """The error of a step that must not succeed."""
        with pytest.raises(Failed) as failed:
            self.do(step, **asked)
        return failed.value.error

    def log_in(self, browser: Browser, **asked: Any) -> dict[str, Any]:
        """Tokens and claims. Where the code was lost with its answer, the browser is sent once
        more, as every application does whose callback failed."""
        while True:
            asked = {"redirect_uri": CALLBACK, "scope": SCOPE, **asked}
            arrived = browser.open(self.do("authorize", **asked))
            assert arrived.url.startswith(CALLBACK)
            try:
                tokens: dict[str, Any] = self.try_once("callback", **arrived._asdict())
            except Failed as failed:
                if not failed.passes:
                    raise
            else:
                return tokens

    def log_out(self, browser: Browser, tokens: dict[str, Any]) -> None:
        asked = {"id_token_hint": tokens["id_token"], "state": "bye & more"}
        url = self.do("leave", post_logout_redirect_uri=BYE, **asked)
        assert browser.open(url) == Arrived(f"{BYE}?state=bye+%26+more")


def walk(app: Application, browser: Browser, *, confidential: bool) -> None:
    """Log in, use what it brought, renew it, log out; nothing of it works then."""
    tokens = app.log_in(browser)
    sub, first = tokens["claims"]["sub"], tokens["refresh_token"]
    assert app.do("userinfo", token=tokens["access_token"], sub=sub)["sub"] == sub
    renewed = app.do("refresh", token=first)
    assert renewed["claims"]["sub"] == sub and renewed["refresh_token"] != first
    if confidential:
        assert app.do("introspect", token=renewed["access_token"])["active"]
        assert app.do("introspect", token=renewed["refresh_token"])["active"]
    app.log_out(browser, renewed)
    assert app.refused("refresh", token=renewed["refresh_token"]) == "invalid_grant"
    assert app.refused("userinfo", token=renewed["access_token"], sub=sub) != ""
    if confidential:
        assert app.do("introspect", token=renewed["access_token"]) == {"active": False}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    with one_server(tmp_path_factory.mktemp("server"), CLIENTS) as real:
        yield real


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), CLIENTS) as running:
        yield running


def test_a_login_a_refresh_and_a_log_out(server: Real) -> None:
    """With HTTP Basic: discovery, code with PKCE, userinfo, introspection, and the end of it."""
    with (
        Application(server.url, "app", "basic") as app,
        Browser(server, "alice") as browser,
    ):
        walk(app, browser, confidential=True)


@pytest.mark.slow
@pytest.mark.parametrize(("client", "method"), [("app", "post"), ("page", "none")])
def test_other_ways_of_client_authentication(server: Real, client: str, method: str) -> None:
    """The same with the secret in the body, and as a public client."""
    with (
        Application(server.url, client, method) as app,
        Browser(server, "alice") as browser,
    ):
        walk(app, browser, confidential=method != "none")


@pytest.mark.slow
def test_other_ways_of_asking(server: Real) -> None:
    """A pushed request, an answer by a form, max_age and prompt: one scan, and one more when
    asked."""
    with (
        Application(server.url, "app", "basic") as app,
        Browser(server, "bob") as browser,
    ):
        assert "request_uri=" in app.do(
            "authorize", pushed=True, redirect_uri=CALLBACK, scope="openid"
        )
        assert app.log_in(browser, pushed=True)["claims"]["sub"]
        posted = app.log_in(browser, response_mode="form_post", max_age="3600")
        assert posted["claims"]["auth_time"] and browser.scans == 1
        silent = app.log_in(browser, prompt="none")
        assert silent["claims"]["sid"] == posted["claims"]["sid"] and browser.scans == 1
        app.log_in(browser, prompt="login")
        assert browser.scans == 2
        with Browser(server, "carol") as other:
            nothing = other.open(
                app.do("authorize", redirect_uri=CALLBACK, scope="openid", prompt="none")
            )
            assert app.refused("callback", **nothing._asdict()) == "login_required"


@pytest.mark.slow
def test_revocation(server: Real) -> None:
    """A refresh token that is given up ends its tokens, and not the browser's session."""
    with (
        Application(server.url, "app", "basic") as app,
        Browser(server, "dora") as browser,
    ):
        tokens = app.log_in(browser)
        app.do("revoke", token=tokens["refresh_token"])
        assert app.refused("refresh", token=tokens["refresh_token"]) == "invalid_grant"
        assert app.do("introspect", token=tokens["access_token"]) == {"active": False}
        again = app.log_in(browser)
        assert browser.scans == 1
        app.do("revoke", token=again["access_token"])
        assert app.do("introspect", token=again["access_token"]) == {"active": False}


@pytest.mark.slow
def test_what_is_not_the_clients_own_is_refused(server: Real) -> None:
    """A code that was used, for another address, or with another verifier."""
    with (
        Application(server.url, "app", "basic") as app,
        Browser(server, "eve") as browser,
    ):
        arrived = browser.open(app.do("authorize", redirect_uri=CALLBACK, scope=SCOPE))
        tokens = app.do("callback", **arrived._asdict())
        assert app.refused("callback", **arrived._asdict()) == "invalid_grant"
        assert app.refused("refresh", token=tokens["refresh_token"]) == "invalid_grant"
        arrived = browser.open(app.do("authorize", redirect_uri=CALLBACK, scope=SCOPE))
        elsewhere = arrived.url.replace("/callback", "/callback/")
        assert app.refused("callback", url=elsewhere) == "invalid_grant"


@pytest.mark.slow
def test_a_device(server: Real) -> None:
    """A television polls while a person allows it, and stays logged in by its refresh token."""
    with (
        Application(server.url, "tv", "none") as app,
        Browser(server, "frank") as browser,
    ):
        codes = app.do("device", scope=SCOPE)
        browser.allow_device(codes["verification_uri_complete"])
        tokens = app.do("polled")
        renewed = app.do("refresh", token=tokens["refresh_token"])
        assert renewed["claims"]["sub"] == tokens["claims"]["sub"]
        app.do("revoke", token=renewed["refresh_token"])
        assert app.refused("refresh", token=renewed["refresh_token"]) == "invalid_grant"


@pytest.mark.slow
def test_a_server_that_is_killed_between_any_two_steps(tmp_path: Path) -> None:
    """It comes back with all that it has promised: codes, tokens, and the browser's session."""
    with (
        one_server(tmp_path, CLIENTS) as real,
        Application(real.url, "app", "basic") as app,
        Browser(real, "hugo") as browser,
    ):

        def killed() -> None:
            real.stop(signal.SIGKILL)
            real.start()

        app.log_in(browser)
        killed()
        asked = app.do("authorize", pushed=True, redirect_uri=CALLBACK, scope=SCOPE)
        killed()
        arrived = browser.open(asked)
        assert browser.scans == 1
        killed()
        tokens = app.do("callback", **arrived._asdict())
        killed()
        renewed = app.do("refresh", token=tokens["refresh_token"])
        killed()
        assert app.do("introspect", token=renewed["access_token"])["active"]
        app.log_out(browser, renewed)
        killed()
        assert app.refused("refresh", token=renewed["refresh_token"]) == "invalid_grant"
        assert app.do("introspect", token=renewed["access_token"]) == {"active": False}


@pytest.mark.slow
@pytest.mark.nginx
@pytest.mark.redis
@pytest.mark.mongodb
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("client", "method"), [("app", "basic"), ("page", "none")])
def test_two_nodes_one_of_which_is_killed(cluster: Cluster, client: str, method: str) -> None:
    """Logins and log-outs go on while both nodes are killed and started again, each some times."""
    before = cluster.kills
    with Application(cluster.url, client, method) as app, cluster.losing_nodes():
        number = 0
        while cluster.kills - before < 6:
            number += 1
            with Browser(cluster, f"{client} {number}") as browser:
                walk(app, browser, confidential=method != "none")


@pytest.mark.slow
@pytest.mark.nginx
@pytest.mark.redis
@pytest.mark.mongodb
@pytest.mark.timeout(300)
def test_a_device_whose_node_is_killed(cluster: Cluster) -> None:
    """Between the codes, the person's answer, the poll and the refresh."""
    with Application(cluster.url, "tv", "none") as app, Browser(cluster, "gina") as browser:
        codes = app.do("device", scope=SCOPE)
        cluster.lose_a_node()
        browser.allow_device(codes["verification_uri_complete"])
        cluster.lose_a_node()
        tokens = app.do("polled")
        cluster.lose_a_node()
        assert app.do("refresh", token=tokens["refresh_token"])["claims"]
