"""A scan that becomes a login in one step, where scenes and people share a store.

The steps of a login (claim, find the person, authorize) are three transactions where scenes and
people live apart. In one database they are one: nothing lies between them, so nothing can be left
there, and it costs a third (docs/performance.md).
"""

from collections.abc import Callable
from typing import Protocol

from services.clock import Clock
from services.ids import SceneStr
from services.people.store import Identity, Login
from services.people.store_sqlite import log_in_within
from services.scenes.states import Move, Scene, State, Step, Verdict, apply
from services.scenes.store_sqlite import SqliteSceneStore, claimed_within, saved_within
from services.sqlite import Connection

Authorization = Callable[[Scene, Login], Move]
"""The last move, once it is known who logs in."""


class WholeLogin(Protocol):
    """Claim, person and authorization, all or nothing; noticed once, after it is saved."""

    async def log_in(
        self,
        scene_str: SceneStr,
        claim: Move,
        identity: Identity,
        then: Authorization,
        *,
        unionid_wanted: bool,
    ) -> tuple[Step, Login | None] | None:
        """The last move that was tried. Without a login it is the claim, which then moved nothing.

        Args:
            then: called in the transaction; must be pure.
            unionid_wanted: for a person whose unionid is unknown nothing is done, and None is
                returned: somebody must ask for it first.
        """


class SqliteWholeLogin:
    """`WholeLogin` in the embedded database."""

    def __init__(self, clock: Clock, scenes: SqliteSceneStore) -> None:
        self._clock = clock
        self._scenes = scenes

    async def log_in(
        self,
        scene_str: SceneStr,
        claim: Move,
        identity: Identity,
        then: Authorization,
        *,
        unionid_wanted: bool,
    ) -> tuple[Step, Login | None] | None:
        now = self._clock.now()

        def job(db: Connection) -> tuple[Step, Login | None] | None:
            claimed = claimed_within(db, scene_str, claim, now)
            scene = claimed.scene
            if claimed.reply is not None or scene is None or scene.state is not State.SCANNED:
                return claimed, None
            if claimed.verdict is Verdict.REFUSED:
                return claimed, None
            login = log_in_within(
                db,
                identity,
                scene,
                now,
                first_try=claimed.verdict is Verdict.MOVED,
                unionid_wanted=unionid_wanted,
            )
            if login is None:
                return None
            move = then(scene, login)
            step = apply(scene, move, now)
            if step.verdict is Verdict.MOVED and step.scene is not None:
                saved_within(db, step.scene, (claim, move), now)
            return step, login

        return await self._scenes.written(scene_str, job, self._done)

    def _done(self, done: tuple[Step, Login | None] | None) -> None:
        """Without a login the claim moved nothing."""
        if done is not None and done[1] is not None:
            self._scenes.moved(done[0])
