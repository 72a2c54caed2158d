"""What happened to each scene, as this node saw it: for the operator's page only.

`History` remembers the last hour. `RecordedScenes` and `RecordedLogins` stand before the real
stores and note what comes of each move; they keep the stores' contracts as they are. All of it
exists only where an operator's token is configured: without it a login does not pay for it.

Nothing here is a secret, an openid or a name, and nothing outlives the hour.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from heapq import nlargest
from typing import NamedTuple

from services.clock import Clock
from services.ids import SHORT_DIGITS, SceneStr
from services.people.store import Identity
from services.scenes.login import Completion, LoginStore, LoginTerms
from services.scenes.states import FINAL, Move, Scene, State, Step, Verdict
from services.scenes.status import of_authorization, of_kiosk
from services.scenes.store import Attachment, ObservedScenes, SceneStore

MOST_EVENTS = 100_000
"""The newest are kept, at most some 15 MB: 15,000 whole logins."""

KEPT_SECONDS = 3600.0

MINUTES = 60

DUPLICATE = "duplicate"
"""The note of an event of WeChat that came again."""

WECHAT_TRIES = 3
"""WeChat's page "Receiving event pushes": it tries three times."""

SWEEP_LEAST = 10_000
"""So many scenes are added before those that ended are looked for: one step each, on average."""

SWEPT_SECONDS = 1.0
"""A scene may have ended for so long and count still."""

BY_TIME = "by time"
"""The note of an end that no move made."""

MOST_BY_PAGE = 20
"""So many times it is noted of one scene that its page was connected or had its login: a page that
connects without end takes no other scene's history away."""

MOST_OF_STORY = 200
"""Events that are told of one scene, the first and the last ones."""

MOST_FAILURES = 20
"""The newest failed logins that are remembered one by one."""

UNFINISHED = frozenset({State.SCANNED, State.CONFIRMING, State.REGISTERING})
"""A person has scanned and was not let in yet: that time ends such a login is a failure."""

SETTLED_SECONDS = 60.0
"""A wanted scene to which nothing has happened for so long is not looked for again."""


class HistoryEvent(NamedTuple):
    """One line of a scene's history. `at` is unix time."""

    at: float
    event: str
    note: str = ""


class Failure(NamedTuple):
    """A login that failed or was denied here, or was not finished in time. `at` is unix time."""

    at: float
    scene_str: SceneStr
    state: str
    error: str
    kind: str
    account: str
    kiosk: str
    left_in: str = ""
    """Where time ended it: the state that it was in until then."""


