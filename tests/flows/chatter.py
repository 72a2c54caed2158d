"""A person in an account's chat, push by push: who says what, when, and how often it arrives."""

import itertools
import secrets

import httpx

from services.ids import secret_hash
from services.scenes.states import Kind
from simulator.messages import PushRequest
from tests.contracts.scenes import a_scene
from tests.stack import Page, Stack

_MESSAGE_IDS = itertools.count(23_000_000_000_000_000)


class Chatter:
    """One person as one account knows them. What they do is sent once, and the reply returned."""

    def __init__(self, stack: Stack, name: str = "alice", account: str | None = None) -> None:
        self._stack = stack
        self._sender = stack.sender(account)
        self.name = name

    @property
    def openid(self) -> str:
        return self._sender.openid(self.name)

    def event(self, event: str, at: float | None = None, **fields: str | int) -> PushRequest:
        """An event of this person, as of `at` (now), sealed now."""
        now = self._stack.now
        made = self._sender.event(event, self.name, now if at is None else at, **fields)
        return self._sender.sealed(made, now)

    def text(self, content: str, at: float | None = None) -> PushRequest:
        """A new text message."""
        fields: dict[str, str | int] = {"Content": content, "MsgId": next(_MESSAGE_IDS)}
        now = self._stack.now
        made = self._sender.event("", self.name, now if at is None else at, MsgType="text")
        del made["Event"]
        return self._sender.sealed(made | fields, now)

    def scan(self, page: Page, at: float | None = None) -> PushRequest:
        return self.event("SCAN", at, EventKey=page.scene_str, Ticket="gQ")

    async def send(self, push: PushRequest) -> httpx.Response:
        return await self._sender.send(push)

    async def sends(self, push: PushRequest) -> str:
        """What stands in the chat then; empty where the answer was ``success``."""
        return self._sender.read(await self.send(push), self.name).text

    async def says(self, content: str) -> str:
        return await self.sends(self.text(content))

    async def scans(self, page: Page) -> str:
        return await self.sends(self.scan(page))


async def planted(
    stack: Stack, kind: Kind, *, account: str = "default", life: float = 180, **details: str
) -> Page:
    """A page whose scene was put into the store as it is, whichever login kind would have made
    it."""
    watch_token = secrets.token_urlsafe(32)
    watch_hash = secret_hash(watch_token)
    scene = a_scene(stack.now, life, kind=kind, account=account, lang="en", details=details)
    scene = scene._replace(watch_hash=watch_hash, begin_hash=b"")
    await stack.container.backend.scenes.create(scene)
    path = f"/api/scenes/{scene.scene_str}"
    document = {
        "scene_str": scene.scene_str,
        "watch_token": watch_token,
        "ws": f"/ws/{scene.scene_str}",
        "status": path,
    }
    return Page(stack, document, "")
