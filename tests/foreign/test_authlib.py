"""A Flask site that logs people in by Authlib, as docs/openid.md shows it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from authlib.integrations.flask_client import OAuth
from authlib.integrations.requests_client import OAuth2Session
from flask import Flask, redirect, session
from werkzeug.serving import make_server

from tests.listeners import served_in_thread

from .provider import WITHIN_SECONDS
from .sites import LONG, ONE_SERVER, SECRET, STORES, TWO_NODES, Site, visiting

pytestmark = STORES


class Shop:
    """The site. `token` is what Authlib fetched last; in a cookie it would be too long."""

    def __init__(self, issuer: str, site: Site) -> None:
        self.url, self._port = site.url, site.port
        self.token: dict[str, Any] = {}
        app = Flask(__name__)
        app.secret_key = SECRET
        oauth = OAuth(app)
        oauth.register(
            "wechat",
            client_id="shop",
            client_secret=SECRET,
            server_metadata_url=f"{issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid profile offline_access",
                "code_challenge_method": "S256",
            },
        )
        wechat = oauth.wechat

        @app.get("/")
        def home() -> Any:
            return session.get("user") or ("nobody", 401)

        @app.get("/login")
        def login() -> Any:
            return wechat.authorize_redirect(f"{self.url}/cb")

        @app.get("/cb")
        def callback() -> Any:
            self.token = wechat.authorize_access_token()
            session["user"] = self.token["userinfo"]
            return redirect("/")

        @app.get("/logout")
        def logout() -> Any:
            session.pop("user")
            return wechat.logout_redirect(f"{self.url}/bye", self.token["id_token"])

        @app.get("/bye")
        def bye() -> Any:
            assert wechat.validate_logout_response()
            return "Bye."

        self._app = app

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        server = make_server("127.0.0.1", self._port, self._app, threaded=True)
        with served_in_thread(server):
            yield

    def client(self) -> OAuth2Session:
        """Authlib without a site, with the tokens that the site got."""
        return OAuth2Session("shop", SECRET, token=self.token, default_timeout=WITHIN_SECONDS)


@pytest.mark.parametrize("where", (ONE_SERVER, pytest.param(TWO_NODES, marks=LONG)))
def test_a_site_by_authlib(tmp_path: Path, where: str) -> None:
    """Log-in with PKCE, state and nonce; the ID token; userinfo, refresh, introspection,
    revocation; a second log-in without a scan; log-out."""
    site = Site("/cb", post_logout_redirect_uris="/bye")
    with visiting(where, tmp_path, shop=site) as visitor:
        shop = Shop(visitor.issuer, site)
        with shop.open():
            assert visitor.visit(shop.url).status_code == 401
            user = visitor.visit(f"{shop.url}/login").json()
            assert user["iss"] == visitor.issuer and user["aud"] == "shop" and visitor.scans == 1
            _live_through_a_session(visitor.issuer, shop, user["sub"])
            visitor.lose()
            # The browser is still logged in at the provider.
            again = visitor.visit(f"{shop.url}/login").json()
            assert again["sub"] == user["sub"] and visitor.scans == 1
            visitor.lose()
            assert visitor.visit(f"{shop.url}/logout").text == "Bye."
            assert visitor.visit(shop.url).status_code == 401
            with shop.client() as client:
                assert client.get(f"{visitor.issuer}/oauth/userinfo").status_code == 401
            # And no longer.
            visitor.visit(f"{shop.url}/login")
            assert visitor.scans == 2


def _live_through_a_session(issuer: str, shop: Shop, sub: str) -> None:
    with shop.client() as client:
        assert client.get(f"{issuer}/oauth/userinfo").json()["sub"] == sub
        old = shop.token["refresh_token"]
        new = client.refresh_token(f"{issuer}/oauth/token")
        assert new["refresh_token"] != old
        assert client.get(f"{issuer}/oauth/userinfo").json()["sub"] == sub
        introspect = f"{issuer}/oauth/introspect"
        said = client.introspect_token(introspect, token=new["access_token"]).json()
        assert said["active"] is True and said["sub"] == sub
        gone = client.revoke_token(f"{issuer}/oauth/revoke", token=new["refresh_token"])
        assert gone.status_code == 200
        said = client.introspect_token(introspect, token=new["access_token"]).json()
        assert said == {"active": False}
