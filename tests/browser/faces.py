"""The languages, themes and sizes in which each state of the login page is looked at."""

from typing import Any

from playwright.sync_api import Page

from .look import look
from .walks import speak

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
