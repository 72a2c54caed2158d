"""Contact sheets of the login page: every state, at four widths, in four languages and two themes.

``python -m tests.browser.sheets [STATE ...]`` puts a page for each width and theme into
artifacts/sheets/, which git ignores, to be looked at after a change of static/.
"""

import base64
import shutil
import subprocess
import sys
from itertools import cycle

from playwright.sync_api import Browser, sync_playwright

from tests.processes import ROOT

from .conftest import ARGUMENTS, ARTIFACTS, CHROMIUMS, Fake, wait_for_state
from .faces import STATES
from .look import SHIFTS

SHEETS = ARTIFACTS / "sheets"
SIZES = {1280: 800, 768: 1024, 390: 844, 320: 640}
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
        context.add_init_script(f"sessionStorage['scanpush door'] ??= '{kind}'")
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


def main(names: list[str]) -> None:
    SHEETS.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.browser.fake_server"]
    chromium = next(filter(None, map(shutil.which, CHROMIUMS)))
    with (
        sync_playwright() as playwright,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        fake = Fake(int(process.stdout.readline()))
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        sheet = browser.new_page(viewport={"width": 2000, "height": 1000})
        for width in SIZES:
            for theme in ("light", "dark"):
                found = pictures(browser, fake, width, theme, names or [*STATES, *KINDS])
                sheet.set_content(SHEET.format(4 if width > 400 else 7, "".join(found)))
                sheet.screenshot(path=SHEETS / f"login-{width}-{theme}.png", full_page=True)
        browser.close()
        process.terminate()
    print(SHEETS)


if __name__ == "__main__":
    main(sys.argv[1:])
