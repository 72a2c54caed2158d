"""The recorder behind the operator's page: bounded in number and in time."""

from services.ids import SceneStr
from services.scenes.history import (
    DUPLICATE,
    KEPT_SECONDS,
    MOST_BY_PAGE,
    MOST_OF_STORY,
    SWEEP_LEAST,
    History,
    HistoryEvent,
    PerMinute,
)
from services.scenes.states import Scene, State
from tests.clocks import START, StandingClock
from tests.contracts.scenes import a_scene


def scene(name: str = "a", state: State = State.WAITING, ends_at: float = START + 180) -> Scene:
    return a_scene(START, scene_str=SceneStr(name), state=state, ends_at=ends_at)


def story(timeline: History, name: str) -> list[HistoryEvent]:
    """What is known of one scene."""
    return timeline.find({name[:8]}).get(SceneStr(name), [])


def test_a_story_holds_one_scenes_events_in_order() -> None:
    """Others' events lie in between and are left out; repeats are counted."""
    clock = StandingClock()
    timeline = History(clock)
    timeline.made(scene())
    timeline.made(scene("b"))
    clock.seconds += 1
    timeline.note(SceneStr("a"), "callback", DUPLICATE)
    assert story(timeline, "a") == [
        HistoryEvent(START, "made"),
        HistoryEvent(START + 1, "callback", "2 of 3, duplicate"),
    ]


def test_only_the_newest_events_are_kept() -> None:
    """However many come."""
    timeline = History(StandingClock(), most_events=3)
    for number in range(10):
        timeline.note(SceneStr("a"), str(number))
    assert [event.event for event in story(timeline, "a")] == ["7", "8", "9"]


def test_a_page_that_connects_without_end_displaces_nothing() -> None:
    """What it does is noted some times; its scene's first and last events are told."""
    timeline = History(StandingClock(), most_events=3 * MOST_OF_STORY)
    timeline.made(scene("other"))
    timeline.made(scene())
    for _ in range(4 * MOST_OF_STORY):
        timeline.shown(scene())
        timeline.delivered(scene())
    assert story(timeline, "other") == [HistoryEvent(START, "made")]
    assert len(story(timeline, "a")) == 1 + 2 * MOST_BY_PAGE
    for _ in range(2 * MOST_OF_STORY):
        timeline.note(SceneStr("a"), "callback", DUPLICATE)
    timeline.made(scene())
    first, *_, last = told = story(timeline, "a")
    assert (first.event, last.event, len(told)) == ("made", "made", MOST_OF_STORY)


def test_old_events_go_as_new_ones_come() -> None:
    """Nothing is told after an hour."""
    clock = StandingClock()
    timeline = History(clock)
    timeline.note(SceneStr("a"), "old")
    timeline.note(SceneStr("a"), "as old")
    clock.seconds += KEPT_SECONDS + 1
    assert story(timeline, "a") == []
    timeline.note(SceneStr("a"), "new")
    assert [event.event for event in story(timeline, "a")] == ["new"]
    assert len(timeline._events) == 1


def test_states_count_each_scene_once_while_it_lives() -> None:
    """By its newest state; what ended is not counted any more."""
    clock = StandingClock()
    timeline = History(clock)
    timeline.made(scene("a"))
    timeline.made(scene("b"))
    timeline.moved(scene("a", State.AUTHORIZED, START + 60))
    assert timeline.states() == {State.AUTHORIZED: 1, State.WAITING: 1}
    clock.seconds += 61
    assert timeline.states() == {State.WAITING: 1}


def test_ended_scenes_are_forgotten_without_anybody_looking() -> None:
    """A server that runs for weeks keeps what lives, and as much again."""
    clock = StandingClock()
    timeline = History(clock)
    for number in range(3 * SWEEP_LEAST):
        clock.seconds += 1
        timeline.made(scene(str(number))._replace(ends_at=clock.now() + 10))
    assert len(timeline._scenes) <= SWEEP_LEAST + 10


def test_minutes_pass_with_and_without_events() -> None:
    """Sixty of them, oldest first; a long silence empties all."""
    counts = PerMinute()
    counts.add(START)
    counts.add(START)
    counts.add(START + 120)
    assert counts.counts(START + 180)[-4:] == [2, 0, 1, 0]
    assert len(counts.counts(START)) == 60
    assert sum(counts.counts(START + 10 * 3600)) == 0


def test_a_clock_set_back_does_no_harm() -> None:
    """It counts into the newest minute."""
    counts = PerMinute()
    counts.add(START)
    counts.add(START - 3600)
    assert counts.counts(START)[-1] == 2
