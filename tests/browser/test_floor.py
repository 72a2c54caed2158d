"""What static/ serves runs in the oldest browsers that it is for (docs/embedding.md, "Browsers").

`floor.mjs` holds that by the data of MDN; here it is run, tried on what it must find, and its
promise tried in a browser that has lost what is younger. `test_engines.py` has real old ones.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import rjsmin
from playwright.sync_api import BrowserContext, Page, expect

from handlers.assets import static_assets

from .conftest import ROOT, Fake, eventually, wait_for_state
from .test_element import embed

pytestmark = pytest.mark.browser
HERE = ROOT / "tests" / "browser"

FACTS = {
    "simulated": "false",
    "phone": "",
    "site": "Site",
    "kinds": "official_account",
    "logo": "",
    "terms": "",
    "privacy": "",
    "account_name": "",
    "account_qr": "",
    "client": "Shop",
    "authorize": "p",
    "colours": "",
}


def floor(*arguments: str) -> tuple[int, str]:
    """What the check says, and its exit status."""
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / "@mdn").exists():
        pytest.skip("node or MDN's data is not installed: npm install in tests/browser")
    command = [node, str(HERE / "floor.mjs"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_no_file_of_static_is_younger_than_its_floor() -> None:
    """Every script and style sheet has only what its oldest browsers have."""
    status, said = floor()
    assert status == 0, said


def test_what_is_put_together_is_no_younger(tmp_path: Path) -> None:
    """The element and the pages as they are sent: the server's own lines in them, too."""
    assets = static_assets()
    element, _ = assets.find("scan-login.js")
    assert element is not None
    (tmp_path / "element.js").write_bytes(element.body)
    for name in ("index", "authorize"):
        page = assets.page(name, "en", FACTS).body.decode()
        scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
        (tmp_path / f"{name}.js").write_text("\n".join(scripts))
        (tmp_path / f"{name}.css").write_text(
            "".join(re.findall(r"<style>(.*?)</style>", page, re.S))
        )
    status, said = floor("pages", *map(str, sorted(tmp_path.iterdir())))
    assert status == 0, said
    assert "5 files" in said


def test_scripts_lose_nothing_when_they_are_made_shorter() -> None:
    """Token by token they stay the same: rjsmin takes spaces out of a nested template."""
    texts = {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for path in sorted((ROOT / "static").rglob("*.js"))
    }
    pairs = [[name, text, rjsmin.jsmin(text)] for name, text in texts.items()]
    assert compared(pairs) == ""


def test_a_space_that_is_lost_is_found() -> None:
    """The comparison names the file and what differs."""
    nested = "a = `${b ? ` ${c}` : d}`;"
    assert compared([["nested", nested, rjsmin.jsmin(nested)]]).startswith("nested: template")


