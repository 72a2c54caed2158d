"""A picture of a page to look at, and what axe-core has against it.

The pictures go to artifacts/screenshots/, which git ignores.
"""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from .conftest import SCREENSHOTS

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
RUN_AXE = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .map(({ id, nodes }) => [id, nodes.map((node) => `${node.target}: ${node.failureSummary}`)])"""

SHIFTS = """
const ask = fetch, frame = () => new Promise(requestAnimationFrame);
// No code before something was painted.
window.fetch = async (...request) => { await frame(); await frame(); return ask(...request); };
window.shifts = [];
const name = ({ node }) => node?.id || node?.className || node?.nodeName;
const note = ({ value, sources }) => shifts.push([value, ...sources.map(name)]);
new PerformanceObserver((list) => list.getEntries().forEach(note))
  .observe({ type: "layout-shift", buffered: true });
"""
"""What a page moves, in `shifts`: how much, and what."""


def violations(page: Page) -> list[Any]:
    """What axe-core has against the page as it is now."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install in tests/browser")
    if not page.evaluate("'axe' in globalThis"):
        # Evaluated rather than added as a script, which the page's policy forbids.
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[Any] = page.evaluate(RUN_AXE)
    return found


def look(page: Page, name: str) -> list[Any]:
    """Take the picture, check that nothing is wider than the window, and ask axe-core."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True, animations="disabled")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    return [(name, *violation) for violation in violations(page)]
