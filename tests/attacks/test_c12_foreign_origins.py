"""C12: pages of other sites may neither open sockets nor change anything."""

from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.stack import ON_LOOP, Page, Stack, status

pytestmark = ON_LOOP

SHOP = "https://shop.example"


def foreign(stack: Stack) -> list[str]:
    own = f"127.0.0.1:{stack.port}"
    return [
        "null",
        "https://evil.example",
        f"https://{own}",
        f"http://127.0.0.1:{stack.port + 1}",
        "http://127.0.0.1",
        f"http://localhost:{stack.port}",
        f"http://{own}.evil.example",
        f"http://evil.example/{own}",
        f"http://{own}/",
        f"HTTP://{own}",
        "",
        "http://",
        f"{SHOP}.evil.example",
        f"{SHOP}:8443",
        "http://shop.example",
    ]


async def upgraded(page: Page, origin: str | None) -> int:
    headers = {} if origin is None else {"Origin": origin}
    try:
        async with page.socket(additional_headers=headers) as socket:
            await status(socket)
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


async def test_foreign_origins_open_no_socket(tmp_path: Path) -> None:
    """403 before the upgrade, with the right secret and all; compared exactly."""
    async with Stack(tmp_path, server={"allowed_origins": [SHOP]}) as stack:
        page = await stack.begin()
        for origin in foreign(stack):
            assert await upgraded(page, origin) == 403, origin
        for origin in (None, SHOP, f"http://127.0.0.1:{stack.port}"):
            assert await upgraded(page, origin) == 101, origin


async def test_foreign_origins_change_nothing(tmp_path: Path) -> None:
    """403 on every request that would, and no quota is spent."""
    server = {"allowed_origins": [SHOP]}
    async with Stack(tmp_path, server=server, wechat={"codes_ahead": 0}) as stack:
        page = await stack.begin()
        path = page.document["status"]
        for origin in foreign(stack):
            headers = {**page.bearer, "Origin": origin}
            for method, url in (("POST", "/api/scenes"), ("DELETE", path), ("POST", f"{path}/ack")):
                answer = await stack.http.request(method, url, headers=headers)
                assert answer.json()["error"]["code"] == "forbidden_origin", origin
                assert answer.status_code == 403
                assert "Access-Control-Allow-Origin" not in answer.headers
        assert await page.state() == "waiting"
        assert await stack.wechat_calls("/cgi-bin/qrcode/create") == 1


async def test_public_url_is_the_only_own_origin_once_it_is_set(tmp_path: Path) -> None:
    """Then the Host header, which a client chooses, decides nothing."""
    server = {"public_url": "https://login.example.test"}
    async with Stack(tmp_path, server=server) as stack:
        page = await stack.begin()
        assert await upgraded(page, "https://login.example.test") == 101
        assert await upgraded(page, f"http://127.0.0.1:{stack.port}") == 403
        own = f"http://127.0.0.1:{stack.port}"
        answer = await stack.http.post("/api/scenes", headers={"Origin": own})
        assert answer.status_code == 403


@pytest.mark.parametrize("trusted", [["127.0.0.1"], []])
async def test_the_scheme_of_a_proxy_counts_only_if_it_is_trusted(
    tmp_path: Path, trusted: list[str]
) -> None:
    """TLS ends at the proxy: its page's origin is https, for requests and for sockets."""
    async with Stack(tmp_path, server={"trusted_proxies": trusted}) as stack:
        page = await stack.begin()
        origin = f"https://127.0.0.1:{stack.port}"
        headers = {"Origin": origin, "X-Forwarded-Proto": "https"}
        answer = await stack.http.post("/api/scenes", headers=headers)
        assert answer.status_code == (201 if trusted else 403)
        try:
            async with page.socket(additional_headers=headers):
                opened = 101
        except InvalidStatus as refusal:
            opened = refusal.response.status_code
        assert opened == (101 if trusted else 403)


async def test_allowed_origins_get_cors_and_others_none(tmp_path: Path) -> None:
    """Exactly the origin, never a star, with Vary; and the preflight says what is allowed."""
    async with Stack(tmp_path, server={"allowed_origins": [SHOP]}) as stack:
        answer = await stack.http.post("/api/scenes", headers={"Origin": SHOP})
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP
        assert answer.headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        for origin, allowed in ((SHOP, True), ("https://evil.example", False)):
            headers = {"Origin": origin, "Access-Control-Request-Method": "DELETE"}
            preflight = await stack.http.options("/api/scenes/x", headers=headers)
            assert preflight.status_code == 204
            assert ("Access-Control-Allow-Methods" in preflight.headers) is allowed


async def test_no_origin_and_no_secret_is_refused(tmp_path: Path) -> None:
    """Tornado lets requests without Origin through; the secret is still needed."""
    async with Stack(tmp_path) as stack:
        page = await stack.begin()
        assert (
            await upgraded(Page(stack, {**page.document, "watch_token": "y" * 43}, ""), None) == 403
        )
