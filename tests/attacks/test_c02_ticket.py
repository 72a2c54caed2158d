"""C2: WeChat's ticket is public and opens nothing."""

import base64
import re
from pathlib import Path

from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

ROOT = Path(__file__).resolve().parents[2]


async def test_the_ticket_holds_no_secret(tmp_path: Path) -> None:
    """Anybody can decode it: neither the scene nor any secret is in there."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        ticket = stack.code_of(page).ticket
        inside = base64.b64decode(ticket)
        for secret in (page.scene_str, page.document["watch_token"], page.begin_cookie):
            assert secret.encode() not in inside and secret not in ticket


async def test_the_ticket_is_no_way_to_a_scene(tmp_path: Path) -> None:
    """As an id, as a bearer, as a query: refused like nonsense."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        ticket = stack.code_of(page).ticket
        bearer = {"Authorization": f"Bearer {ticket}"}
        status = page.document["status"]
        assert (await stack.http.get(status, headers=bearer)).status_code == 401
        assert (await stack.http.get(status, params={"ticket": ticket})).status_code == 401
        path = f"/api/scenes/{base64.urlsafe_b64encode(ticket.encode()).decode()[:64]}"
        assert (await stack.http.get(path, headers=page.bearer)).status_code == 401


def test_no_handler_reads_a_ticket() -> None:
    """Neither from a body nor from a query. What the OpenID Provider's page posts as its ticket is
    signed by this server."""
    for path in (ROOT / "handlers").glob("*.py"):
        if path.name == "oidc_pages.py":
            continue
        assert not re.search(r"""["']ticket["']""", path.read_text()), path.name
