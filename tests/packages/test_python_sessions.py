"""packages/python renews and ends the logins of a real scanpush with sessions."""

from pathlib import Path

import pytest

from scanpush_client import AsyncScanpush, LoginClaims, Refused
from tests.stack import ON_LOOP, Stack

pytest.importorskip("handlers.sessions", reason="this scanpush has no sessions")
pytestmark = ON_LOOP

SESSIONS = {"sessions": {"refresh_ttl_seconds": 86_400}, "jwt": {"ttl_seconds": 300}}


async def test_a_login_is_renewed_until_it_is_revoked(tmp_path: Path) -> None:
    """Each pair is of the same session, and the last refresh token ends it."""
    async with Stack(tmp_path, **SESSIONS) as stack:
        url = f"http://127.0.0.1:{stack.port}"
        async with AsyncScanpush(url, issuer="scanpush", http=stack.http) as scanpush:
            page = await stack.begin()
            await stack.scan(page)
            login = (await page.reaches("authorized"))["login"]
            first: LoginClaims = await scanpush.verify(login["token"])
            renewed = await scanpush.refresh(login["refresh_token"])
            second = await scanpush.verify(renewed.token)
            assert first.sid is not None and (second.sid, second.sub) == (first.sid, first.sub)
            assert second.jti != first.jti and not renewed.is_new
            assert renewed.refresh_token is not None
            await scanpush.revoke(renewed.refresh_token)
            with pytest.raises(Refused) as refused:
                await scanpush.refresh(renewed.refresh_token)
            assert refused.value.status == 401


async def test_without_sessions_nothing_is_renewed(tmp_path: Path) -> None:
    """The routes do not exist then."""
    async with Stack(tmp_path) as stack:
        url = f"http://127.0.0.1:{stack.port}"
        async with AsyncScanpush(url, issuer="scanpush", http=stack.http) as scanpush:
            page = await stack.begin()
            await stack.scan(page)
            login = (await page.reaches("authorized"))["login"]
            assert "refresh_token" not in login
            assert (await scanpush.verify(login["token"])).sid is None
            with pytest.raises(Refused) as refused:
                await scanpush.refresh("any")
            assert refused.value.status == 404