class PerMinute:
    """How often something happened in each minute of the last hour, or how large it was."""

    def __init__(self) -> None:
        self._minute = 0
        self._counts: deque[int] = deque([0] * MINUTES, maxlen=MINUTES)

    def add(self, now: float, times: int = 1) -> None:
        self._roll(now)
        self._counts[-1] += times

    def raise_to(self, now: float, value: int) -> None:
        """Keep the largest value of the minute."""
        self._roll(now)
        self._counts[-1] = max(self._counts[-1], value)

    def counts(self, now: float) -> list[int]:
        """Oldest first; the last one is the minute that has not ended yet."""
        self._roll(now)
        return list(self._counts)

    def _roll(self, now: float) -> None:
        minute = int(now // 60)
        if minute > self._minute:
            self._counts.extend([0] * min(MINUTES, minute - self._minute))
            self._minute = minute


class History:
    """Remembers the last hour of this node's scenes. Plain calls that neither raise nor wait."""

    # One tuple is appended per event to one bounded queue, and one dictionary entry replaced per
    # move: 6 us a login of six events, and 0.3 KB a scene (measured).

    def __init__(self, clock: Clock, most_events: int = MOST_EVENTS) -> None:
        self._clock = clock
        self._events: deque[tuple[float, SceneStr, str, str]] = deque(maxlen=most_events)
        self._by_page: Counter[tuple[SceneStr, str]] = Counter()
        self._scenes: dict[SceneStr, tuple[State, float]] = {}
        self._left: dict[SceneStr, tuple[State, float]] = {}
        """The newest scenes of those in a state of `UNFINISHED` whose time is up."""
        self._sweep_at, self._swept_at = SWEEP_LEAST, 0.0
        self.funnel = {step: PerMinute() for step in ("shown", "scanned", "authorized", "consumed")}
        """Codes handed out, and how far they came."""
        self.unlucky = {step: PerMinute() for step in ("failed", "denied")}
        """Logins that ended otherwise: by a move, or in time without what the server owed."""
        self._failures: deque[Failure] = deque(maxlen=MOST_FAILURES)
        self._wanted_since: dict[str, float] = {}
        self._stories: dict[SceneStr, list[HistoryEvent]] = {}

    def note(self, scene_str: SceneStr, event: str, note: str = "") -> None:
        """Something happened to that scene now."""
        now = self._clock.now()
        events = self._events
        events.append((now, scene_str, event, note))
        while now - events[0][0] > KEPT_SECONDS:
            events.popleft()

    def shown(self, scene: Scene) -> None:
        """Its page is connected by a socket."""
        self._note_by_page(scene.scene_str, "shown", "socket")

    def delivered(self, scene: Scene) -> None:
        """The status of a login was rendered for a socket or a poll."""
        self._note_by_page(scene.scene_str, "delivered", f"seq {scene.seq}")

    def _note_by_page(self, scene_str: SceneStr, event: str, note: str) -> None:
        by_page = self._by_page
        if len(by_page) >= SWEEP_LEAST:
            # Of so many scenes a few notes more do no harm.
            by_page.clear()
        times = by_page[scene_str, event] = by_page.get((scene_str, event), 0) + 1
        if times <= MOST_BY_PAGE:
            self.note(scene_str, event, note)

    def made(self, scene: Scene) -> None:
        """A scene was begun here."""
        self.note(scene.scene_str, "made", scene.details.get("kiosk", ""))
        self.funnel["shown"].add(self._clock.now())
        self._keep(scene)

    def moved(self, scene: Scene, note: str = "") -> None:
        """A scene came into its present state, by a move asked for here."""
        self.note(scene.scene_str, scene.state.value, note)
        if (step := self.funnel.get(scene.state)) is not None:
            step.add(self._clock.now())
        elif (end := self.unlucky.get(scene.state)) is not None:
            now = self._clock.now()
            end.add(now)
            self._fail(now, scene)
        self._keep(scene)

    def _fail(self, at: float, scene: Scene, left_in: str = "") -> None:
        self._failures.append(
            Failure(
                at,
                scene.scene_str,
                scene.state.value,
                scene.error,
                scene.kind.value,
                scene.account,
                scene.details.get("kiosk", ""),
                left_in,
            )
        )

    def left(self) -> Sequence[SceneStr]:
        """Scenes whose time is up, as far as seen here, while a person was to finish them: `ended`
        wants to know what became of them. The newest ones, as many as failures are remembered."""
        self._sweep()
        return [*self._left]

    def ended(self, scene_str: SceneStr, scene: Scene | None) -> None:
        """What one of `left` is by the store; None: it is forgotten there."""
        known = self._left.pop(scene_str, None)
        # While the store was asked, newer ones may have taken its place.
        if known is None or scene is None:
            return
        left_in, ends_at = known
        until = scene.changed_at if scene.state in FINAL else scene.ends_at
        # A store keeps whole microseconds. Where the times differ, another node has moved it.
        if abs(until - ends_at) > 0.001:
            return
        if scene.state not in FINAL:
            self._keep(scene)  # the clock of the store is behind: next time
            return
        self._events.append((ends_at, scene_str, scene.state.value, BY_TIME))
        if scene.state is State.FAILED:
            self.unlucky[scene.state].add(self._clock.now())
        self._fail(ends_at, scene, left_in.value)

    def failures(self) -> Sequence[Failure]:
        """The newest logins of this hour that failed or were denied here, oldest first."""
        since = self._clock.now() - KEPT_SECONDS
        return [failure for failure in self._failures if failure.at >= since]

    def stories(self, wanted: Collection[str]) -> dict[SceneStr, list[HistoryEvent]]:
        """What is known of the scenes with those short ids, as `find`, but each is looked for only
        until nothing more has happened to it for a minute."""
        now = self._clock.now()
        for short in wanted:
            self._wanted_since.setdefault(short, now)
        for short in self._wanted_since.keys() - wanted:
            del self._wanted_since[short]
        newest = {key[:SHORT_DIGITS]: story[-1].at for key, story in self._stories.items()}
        growing = {
            short
            for short, since in self._wanted_since.items()
            if now - max(since, newest.get(short, 0)) <= SETTLED_SECONDS
        }
        settled = self._wanted_since.keys() - growing
        kept = {key: story for key, story in self._stories.items() if key[:SHORT_DIGITS] in settled}
        self._stories = kept | self.find(growing)
        return self._stories

    def find(self, short_ids: Collection[str]) -> dict[SceneStr, list[HistoryEvent]]:
        """What is known of each scene that has one of those short ids, oldest first. Looks through
        everything once: some milliseconds."""
        found: dict[SceneStr, list[HistoryEvent]] = {}
        since = self._clock.now() - KEPT_SECONDS
        for at, of, event, note in self._events if short_ids else ():
            if of[:SHORT_DIGITS] in short_ids and at >= since:
                story = found.setdefault(of, [])
                if note == DUPLICATE:
                    # WeChat's own first try is the scan; each duplicate is a further one.
                    tries = 2 + sum(known.note.endswith(DUPLICATE) for known in story)
                    note = f"{tries} of {WECHAT_TRIES}, duplicate"
                if len(story) == MOST_OF_STORY:
                    del story[MOST_OF_STORY // 2]
                story.append(HistoryEvent(at, event, note))
        return found

    def states(self) -> Counter[State]:
        """How many of the scenes seen here are in each state now, as far as seen here."""
        # A report looks for what is left just before: 10 ms for 100,000 scenes, not twice.
        if self._clock.now() - self._swept_at > SWEPT_SECONDS:
            self._sweep()
        return Counter(state for state, _ in self._scenes.values())

    def logins_per_minute(self) -> list[int]:
        return self.funnel["authorized"].counts(self._clock.now())

    def funnel_of_the_hour(self) -> Iterator[tuple[str, int]]:
        now = self._clock.now()
        for step, counts in self.funnel.items():
            yield step, sum(counts.counts(now))

    def _keep(self, scene: Scene) -> None:
        self._scenes[scene.scene_str] = (scene.state, scene.ends_at)
        if len(self._scenes) >= self._sweep_at:
            self._sweep()

    def _sweep(self) -> None:
        now, live = self._clock.now(), {}
        for key, kept in self._scenes.items():
            if kept[1] > now:
                live[key] = kept
            elif kept[0] in UNFINISHED:
                self._left[key] = kept
        self._scenes, self._swept_at = live, now
        if len(self._left) > MOST_FAILURES:
            # An outage leaves thousands at once.
            newest = nlargest(MOST_FAILURES, self._left.items(), key=lambda item: item[1][1])
            self._left = dict(newest)
        # Twice as many as are left, so that each scene that comes is looked at once on average.
        self._sweep_at = 2 * len(self._scenes) + SWEEP_LEAST


class RecordedScenes(ObservedScenes):
    """A `SceneStore` whose moves are noted."""

    def __init__(self, scenes: SceneStore, history: History) -> None:
        super().__init__(scenes)
        self._history = history

    async def create(self, scene: Scene) -> Scene:
        kept = await self._scenes.create(scene)
        self._history.made(kept)
        return kept

    async def advance(self, scene_str: SceneStr, move: Move) -> Step:
        step = await self._scenes.advance(scene_str, move)
        note_step(self._history, scene_str, move, step)
        return step

    async def attach(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Attachment | None:
        attachment = await self._scenes.attach(scene_str, node, connection, watch_hash)
        self._shown(None if attachment is None else attachment.scene, connection)
        return attachment

    def attach_nowait(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Scene | None:
        scene = self._scenes.attach_nowait(scene_str, node, connection, watch_hash)
        self._shown(scene, connection)
        return scene

    def _shown(self, scene: Scene | None, connection: int) -> None:
        if scene is not None and connection > 0:
            self._history.shown(scene)


class RecordedLogins:
    """A `LoginStore` whose moves are noted."""

    def __init__(self, logins: LoginStore, history: History) -> None:
        self._logins = logins
        self._history = history

    async def complete_login(
        self,
        scene_str: SceneStr,
        claim: Move,
        identity: Identity,
        terms: LoginTerms,
        *,
        unionid_wanted: bool,
    ) -> Completion:
        completion = await self._logins.complete_login(
            scene_str, claim, identity, terms, unionid_wanted=unionid_wanted
        )
        step = completion.step
        if completion.login is None or step.verdict is not Verdict.MOVED or step.scene is None:
            note_step(self._history, scene_str, claim, step)
        else:
            # Claimed and authorized by one transaction: the scan is noted for both.
            self._history.note(scene_str, "scanned")
            self._history.funnel["scanned"].add(step.now)
            self._history.moved(step.scene, _note_of(step.scene))
        return completion


async def note_left(history: History, scenes: SceneStore) -> None:
    """Note which scenes time has ended since the last call. Raises `StoreUnavailable`: those that
    are left are looked for by the next call."""
    for scene_str in history.left():
        history.ended(scene_str, await scenes.get(scene_str))


def note_step(history: History, scene_str: SceneStr, move: Move, step: Step) -> None:
    """Note what came of a move, in the operator's words."""
    scene = step.scene
    if step.verdict is Verdict.MOVED and scene is not None:
        history.moved(scene, _note_of(scene))
    elif step.reply is not None:
        history.note(scene_str, "callback", DUPLICATE)
    elif move.to is State.SCANNED and scene is not None:
        history.note(scene_str, "callback", _why_not(move, step, scene))


def _note_of(scene: Scene) -> str:
    match scene.state:
        case State.CONSUMED:
            return "exchanged" if of_kiosk(scene) or of_authorization(scene) else "acked"
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
        return "refused: another account or login kind"
    if scene.openid is not None and scene.openid != move.openid:
        return "refused: another person"
    return f"refused: {scene.state.value}"
