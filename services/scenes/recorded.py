"""The stores with somebody beside them who writes down what happened to which scene.

Put before the real stores only where an operator's token is configured: without it a login does
not pay for it. They add nothing to the contracts and hide nothing.
"""

from services.ids import SceneStr
from services.people.store import Identity, Login
from services.scenes.states import Move, Scene, State, Step, Verdict
from services.scenes.status import of_kiosk
from services.scenes.store import SceneStore
from services.scenes.whole_login import Authorization, WholeLogin
from services.timeline import DUPLICATE, Timeline


class RecordedScenes:
    """A `SceneStore` whose moves are noted."""

    def __init__(self, scenes: SceneStore, timeline: Timeline) -> None:
        self._scenes = scenes
        self._timeline = timeline
        self.get = scenes.get
        self.at_hand = scenes.at_hand
        self.reattach = scenes.reattach
        self.detach = scenes.detach
        self.owed = scenes.owed
        self.expire = scenes.expire
        self.recall = scenes.recall
        self.remember = scenes.remember
        self.replace = scenes.replace
        self.take = scenes.take
        self.count = scenes.count
        self.ping = scenes.ping

    async def create(self, scene: Scene) -> Scene:
        kept = await self._scenes.create(scene)
        self._timeline.made(kept)
        return kept

    async def advance(self, scene_str: SceneStr, move: Move) -> Step:
        step = await self._scenes.advance(scene_str, move)
        note_step(self._timeline, scene_str, move, step)
        return step

    async def attach(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Scene | None:
        scene = await self._scenes.attach(scene_str, node, connection, watch_hash)
        self._shown(scene, connection)
        return scene

    def attach_at_hand(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Scene | None:
        scene = self._scenes.attach_at_hand(scene_str, node, connection, watch_hash)
        self._shown(scene, connection)
        return scene

    def _shown(self, scene: Scene | None, connection: int) -> None:
        if scene is not None and connection > 0:
            self._timeline.note(scene.scene_str, "shown", "socket")


class RecordedWholeLogin:
    """A `WholeLogin` whose moves are noted."""

    def __init__(self, whole_login: WholeLogin, timeline: Timeline) -> None:
        self._whole_login = whole_login
        self._timeline = timeline

    async def log_in(
        self,
        scene_str: SceneStr,
        claim: Move,
        identity: Identity,
        then: Authorization,
        *,
        unionid_wanted: bool,
    ) -> tuple[Step, Login | None] | None:
        done = await self._whole_login.log_in(
            scene_str, claim, identity, then, unionid_wanted=unionid_wanted
        )
        if done is None:
            return None
        step, login = done
        if login is not None and step.verdict is Verdict.MOVED and step.scene is not None:
            self._timeline.note(scene_str, "scanned")
            self._timeline.funnel["scanned"].add(step.now)
            self._timeline.moved(step.scene, _person(step.scene))
        else:
            note_step(self._timeline, scene_str, claim, step)
        return done


def note_step(timeline: Timeline, scene_str: SceneStr, move: Move, step: Step) -> None:
    """Write down what became of a move, in the operator's words."""
    scene = step.scene
    if step.verdict is Verdict.MOVED and scene is not None:
        timeline.moved(scene, _how(scene))
    elif step.reply is not None:
        timeline.note(scene_str, "callback", DUPLICATE)
    elif move.to is State.SCANNED and scene is not None:
        timeline.note(scene_str, "callback", _why_not(move, step, scene))


def _how(scene: Scene) -> str:
    match scene.state:
        case State.CONSUMED:
            return "exchanged" if of_kiosk(scene) else "acked"
        case State.AUTHORIZED:
            return _person(scene)
        case State.FAILED:
            return scene.error
    return ""


def _person(scene: Scene) -> str:
    return "new person" if scene.claims is not None and scene.claims.is_new else "known person"


def _why_not(move: Move, step: Step, scene: Scene) -> str:
    if step.verdict is Verdict.REPEATED:
        return "again, by the same person"
    if move.account != scene.account or move.kind != scene.kind:
        return "refused: wrong door"
    if scene.openid is not None and scene.openid != move.openid:
        return "refused: another person"
    return f"refused: {scene.state.value}"
