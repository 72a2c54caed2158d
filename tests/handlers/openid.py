"""An OpenID Provider under test: its server, its clients, and people who are logged in at it.

The pages of the provider are left out: browser sessions and codes are made where those pages make
them, in the stores.
"""

import base64
import hashlib
import secrets
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import jwt

from services.clock import Clock, SystemClock
from services.ids import AppId, OpenId, SceneStr, UserId
from services.oidc.grants import Grant
from services.people.store import Identity, Profile
from services.sessions.states import BROWSER, SessionId
from simulator.clock import TurnableClock
from tests.contracts.sessions import a_session
from tests.handlers.running import Running
from tests.stack import Stack

ISSUER = "https://login.test"
SECRET = "a-secret-of-0123456789"
CALLBACK = "https://grafana.test/login/generic_oauth"
APP = "https://app.test/callback"
SCOPE = "openid profile"
OFFLINE_SCOPE = "openid profile offline_access"

CLIENTS: Mapping[str, Mapping[str, Any]] = {
    "grafana": {"secret": SECRET, "redirect_uris": [CALLBACK], "name": "Grafana"},
    "other": {"secret": "other-secret-0123456789", "redirect_uris": [CALLBACK]},
    "api": {"secret": "api-secret-0123456789", "redirect_uris": [CALLBACK], "introspect": True},
    "app": {"public": True, "redirect_uris": [APP, "com.example.app:/callback"]},
    "shop": {
        "secret": SECRET,
        "redirect_uris": [CALLBACK],
        "audience": "https://api.test",
        "id_token_alg": "EdDSA",
        "scopes": ["openid"],
    },
    "tv": {"secret": SECRET},
}

SECRETS = {name: str(client.get("secret", "")) for name, client in CLIENTS.items()}


class Pkce(NamedTuple):
    """A verifier and its challenge (RFC 7636, section 4)."""

    verifier: str
    challenge: str


def new_pkce() -> Pkce:
    verifier = secrets.token_urlsafe(32)
    digest = hashlib.sha256(verifier.encode()).digest()
    return Pkce(verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode())


def stack(folder: Path, clock: Clock | None = None, **sections: Any) -> Stack:
    """A server with those clients, sessions on."""
    return Stack(
        folder,
        clock,
        server={"public_url": ISSUER},
        wechat={"simulator": True},
        oidc={"clients": CLIENTS},
        **{"sessions": {"refresh_ttl_seconds": 30 * 86400}, **sections},
    )


class Provider(Running):
    """One for all tests of a module, with a clock that goes forward only."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self.clock = TurnableClock(SystemClock())
        super().__init__(lambda: stack(folder, self.clock, **sections))

    @property
    def now(self) -> float:
        return self.clock.now()

    def person(self, **known: str) -> UserId:
        """A person who is new here."""
        identity = Identity(AppId("wx1"), OpenId(uuid.uuid4().hex))
        users = self.stack.container.backend.users
        scene_str = SceneStr(str(uuid.uuid4()))
        work = users.login(identity, scene_str, "default", self.now, profile=Profile(**known))
        login = self.do(work)
        user_id: UserId = login.user.id
        return user_id

    def browser(self, user_id: UserId) -> SessionId:
        """A browser in which that person is logged in."""
        session = a_session(user_id, self.now, client=BROWSER, ends_at=self.now + 30 * 86400)
        sessions = self.stack.container.backend.sessions
        self.do(sessions.begin(session, most_per_user=0, now=self.now))
        return session.id

    def end(self, session_id: SessionId) -> None:
        """The person logs out."""
        self.do(self.stack.container.backend.sessions.end(session_id))

    def granted(self, client: str = "grafana", **changes: Any) -> Grant:
        """What the person of a new browser allowed that client."""
        user_id = changes.pop("user_id", None) or self.person(name="Ann")
        grant = Grant(
            client=client,
            redirect_uri=APP if client == "app" else CALLBACK,
            scope=SCOPE,
            nonce="n-0S6_WzA2Mj",
            code_challenge="",
            session=changes.get("session") or self.browser(user_id),
            user_id=user_id,
            account="default",
            amr="wechat",
            auth_at=self.now,
        )
        return grant._replace(**changes)

    def code(self, grant: Grant) -> str:
        return str(self.do(self.stack.container.provider.codes.issue(grant)))

    # What clients send.

    def post(
        self, path: str, form: Mapping[str, str], client: str = "", **headers: str
    ) -> httpx.Response:
        """A form from that client, which proves itself in the header; a public one by its id."""
        if secret := SECRETS.get(client):
            pair = base64.b64encode(f"{client}:{secret}".encode()).decode()
            headers = {"Authorization": f"Basic {pair}", **headers}
        elif client:
            form = {"client_id": client, **form}
        return self.http.post(f"/oauth/{path}", data=dict(form), headers=headers)

    def exchange(self, code: str, client: str = "grafana", **form: str) -> httpx.Response:
        """The token request for a code; what is given empty is left out."""
        sent = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": APP if client == "app" else CALLBACK,
            **form,
        }
        return self.post("token", {name: value for name, value in sent.items() if value}, client)

    def tokens(self, client: str = "grafana", **changes: Any) -> dict[str, Any]:
        """The answer to the code of a new browser."""
        form, pkce = {}, new_pkce()
        if client == "app":
            changes, form = {"code_challenge": pkce.challenge, **changes}, {
                "code_verifier": pkce.verifier
            }
        answer = self.exchange(self.code(self.granted(client, **changes)), client, **form)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def refresh(self, token: str, client: str = "grafana", **form: str) -> httpx.Response:
        sent = {"grant_type": "refresh_token", "refresh_token": token, **form}
        return self.post("token", sent, client)

    def userinfo(self, token: str) -> httpx.Response:
        return self.http.get("/oauth/userinfo", headers={"Authorization": f"Bearer {token}"})

    def introspected(self, token: str, client: str = "grafana") -> dict[str, Any]:
        answer = self.post("introspect", {"token": token}, client)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def is_active(self, token: str, client: str = "grafana") -> bool:
        """By introspection and by userinfo, which must agree."""
        active = bool(self.introspected(token, client)["active"])
        assert active is (self.userinfo(token).status_code == 200)
        return active


def unverified(token: str) -> dict[str, Any]:
    """The claims of a token, whose signature is tested elsewhere."""
    return dict(jwt.decode(token, options={"verify_signature": False}))


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error in OAuth's form, after checking that it has that form."""
    assert answer.headers["Content-Type"].lower() == "application/json; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    assert set(body) == {"error", "error_description"}, body
    # RFC 6749, section 5.2: these characters only.
    for text in body.values():
        assert all(" " <= one <= "~" and one not in '"\\' for one in text), text
    return answer.status_code, body["error"]
