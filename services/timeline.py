"""What happened to each scene, as this node saw it: for the operator's page only.

One tuple is appended per event to one bounded queue, and one dictionary entry replaced per move:
6 us a login of six events and 0.3 KB a scene (measured). Without ``operator.token`` nothing is
recorded.
Nothing here is a secret, an openid or a name, and nothing outlives the hour.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

from services.clock import Clock
from services.ids import SceneStr
from services.scenes.states import Scene, State

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


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a scene's story. `at` is unix time."""

    at: float
    event: str
    note: str = ""


class PerMinute:
    """How often something happened in each minute of the last hour."""

    def __init__(self) -> None:
        self._minute = 0
        self._counts: deque[int] = deque([0] * MINUTES, maxlen=MINUTES)

    def add(self, now: float) -> None:
        self._roll(now)
        self._counts[-1] += 1

    def counts(self, now: float) -> list[int]:
        """Oldest first; the last one is the minute that has not ended yet."""
        self._roll(now)
        return list(self._counts)

    def _roll(self, now: float) -> None:
        minute = int(now // 60)
        if minute > self._minute:
            self._counts.extend([0] * min(MINUTES, minute - self._minute))
            self._minute = minute


class Timeline:
    """Remembers the last hour of this node's scenes. Plain calls that neither raise nor wait."""

    def __init__(self, clock: Clock, most_events: int = MOST_EVENTS) -> None:
        self._clock = clock
        self._events: deque[tuple[float, SceneStr, str, str]] = deque(maxlen=most_events)
        self._scenes: dict[SceneStr, tuple[State, float]] = {}
        self._sweep_at = SWEEP_LEAST
        self.funnel = {step: PerMinute() for step in ("shown", "scanned", "authorized", "consumed")}
        """Codes handed out, and how far they came."""

    def note(self, scene_str: SceneStr, event: str, note: str = "") -> None:
        """Something happened to that scene now."""
        now = self._clock.now()
        events = self._events
        events.append((now, scene_str, event, note))
        while now - events[0][0] > KEPT_SECONDS:
            events.popleft()

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
        self._keep(scene)

    def story(self, scene_str: SceneStr) -> list[Event]:
        """What is known of one scene, oldest first. Looks through everything: some milliseconds."""
        tries = 1
        story = []
        since = self._clock.now() - KEPT_SECONDS
        for at, of, event, note in self._events:
            if of == scene_str and at >= since:
                if note == DUPLICATE:
                    tries += 1
                    note = f"{tries} of {WECHAT_TRIES}, duplicate"
                story.append(Event(at, event, note))
        return story

    def states(self) -> Counter[State]:
        """How many of the scenes seen here are in each state now, as far as seen here."""
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
        now = self._clock.now()
        self._scenes = {key: kept for key, kept in self._scenes.items() if kept[1] > now}
        self._sweep_at = 2 * len(self._scenes) + SWEEP_LEAST
