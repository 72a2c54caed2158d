"""A site on FastAPI with scan-to-login: scan, verify, a session of its own, log-out.

pip install ../../packages/python fastapi uvicorn
SCANPUSH_URL=http://127.0.0.1:8888 uvicorn app:app --port 3000    # then open http://127.0.0.1:3000

scanpush must know the site: SCANPUSH_SERVER__ALLOWED_ORIGINS=http://127.0.0.1:3000 scripts/run
"""

import os
import secrets
import time
from html import escape
from typing import Annotated

from fastapi import Cookie, Depends, FastAPI, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from scanpush_client import AsyncScanpush, LoginClaims
from scanpush_client.fastapi import logged_in

SCANPUSH_URL = os.environ.get("SCANPUSH_URL", "http://127.0.0.1:8888")
# The server's public_url once that is set; without one it says "scanpush".
ISSUER = os.environ.get("SCANPUSH_ISSUER", "scanpush")
HTTPS = "SITE_HTTPS" in os.environ
SESSION_SECONDS = 8 * 3600

LOGIN_PAGE = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>A site on FastAPI</title>
<script type="module" src="{SCANPUSH_URL}/static/scan-login.js"></script>
<scan-login></scan-login>
<script type="module">
document.querySelector("scan-login").addEventListener("login", async ({{ detail }}) => {{
  const headers = {{ Authorization: `Bearer ${{detail.token}}` }};
  if ((await fetch("/session", {{ method: "POST", headers }})).ok) location.reload();
}});
</script></html>
"""
USER_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>A site on FastAPI</title>
<p>Hello, {user}.</p>
<form method="post" action="/logout"><button>Log out</button></form></html>
"""

app = FastAPI()
LoggedIn = Annotated[LoginClaims, Depends(logged_in(AsyncScanpush(SCANPUSH_URL, issuer=ISSUER)))]
SessionId = Annotated[str, Cookie(alias="session")]

# User and end of each session. Of this process: a database keeps those of a real site.
sessions: dict[str, tuple[str, float]] = {}


@app.get("/")
async def home(session: SessionId = "") -> HTMLResponse:
    user, ends = sessions.get(session, ("", 0.0))
    page = USER_PAGE.format(user=escape(user)) if time.time() < ends else LOGIN_PAGE
    return HTMLResponse(page, headers={"Cache-Control": "no-store"})


# The token comes in a header that no other site can make a browser send here.
@app.post("/session", status_code=204)
async def log_in(login: LoggedIn, response: Response) -> None:
    session = secrets.token_urlsafe()
    sessions[session] = (login.sub, time.time() + SESSION_SECONDS)
    response.set_cookie(
        "session", session, SESSION_SECONDS, httponly=True, samesite="lax", secure=HTTPS
    )


@app.post("/logout")
async def log_out(session: SessionId = "") -> RedirectResponse:
    sessions.pop(session, None)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie("session")
    return answer