def compared(pairs: list[list[str]]) -> str:
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / "acorn").exists():
        pytest.skip("node or acorn is not installed: npm install in tests/browser")
    return subprocess.run(
        [node, str(HERE / "tokens.mjs")],
        input=json.dumps(pairs),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


YOUNG_SCRIPTS = {
    "a?.b;": "optional_chaining",
    "a ?? b;": "nullish_coalescing",
    "class A { #b = 1; }": "ECMAScript 2020",
    "class A { b = 1; }": "ECMAScript 2020",
    "a ||= b;": "ECMAScript 2020",
    "try { a(); } catch { b(); }": "optional_catch_binding",
    "import.meta.url;": "import_meta",
    "/a/s;": "dotAll",
    "/(?<=a)b/;": "lookbehind_assertion",
    "a.at(-1);": "Array.at",
    "a.flatMap(b);": "flatMap",
    "a.replaceChildren();": "replaceChildren",
    "a.toggleAttribute('hidden');": "toggleAttribute",
    "Object.fromEntries(a);": "fromEntries",
    "queueMicrotask(a);": "queueMicrotask",
    "new EventTarget();": "EventTarget.EventTarget",
    "class A extends EventTarget {}": "EventTarget.EventTarget",
    "new ResizeObserver(a);": "ResizeObserver",
    "const m = matchMedia('a'); m.addEventListener('change', b);": "MediaQueryList",
    "const STYLE = `a { inset: 0; }`;": "css.properties.inset",
}
YOUNG_STYLES = {
    "a { aspect-ratio: 1; }": "aspect-ratio",
    "a { inset: 0; }": "inset",
    ":is(a, b) { color: red; }": "selectors.is",
    "a { display: flex; gap: 1px; }": "flex_context",
    "a { display: grid; gap: 1px; }": "grid_context",
    "a { width: min(1px, 2px); }": "types.min",
    "a { width: 1px; width: min(1px, var(--b)); }": "types.min",
    "a { --b: clamp(1px, 2vw, 3px); }": "types.clamp",
    "a { height: 100dvh; }": "viewport_percentage_units_dynamic",
    "@layer a { b { color: red; } }": "at-rules.layer",
}
OLD_STYLES = """a { display: grid; grid-gap: 1px; gap: 1px; width: 1px; width: min(1px, 2px); }
@supports (width: clamp(1px, 1px, 1px)) { a { --b: clamp(1px, 2vw, 3px); } }"""


def test_the_check_finds_what_is_young(tmp_path: Path) -> None:
    """Syntax, members, globals, constructors, properties, values and selectors."""
    young = {
        f"{number:02}.{suffix}": case
        for suffix, table in (("js", YOUNG_SCRIPTS), ("css", YOUNG_STYLES))
        for number, case in enumerate(table.items())
    }
    for name, (source, _) in young.items():
        (tmp_path / name).write_text(source)
    (tmp_path / "old.css").write_text(OLD_STYLES)
    status, said = floor("pages", *map(str, sorted(tmp_path.iterdir())))
    found = dict(re.findall(r"/([\w.]+):\d+: (.*)", said))
    assert status == 1
    assert {
        source for name, (source, what) in young.items() if what not in found.get(name, "")
    } == set()
    assert "old.css" not in found


AGED = """
for (const name of ["AbortController", "queueMicrotask", "ResizeObserver"]) delete self[name];
for (const name of ["replaceChildren", "toggleAttribute"]) delete Element.prototype[name];
for (const name of ["at", "flat", "flatMap", "findLast"]) delete Array.prototype[name];
delete Object.fromEntries;
delete String.prototype.replaceAll;
delete Performance.prototype.timeOrigin;
Object.defineProperty(Navigator.prototype, "clipboard", { value: undefined });
MediaQueryList.prototype.addEventListener = undefined;
for (const name of ["EventTarget", "CSSStyleSheet"]) {
  const before = self[name];
  self[name] = function () { throw new TypeError("Illegal constructor"); };
  self[name].prototype = before.prototype;
}
"""
"""Takes from a browser of today what Chromium 63, Safari 13 or Firefox 67 lacks."""


@pytest.fixture
def aged(context: BrowserContext, page: Page) -> Page:
    """A page in a browser that lacks what is younger than the floor."""
    page.add_init_script(AGED)
    return page


def complaints_of(page: Page) -> list[str]:
    said: list[str] = []
    page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
    return said


def test_an_old_browser_logs_in_on_the_login_page(aged: Page, fake: Fake) -> None:
    """By a socket, and dressed by a style that the page's policy allows."""
    complaints = complaints_of(aged)
    aged.goto(fake.url)
    wait_for_state(aged, "waiting")
    plate = aged.locator("scan-login [part=plate]").bounding_box()
    assert plate is not None and plate["width"] == pytest.approx(plate["height"], abs=1)
    eventually(lambda: fake.seen()["sockets"] == 1)
    fake.move("scanned", user={"name": "王**"})
    expect(aged.locator("scan-login [part=title]")).to_contain_text("王**")
    fake.move("authorized")
    expect(aged.locator("#me-name")).to_be_focused()
    assert complaints == []


def test_an_old_browser_fills_in_a_form(aged: Page, fake: Fake) -> None:
    """The form that is fetched has its style, which the policy allows, and sends what is typed."""
    complaints = complaints_of(aged)
    aged.goto(fake.url)
    wait_for_state(aged, "waiting")
    fake.move("registering", registration_token="rt", register_fields=["name", "email"])
    aged.locator("scan-login input[name=name]").fill("王小明")
    aged.locator("scan-login input[name=email]").fill("wang@example.com")
    assert (
        aged.locator("scan-login form").evaluate("(form) => getComputedStyle(form).display")
        == "grid"
    )
    aged.locator("scan-login form button").click()
    expect(aged.locator("#me-name")).to_be_focused()
    assert complaints == []


def test_an_old_browser_logs_in_by_polling_on_a_foreign_page(aged: Page, fake: Fake) -> None:
    """`<scan-login>` knows its server from its own address, and gives up requests in time."""
    fake.set(socket="refuse")
    embed(aged, fake)
    wait_for_state(aged, "waiting")
    fake.move("authorized")
    wait_for_state(aged, "authorized")


def test_an_older_browser_keeps_what_stands_inside_the_element(page: Page, fake: Fake) -> None:
    """One without custom elements shows the sentence of the site, as the examples have it."""
    page.add_init_script("Object.defineProperty(self, 'customElements', { value: undefined });")
    page.goto(f"{fake.elsewhere}/static/examples/plain.html?server={fake.url}")
    expect(page.get_by_text("If no code appears here, please use a newer browser.")).to_be_visible()
