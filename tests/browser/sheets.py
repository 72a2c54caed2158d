"""Contact sheets of the login page: every state, at four widths, in four languages and two themes.

``python -m tests.browser.sheets [STATE ...]`` puts a page for each width and theme into
artifacts/sheets/, which git ignores, to be looked at after a change of static/. With ``kiosk`` in
place of states it does so for a kiosk, a page for each size of screen; with ``readme`` it takes the
README's pictures again, on port 8888.
"""

import argparse
import base64
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import cycle
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.processes import ROOT

from .conftest import ARGUMENTS, ARTIFACTS, CHROMIUMS, Fake, eventually, wait_for_state
from .faces import LOBBY, STATES, WALLS
from .look import SHIFTS
from .real_server import Real

SHEETS = ARTIFACTS / "sheets"
SIZES = {1280: 800, 768: 1024, 390: 844, 320: 640}
SCREENS = ((1920, 1080), (1080, 1920), (3840, 2160), (1366, 768))
KINDS = ("code", "website", "mini_program", "web")
ACCOUNT = {
    "account_name": "示例茶馆服务号",
    "account_qr": "http://weixin.qq.com/r/tea-house-by-the-lake",
}
PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126 Mobile"
WECHAT = f"{PHONE} MicroMessenger/8.0.50"
FIGURE = '<figure><img src="data:image/png;base64,{}"><figcaption>{}</figcaption></figure>'
SHEET = """<!doctype html><style>body {{ margin: 16px; font: 28px sans-serif; background: #888 }}
main {{ display: grid; grid-template-columns: repeat({}, 1fr); gap: 16px; align-items: start }}
figure {{ margin: 0 }} img {{ width: 100% }}</style><main>{}</main>"""


def pictures(browser: Browser, fake: Fake, width: int, theme: str, names: list[str]) -> list[str]:
    """The states as figures, each in the next of the languages."""
    figures = []
    languages = cycle(["zh-CN", "en", "ja", "zh-TW"])
    for name in names:
        lang = next(languages)
        fake.set(reset=True)
        kind = name if name in KINDS else "official_account"
        kinds = dict.fromkeys([kind, "official_account", "code"])
        fake.set(kinds=" ".join(kinds), **ACCOUNT)
        context = browser.new_context(
            locale=lang,
            viewport={"width": width, "height": SIZES[width]},
            color_scheme=theme,  # type: ignore[arg-type]
            reduced_motion="reduce",
            has_touch=width < 400,
            is_mobile=width < 400,
            user_agent=WECHAT if name == "web" and width < 400 else PHONE if width < 400 else None,
        )
        context.add_init_script(SHIFTS)
        context.add_init_script(f"sessionStorage['scanpush kind'] ??= '{kind}'")
        page = context.new_page()
        page.goto(fake.url)
        wait_for_state(page, "waiting")
        if name in STATES:
            STATES[name](page, fake)
        page.wait_for_timeout(150)
        shifted = sum(shift[0] for shift in page.evaluate("shifts"))
        picture = base64.b64encode(page.screenshot(full_page=True)).decode()
        figures.append(FIGURE.format(picture, f"{name} {lang} {shifted:.3f}"))
        context.close()
    return figures


def walls(browser: Browser, fake: Fake) -> dict[tuple[int, int], list[str]]:
    """A kiosk's states as figures, by size of the screen; its clock stands still meanwhile."""
    figures: dict[tuple[int, int], list[str]] = {size: [] for size in SCREENS}
    for name, show in WALLS.items():
        fake.set(reset=True)
        context = browser.new_context(locale="zh-CN", reduced_motion="reduce")
        page = context.new_page()
        page.clock.install()
        page.goto(fake.url + LOBBY)
        page.locator("#plate[data-scene]").wait_for()
        # A socket that is on its way when the clock stops may wait for a timer without end.
        eventually(lambda: fake.seen()["sockets"])
        page.clock.pause_at(datetime.now() + timedelta(seconds=10))
        show(page, fake)
        page.wait_for_timeout(150)
        for width, height in SCREENS:
            page.set_viewport_size({"width": width, "height": height})
            picture = base64.b64encode(page.screenshot()).decode()
            figures[width, height].append(FIGURE.format(picture, name))
        context.close()
    return figures


def readme(browser: Browser) -> None:
    """The pictures of the two READMEs, from a server as a newcomer has it."""
    with tempfile.TemporaryDirectory() as folder, Real(Path(folder), server={"port": 8888}) as real:
        for lang in ("en", "zh-CN"):
            page = browser.new_page(locale=lang, viewport={"width": 1100, "height": 740})
            page.goto(real.url)
            wait_for_state(page, "waiting")
            page.wait_for_timeout(2000)
            picture = ROOT / "docs" / "images" / f"login-{lang}.png"
            page.screenshot(path=picture)
            page.close()


def main(names: list[str]) -> None:
    SHEETS.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.browser.fake_server"]
    chromium = next(filter(None, map(shutil.which, CHROMIUMS)))
    with (
        sync_playwright() as playwright,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process,
        ExitStack() as closing,
    ):
        # Whatever happens, or leaving this block would wait for it without end.
        closing.callback(process.terminate)
        assert process.stdout is not None
        fake = Fake(int(process.stdout.readline()))
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        sheet = browser.new_page(viewport={"width": 2000, "height": 1000})
        if names == ["readme"]:
            readme(browser)
        elif names == ["kiosk"]:
            for (width, height), found in walls(browser, fake).items():
                sheet.set_content(SHEET.format(3 if width > height else 5, "".join(found)))
                sheet.screenshot(path=SHEETS / f"kiosk-{width}x{height}.png", full_page=True)
        else:
            for width in SIZES:
                for theme in ("light", "dark"):
                    found = pictures(browser, fake, width, theme, names or [*STATES, *KINDS])
                    sheet.set_content(SHEET.format(4 if width > 400 else 7, "".join(found)))
                    sheet.screenshot(path=SHEETS / f"login-{width}-{theme}.png", full_page=True)
        browser.close()
    print(SHEETS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tests.browser.sheets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = [*STATES, *KINDS, "kiosk", "readme"]
    parser.add_argument("names", nargs="*", metavar="STATE", help=", ".join(known))
    names = parser.parse_args().names
    if unknown := set(names) - set(known):
        parser.error(f"no such state: {', '.join(sorted(unknown))}")
    main(names)
