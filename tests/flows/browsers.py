"""A browser of its own for one person: cookies, no script, every redirect seen."""

import re
from types import TracebackType
from typing import Any, Self

import httpx

from tests.stack import WITHIN_SECONDS, Page, Stack


class Walker:
    """Walks through the login pages of `stack`, one request after the other."""

    def __init__(self, stack: Stack, page: Page | None = None) -> None:
        """With `page`, the browser is the one that began it."""
        self.stack = stack
        cookies = {"begin": page.begin_cookie} if page is not None else {}
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{stack.port}",
            timeout=WITHIN_SECONDS,
            cookies=cookies,
            verify=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.http.aclose()

    async def start(self, page: Page, route: str = "wechat", **query: str) -> httpx.Response:
        params = {"scene": page.scene_str, **query}
        return await self.http.get(f"/oauth/{route}/start", params=params)

    async def decide_at_wechat(self, url: str, person: str = "alice", **options: Any) -> str:
        """The person acts on WeChat's page; where WeChat sends the browser then."""
        answer = await self.stack.simulator("authorize", url=url, person=person, **options)
        assert "error" not in answer, answer
        return str(answer["redirect"])

    async def to_wechat_and_back(
        self, page: Page, person: str = "alice", route: str = "wechat", **query: str
    ) -> str:
        """The address of the callback with code and state, not opened yet."""
        off = await self.start(page, route, **query)
        assert off.status_code == 302, off.text
        return await self.decide_at_wechat(off.headers["Location"], person)

    async def walk(
        self, page: Page, person: str = "alice", route: str = "wechat", **query: str
    ) -> httpx.Response:
        """The whole way: what the browser is shown in the end."""
        return await self.http.get(await self.to_wechat_and_back(page, person, route, **query))

    async def answer(
        self, shown: httpx.Response, allow: bool, origin: str | None = "own"
    ) -> httpx.Response:
        """Press a button of the page that asks."""
        headers = {} if origin is None else {"Origin": origin}
        if origin == "own":
            headers = {"Origin": f"http://127.0.0.1:{self.stack.port}"}
        data = {"value": value_of(shown), "allow": "1" if allow else "0"}
        return await self.http.post("/oauth/allow", data=data, headers=headers)


def value_of(shown: httpx.Response) -> str:
    """The one-time value in the form of the page that asks."""
    found = re.search(r'name="value" value="([A-Za-z0-9_-]{43})"', shown.text)
    assert found, shown.text
    return found[1]


def asks(shown: httpx.Response) -> bool:
    return 'action="/oauth/allow"' in shown.text


def title(shown: httpx.Response) -> str:
    found = re.search(r"<h1>(.*?)</h1>", shown.text)
    assert found, shown.text
    return found[1]
