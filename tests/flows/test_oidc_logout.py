"""``/oauth/logout``, and what clients are told by the back channel, however a session ends."""

from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from services.oidc.logout import EVENT
from services.oidc.texts import PAGES
from services.sessions.states import SessionId
from tests.flows.oidc import (
    CALLBACK,
    ISSUER,
    SECRET,
    VERIFIER,
    BrowserOfOne,
    ClientServer,
    meta,
    provider,
    sent_to,
    visiting,
)
from tests.handlers.running import Running
from tests.stack import ON_LOOP, Stack, eventually

pytestmark = ON_LOOP


BYE = "https://wiki.example.test/bye"


class Logins:
    """Browsers that are logged in, and the ID tokens that their clients have of that."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._container = running.stack.container

    async def log_in(self, browser: BrowserOfOne, person: str = "alice") -> dict[str, Any]:
        """Log in at the wiki; what its ID token says."""
        fields = sent_to(await browser.log_in(person))[1]
        code = self._running.do(self._container.provider.codes.look(fields["code"]))
        assert code is not None
        grant = code.grant
        return {"iss": ISSUER, "sub": grant.user_id, "aud": "wiki", "sid": grant.session, "exp": 9}

    def sign(self, claims: dict[str, Any], typ: str = "JWT") -> str:
        return self._container.issuer.sign(claims, typ=typ, algorithm="RS256")

    def lives(self, sid: str) -> bool:
        store, now = self._container.backend.sessions, self._container.clock.now()
        return self._running.do(store.get(SessionId(sid), now)) is not None


async def leave(browser: BrowserOfOne, **query: str) -> httpx.Response:
    return await browser.send("GET", "/oauth/logout", params=query)


async def answer(
    browser: BrowserOfOne, said: str, origin: str | None = ISSUER, **fields: str
) -> httpx.Response:
    """Press a button of the page that asks."""
    headers = {} if origin is None else {"Origin": origin}
    data = {**fields, "answer": said}
    return await browser.send("POST", "/oauth/logout", data=data, headers=headers)


async def test_a_client_ends_the_session_with_its_id_token(running: Running) -> None:
    """Though that has expired: the browser is logged out, and comes back with the state."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        logins = Logins(running)
        token = await logins.log_in(browser)
        back = await leave(
            browser,
            id_token_hint=logins.sign(token),
            post_logout_redirect_uri=BYE,
            state="s 1",
            client_id="wiki",
        )
        assert sent_to(back) == (BYE, {"state": "s 1"})
        assert "__Host-op_session" not in browser.jar and not logins.lives(token["sid"])
        again = await leave(browser, id_token_hint=logins.sign(token), post_logout_redirect_uri=BYE)
        assert sent_to(again) == (BYE, {})


async def test_the_id_token_of_a_login_ends_its_session(running: Running) -> None:
    """From the code over the token endpoint to the log-out; the access token is of no use then."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        fields = sent_to(await browser.log_in())[1]
        form = {
            "grant_type": "authorization_code",
            "code": fields["code"],
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }
        answered = await stack.http.post("/oauth/token", data=form, auth=("wiki", SECRET))
        assert answered.status_code == 200, answered.text
        tokens = answered.json()
        said = jwt.decode(tokens["id_token"], options={"verify_signature": False})
        assert (said["sid"], said["nonce"]) == (await browser.sid(), "n-1")
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert (await stack.http.get("/oauth/userinfo", headers=bearer)).status_code == 200
        back = await leave(browser, id_token_hint=tokens["id_token"], post_logout_redirect_uri=BYE)
        assert sent_to(back) == (BYE, {})
        assert (await stack.http.get("/oauth/userinfo", headers=bearer)).status_code == 401


async def test_without_proof_the_person_is_asked(running: Running) -> None:
    """Nothing ends before they say yes on the page, and not by another site's form."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        logins = Logins(running)
        token = await logins.log_in(browser)
        async with BrowserOfOne(stack) as other:
            of_another = await logins.log_in(other, "bob")
        forged = jwt.encode(token, "k" * 32, "HS256")
        none = jwt.encode(token, None, "none")
        hints = [logins.sign(of_another), logins.sign(token, "at+jwt"), forged, none, "nonsense"]
        for hint in hints:
            asked = await leave(browser, id_token_hint=hint)
            assert asked.status_code == 200 and PAGES["log_out"]["en"][0] in asked.text
        asked = await leave(browser, client_id="wiki", post_logout_redirect_uri=BYE, state="s")
        assert "Tea Wiki" in asked.text and "frame-ancestors 'none'" in (
            asked.headers["Content-Security-Policy"]
        )
        for origin in ("https://evil.example.test", "null", None):
            assert (await answer(browser, "yes", origin)).status_code == 403
        assert PAGES["still_logged_in"]["en"][0] in (await answer(browser, "no")).text
        assert logins.lives(token["sid"])
        fields = {"client_id": "wiki", "post_logout_redirect_uri": BYE, "state": "s"}
        assert sent_to(await answer(browser, "yes", **fields)) == (BYE, {"state": "s"})
        assert not logins.lives(token["sid"]) and "__Host-op_session" not in browser.jar


