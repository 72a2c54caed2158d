"""The sweeper: it writes down what time has decided, and finishes what a crash has left.

That is logins, and questions to WeChat about unionids.
"""

import asyncio
import logging

from services.errors import ApiError, StoreUnavailable, WeChatError
from services.logs import PacedLog
from services.scenes.chat import ChatService
from services.scenes.states import Scene
from services.scenes.store import SceneStore
from services.wechat.accounts import Accounts
from services.wechat.unionids import UnionIds

log = logging.getLogger("scanpush.sweeper")

EXPIRE_SECONDS = 0.25
OWED_SECONDS = 1.0
"""Between two rounds."""

SLICE = 500
"""Scenes touched at once: half a millisecond of the writer, so that no login waits for it long."""


class Sweeper:
    """Runs on every node. Where two sweepers find the same scene, the store lets one move through.

    Args:
        left_after_seconds: from when on a claimed scene counts as left: after the deadline of the
            callback that claimed it.
    """

    def __init__(
        self,
        scenes: SceneStore,
        accounts: Accounts,
        chat: ChatService,
        unionids: UnionIds,
        *,
        left_after_seconds: float,
    ) -> None:
        self._scenes = scenes
        self._accounts = accounts
        self._chat = chat
        self._unionids = unionids
        self._left_after_seconds = left_after_seconds
        self._paced_log = PacedLog(log)

    async def expire_forever(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_SECONDS)
            try:
                while await self._scenes.expire(SLICE) >= SLICE:
                    await asyncio.sleep(0)  # for the logins in between
            except StoreUnavailable as error:
                self._paced_log.log(logging.WARNING, "expiry waits for the store: %s", error)
                await asyncio.sleep(1)
            except Exception:
                # A bug in this server, which may not concern the next round. No failure may end
                # the sweeper: scenes would not expire on this node any more.
                log.error("expiry failed", exc_info=True)
                await asyncio.sleep(1)

    async def finish_forever(self) -> None:
        while True:
            await asyncio.sleep(OWED_SECONDS)
            try:
                for scene in await self._scenes.owed(self._left_after_seconds, SLICE):
                    await self._finish(scene)
            except (StoreUnavailable, WeChatError) as error:
                self._paced_log.log(logging.WARNING, "finishing left logins waits: %s", error)
            except Exception:
                log.error("finishing left logins failed", exc_info=True)

    async def learn_unionids_forever(self) -> None:
        while True:
            await asyncio.sleep(OWED_SECONDS)
            try:
                await self._unionids.sweep()
            except StoreUnavailable as error:
                self._paced_log.log(
                    logging.WARNING, "unionids that are owed wait for the store: %s", error
                )
            except Exception:
                log.error("taking up unionids failed", exc_info=True)

    async def _finish(self, scene: Scene) -> None:
        """Finish one login. A failure of the store or of WeChat concerns all that follow, and is
        raised; any other is of this scene only, and is logged."""
        try:
            account = self._accounts.named(scene.account)
        except ApiError:
            return  # the account is no longer configured: the scene fails by itself
        log.info("finishing scene %s, left by a callback", scene.scene_str)
        try:
            await self._chat.finish_owed(account, scene)
        except (StoreUnavailable, WeChatError):
            raise
        except Exception:
            log.error("scene %s could not be finished", scene.scene_str, exc_info=True)
