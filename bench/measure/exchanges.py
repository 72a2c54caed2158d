"""What the login at an OpenID client costs the server at its token endpoint: `POST /oauth/token`
with a code and PKCE, answered with an ID token signed by RSA and, in the second row, with a refresh
token and its session.

The codes are put into the server's store as its authorization page does it, so that the figures
have nothing of that page in them.
"""

import base64
import hashlib
import json
import secrets
import sqlite3
import time
from contextlib import closing
from urllib.parse import urlencode

from bench.kit import wire
from bench.kit.crew import Crew
from bench.kit.loop import Loop
from bench.measure import common
from bench.measure.common import Options
from bench.results import Board, Figure
from bench.servers import Running, scratch
from services.clock import SystemClock
from services.ids import UserId, secret_hash
from services.oidc.grants import CODE_SECONDS, Grant, code_key, family
from services.sessions.states import BROWSER, Session, SessionId

FIGURES = (
    Figure("exchanges_per_s", "exchanges/s, 16 in flight", 0),
    Figure("exchange_us", "server CPU us an exchange", 0),
    Figure("generator_cpu", "generator CPU", 2),
    Figure("faults", "refused", 0),
)
SCOPES = {"an ID token": "openid profile", "and a session": "openid profile offline_access"}

CLIENT, SECRET = "bench", "a-secret-of-the-bench"
CALLBACK = "https://client.test/callback"
VERIFIER = "a-verifier-of-the-bench-of-forty-three-characters"
SETTINGS = {
    "SCANPUSH_SERVER__PUBLIC_URL": "https://login.test",
    "SCANPUSH_SESSIONS__REFRESH_TTL_SECONDS": "2592000",
    "SCANPUSH_OIDC": json.dumps(
        {"clients": {CLIENT: {"secret": SECRET, "redirect_uris": [CALLBACK]}}}
    ),
}


def run(options: Options) -> Board:
    """Rounds of one server."""
    board = Board("exchanges", FIGURES, {"exchanges": options.logins, "rounds": options.rounds})
    environment = {**SETTINGS, **options.scanpush}
    with scratch() as directory:
        with common.scanpush_with_upstream(environment, directory) as running:
            with closing(sqlite3.connect(directory / "scanpush.db", timeout=5)) as database:
                grant = logged_in(database)
                with common.full_crew(running, 1) as (loop, crew):
                    for number in range(-1, options.rounds):
                        for row, scope in SCOPES.items():
                            # A code lives a minute, and each is to be used well within it.
                            count = options.logins if number >= 0 else options.logins // 4 or 1
                            codes = issued(database, grant._replace(scope=scope), count)
                            figures = exchange(loop, crew, running, codes)
                            if number >= 0:
                                board.add(number, row, figures)
    return board


def logged_in(database: sqlite3.Connection) -> Grant:
    """What a person who is logged in by a browser has allowed the client."""
    now = SystemClock().now()
    user_id, session_id = UserId("b" * 32), SessionId("b" * 22)
    database.execute(
        "INSERT INTO users (id, name, avatar, account, created_at, last_login_at, logins, phone,"
        " email) VALUES (?, 'Bench', '', 'default', ?, ?, 1, '', '')",
        (user_id, now, now),
    )
    session = Session(
        *(session_id, user_id, BROWSER, None, "default", "official_account", "Chrome, Linux"),
        *("wechat", "", now, now, now, now + 86400, 1, secret_hash("bench")),
    )
    places = ", ".join("?" * len(session))
    columns = ", ".join(Session._fields)
    database.execute(f"INSERT INTO sessions ({columns}) VALUES ({places})", session)
    database.commit()
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return Grant(
        *(CLIENT, CALLBACK, "", "a-nonce-of-the-bench", challenge),
        *(session_id, user_id, "default", "wechat", now),
    )


def issued(database: sqlite3.Connection, grant: Grant, count: int) -> list[str]:
    """That many codes, in the store."""
    codes = [secrets.token_urlsafe(32) for _ in range(count)]
    ends_at, value = time.time() + CODE_SECONDS, json.dumps(grant)
    database.executemany(
        "INSERT INTO kept (key, value, ends_at) VALUES (?, ?, ?)",
        [(code_key(family(code)), value, ends_at) for code in codes],
    )
    database.commit()
    return codes


def exchange(loop: Loop, crew: Crew, running: Running, codes: list[str]) -> dict[str, float]:
    """Each code for tokens, as many at once as there are connections."""
    refused = 0
    target, waiting = running.ws, iter(codes)
    basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
    headers = [
        f"Authorization: Basic {basic}",
        "Content-Type: application/x-www-form-urlencoded",
    ]

    def ask_next() -> bool:
        code = next(waiting, None)
        if code is None:
            return False
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }
        body = urlencode(form).encode()
        crew.http.ask(wire.http_request("POST", "/oauth/token", target, body, headers), keep)
        return True

    def keep(status: int, body: bytes, now: float) -> None:
        nonlocal refused
        refused += status != 200

    def done() -> bool:
        while crew.http.free and ask_next():
            pass
        return not crew.http.busy

    with common.costing(running) as cost:
        loop.run_until(done, within=common.OPEN_SECONDS)
    return {
        "exchanges_per_s": len(codes) / cost.seconds,
        "exchange_us": cost.server_seconds / len(codes) * 1e6,
        "generator_cpu": cost.generator_cpu,
        "faults": refused,
    }
