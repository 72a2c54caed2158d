"""The states of the login page, and the languages, themes and sizes in which each is looked at."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from .conftest import Fake, eventually, view, wait_for_state
from .fake_server import KIOSK_SECRET
from .look import look
from .walks import speak

Shown = Callable[[Page, Fake], None]
"""Brings a page that waits on the fake server into a state."""


PERSON = {"user": {"name": "王**"}}


def moved(state: str, **extra: Any) -> Shown:
    """By a move of its scene."""

    def show(page: Page, fake: Fake) -> None:
        fake.move(state, **extra)
        wait_for_state(page, "failed" if state == "consumed" else state)
        if state == "registering":
            page.locator("scan-login form input").nth(2).wait_for()
        if extra.get("confirm") == "number":
            page.locator("scan-login form input").wait_for()

    return show


def refused(status: int, error: str, trouble: str = "") -> Shown:
    """By the answer to the next request for a code."""

    def show(page: Page, fake: Fake) -> None:
        fake.set(begin=[status, error])
        page.evaluate("() => { scan.again(); }")
        eventually(lambda: view(page).get("error") == error)
        assert view(page).get("trouble", "") == trouble
        fake.set(begin=None)

    return show


def offline(page: Page, fake: Fake) -> None:
    page.context.set_offline(True)
    page.evaluate("() => { scan.again(); }")
    eventually(lambda: view(page).get("trouble") == "offline")


def expired(page: Page, fake: Fake) -> None:
    """After a scan: a code without one is replaced by the next."""
    moved("scanned", **PERSON)(page, fake)
    moved("expired")(page, fake)


def replaced(page: Page, fake: Fake) -> None:
    eventually(lambda: fake.seen()["sockets"] == 1)
    fake.close(4409)
    wait_for_state(page, "replaced")


STATES: dict[str, Shown] = {
    "waiting": lambda page, fake: None,
    "scanned": moved("scanned", **PERSON),
    "confirming": moved("confirming", **PERSON, confirm="chat"),
    "number": moved("confirming", **PERSON, confirm="number"),
    "registering": moved("registering", register_fields=["name", "phone", "email"]),
    "authorized": moved("authorized"),
    "denied": moved("denied"),
    "cancelled": moved("cancelled"),
    "failed": moved("failed", error="try_again"),
    "used": moved("consumed"),
    "expired": expired,
    "replaced": replaced,
    "degraded": refused(503, "wechat_unavailable", "degraded"),
    "refused": refused(403, "forbidden_origin"),
    "limited": refused(429, "rate_limited", "limited"),
    "offline": offline,
}
"""Every state in which `/` can be seen."""


def at_wall(*states: str, passes: bool = False, **extra: Any) -> Shown:
    """By moves of the first scene on a kiosk; `passes`: until the answer on the plate is over."""

    def show(page: Page, fake: Fake) -> None:
        for state in states:
            fake.move(state, nth=0, **extra)
            page.locator("#guests li").wait_for()
        if passes:
            page.clock.run_for(2000)

    return show


def reopened(path: str, **switches: Any) -> Shown:
    """The kiosk's page, opened again under these switches of the fake server."""

    def show(page: Page, fake: Fake) -> None:
        fake.set(**switches)
        page.goto("about:blank")
        page.goto(fake.url + path)
        page.locator("#trouble small, #pair-code:not([hidden])").first.wait_for()

    return show


def revoked(page: Page, fake: Fake) -> None:
    eventually(lambda: fake.seen()["sockets"])
    fake.screen(revoked=True)
    page.locator("#pair-code:not(:empty)").wait_for()


UNPAIRED = "/kiosk?lang=zh-CN"
LOBBY = f"{UNPAIRED}#lobby3:{KIOSK_SECRET}"
NOTICE = {"notice": "二楼会议室今天 14:00–16:00 维护，请到一楼前台登记", "label": "三号大厅"}
WALLS: dict[str, Shown] = {
    "waiting": lambda page, fake: None,
    "scanned": at_wall("scanned", **PERSON),
    "confirming": at_wall("confirming", confirm="chat", passes=True, **PERSON),
    "number": at_wall("confirming", confirm="number", **PERSON),
    "welcome": at_wall("authorized", **PERSON),
    "welcome without a name": at_wall("authorized", passes=True),
    "denied": at_wall("scanned", "denied", passes=True, **PERSON),
    "failed": at_wall("scanned", "failed", passes=True, error="try_again"),
    "notice": lambda page, fake: fake.screen(**NOTICE),
    "degraded": reopened(LOBBY, begin=[503, "wechat_unavailable"]),
    "unknown": reopened(f"{UNPAIRED}#lobby3:wrong"),
    "pairing": reopened(UNPAIRED),
    "pairing is off": reopened(UNPAIRED, pairing=404),
    "revoked": revoked,
}
"""Every state in which a kiosk can be seen."""

Face = tuple[str, str, int, int]
FACES: list[Face] = [
    ("zh-CN", "light", 320, 640),
    ("zh-CN", "dark", 1280, 800),
    ("en", "light", 1280, 800),
    ("en", "dark", 320, 640),
]
MORE_FACES: list[Face] = [
    ("ja", "light", 320, 640),
    ("zh-TW", "dark", 768, 1024),
    ("zh-CN", "light", 3840, 2160),
]


def in_many_faces(page: Page, name: str, faces: list[Face]) -> list[Any]:
    """Look at the page in languages, themes and sizes, without disturbing its state."""
    wrong = []
    for lang, theme, width, height in faces:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": height})
        speak(page, lang)
        page.evaluate("document.activeElement.blur()")
        if width == 3840:
            box = page.locator("scan-login [part=plate]").bounding_box()
            assert box is not None and box["width"] > 800
        wrong += look(page, f"{name}-{lang}-{theme}-{width}")
    return wrong