async def test_the_browser_goes_to_registered_addresses_alone(running: Running) -> None:
    """Character by character, of that client; everything else is a page, and nothing ends."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        logins = Logins(running)
        token = await logins.log_in(browser)
        hint = logins.sign(token)
        wrong: list[dict[str, str]] = [
            {"post_logout_redirect_uri": BYE + "/"},
            {"post_logout_redirect_uri": BYE + "?x=1"},
            {"post_logout_redirect_uri": "https://evil.example.test/"},
            {"post_logout_redirect_uri": "https://shop.example.test/"},
            {"post_logout_redirect_uri": BYE, "client_id": "shop"},
            {"client_id": "nobody"},
        ]
        for fields in wrong:
            refused = await leave(browser, id_token_hint=hint, **fields)
            assert refused.status_code == 400 and "Location" not in refused.headers
            assert PAGES["log_out_bad_request"]["en"][0] in refused.text
            assert (await answer(browser, "yes", id_token_hint=hint, **fields)).status_code == 400
        bare = await leave(browser, post_logout_redirect_uri=BYE)
        twice = await browser.send("GET", "/oauth/logout?state=1&state=2")
        assert bare.status_code == twice.status_code == 400
        assert logins.lives(token["sid"])


async def test_a_browser_without_a_session_is_not_sent_on_unproven(running: Running) -> None:
    """It is told so, with a link to the client that it names."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        shown = await leave(browser, client_id="wiki", post_logout_redirect_uri=BYE)
        assert shown.status_code == 200 and f'href="{BYE}"' in shown.text
        assert PAGES["logged_out"]["en"][0] in shown.text


async def test_a_client_may_post_its_request(running: Running) -> None:
    """It comes once more by GET, with the cookies that browsers leave out of another site's
    form."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        logins = Logins(running)
        token = await logins.log_in(browser)
        form = {"id_token_hint": logins.sign(token), "post_logout_redirect_uri": BYE}
        headers = {"Origin": "https://wiki.example.test"}
        first = await stack.http.post("/oauth/logout", data=form, headers=headers)
        assert first.status_code == 303
        assert sent_to(await browser.send("GET", first.headers["Location"])) == (BYE, {})
        assert not logins.lives(token["sid"])


@pytest.mark.parametrize("how", ["logout", "end", "end_of_user", "another person", "most_per_user"])
async def test_clients_are_told_however_a_session_ends(tmp_path: Path, how: str) -> None:
    """Those with an address that were logged in under it, without offline_access too: whose
    session, once, in a token that is no ID token."""
    async with ClientServer() as server:
        sections = provider(wiki={"backchannel_logout_uri": server.url})
        sections["sessions"] = {"most_per_user": 1}
        async with Stack(tmp_path, **sections) as stack, BrowserOfOne(stack) as browser:
            container = stack.container
            fields = sent_to(await browser.log_in())[1]
            code = await container.provider.codes.look(fields["code"])
            assert code is not None
            sid, user_id = code.grant.session, code.grant.user_id
            await browser.ask("shop")
            await browser.ask("wiki")
            if how == "logout":
                await answer(browser, "yes")
            elif how == "another person":
                await browser.log_in("bob", prompt="login")
            elif how == "most_per_user":
                async with BrowserOfOne(stack) as other:
                    await other.log_in("alice")
            elif how == "end":
                store = container.backend.sessions
                container.sessions.tell(await store.end(sid))
            else:
                store = container.backend.sessions
                container.sessions.tell(await store.end_of_user(user_id))

            async def is_told() -> bool:
                return bool(server.heard)

            await eventually(is_told)
            (raw,) = server.heard
            header = jwt.get_unverified_header(raw)
            assert header["typ"] == "logout+jwt"
            key = jwt.PyJWKSet.from_dict(container.issuer.jwks())[header["kid"]]
            claims = jwt.decode(raw, key, ["RS256"], audience="wiki", issuer=ISSUER)
            assert (claims["sid"], claims["sub"]) == (sid, user_id)
            assert claims["events"] == {EVENT: {}} and claims["jti"] and "nonce" not in claims
            assert 0 < claims["exp"] - claims["iat"] <= 120


async def test_a_log_out_in_one_browser_leaves_the_others(running: Running) -> None:
    """Of the same person; and the next login there needs a scan."""
    async with visiting(running) as stack, BrowserOfOne(stack) as browser:
        async with BrowserOfOne(stack) as other:
            await browser.log_in()
            await other.log_in()
            await answer(browser, "yes")
            assert "code" in sent_to(await other.ask())[1]
            shown = await browser.ask()
            assert shown.status_code == 200 and meta(shown, "client") == "Tea Wiki"
