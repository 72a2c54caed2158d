"""C25: X-Forwarded-* of clients that are no listed proxies are ignored."""

from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.stack import ON_LOOP, Stack, early_in_a_minute

pytestmark = ON_LOOP


async def begin(stack: Stack, forwarded: str) -> int:
    headers = {"X-Forwarded-For": forwarded, "X-Real-Ip": forwarded}
    return (await stack.http.post("/api/scenes", headers=headers)).status_code


async def test_an_untrusted_peer_cannot_choose_its_address(tmp_path: Path) -> None:
    """A new made-up address for each request does not get round the limit."""
    async with Stack(
        tmp_path, early_in_a_minute(), limits={"scenes_per_minute_per_address": 2}
    ) as stack:
        statuses = [await begin(stack, f"192.0.2.{number}") for number in range(4)]
        assert statuses == [201, 201, 429, 429]


async def test_behind_a_proxy_only_its_own_entry_counts(tmp_path: Path) -> None:
    """What the client wrote before it, it may have made up."""
    server = {"trusted_proxies": ["127.0.0.1"]}
    limits = {"scenes_per_minute_per_address": 2}
    async with Stack(tmp_path, early_in_a_minute(), limits=limits, server=server) as stack:
        statuses = [await begin(stack, f"10.9.8.{n}, 192.0.2.1") for n in range(4)]
        assert statuses == [201, 201, 429, 429]
        assert await begin(stack, "192.0.2.1, 192.0.2.2") == 201


async def test_an_untrusted_scheme_makes_no_cookie_secure(tmp_path: Path) -> None:
    """Nor does it change what the server takes for its own origin."""
    async with Stack(tmp_path) as stack:
        answer = await stack.http.post("/api/scenes", headers={"X-Forwarded-Proto": "https"})
        assert "Secure" not in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(("trusted", "second"), [(["127.0.0.1"], 101), ([], 429)])
async def test_sockets_are_counted_by_the_address_behind_the_proxy(
    tmp_path: Path, trusted: list[str], second: int
) -> None:
    """The header of a listed proxy is believed, and no other."""
    limits, server = {"sockets_per_address": 1}, {"trusted_proxies": trusted}
    async with Stack(tmp_path, limits=limits, server=server) as stack:
        pages = [await stack.begin(), await stack.begin()]
        async with pages[0].socket(additional_headers={"X-Forwarded-For": "192.0.2.1"}):
            try:
                async with pages[1].socket(additional_headers={"X-Forwarded-For": "192.0.2.2"}):
                    opened = 101
            except InvalidStatus as refusal:
                opened = refusal.response.status_code
        assert opened == second
