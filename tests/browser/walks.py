"""What the browser tests do again and again on the login page of a real server."""

from typing import Any

import httpx
from playwright.sync_api import Page

from .conftest import eventually, view, wait_for_state
from .real_server import Phone, Real

TITLE = "scan-login [part=title]"
TIMER = "scan-login [role=timer]"
QR = "scan-login svg[part=qr]"
CODES = "/cgi-bin/qrcode/create"
"""The path of WeChat that makes codes."""


def open_page(page: Page, url: str, kind: str = "") -> dict[str, Any]:
    """The login page with a code of that kind; what it knows."""
    page.goto(url)
    wait_for_state(page, "waiting")
    if kind:
        page.evaluate("(kind) => scan.setAttribute('kind', kind)", kind)
        eventually(lambda: view(page).get("kind") == kind and view(page)["state"] == "waiting")
    return view(page)


def open_on_socket(page: Page, url: str) -> str:
    """The login page once its socket is open; returns what its QR code holds."""
    open_page(page, url)
    eventually(lambda: view(page)["transport"] == "socket")
    return str(view(page)["qr"]["content"])


def scan(page: Page, real: Real, person: str) -> None:
    """Open the login page and scan its code with WeChat."""
    real.do("scan", person=person, url=open_page(page, real.url)["qr"]["content"])


def scan_and_answer(page: Page, real: Real, nickname: str, allow: bool | None = None) -> None:
    """Scan by the login kind that learns a name, and answer its question, if at all."""
    content = open_page(page, real.url, "web")["qr"]["content"]
    with Phone(real, f"holder of {nickname}", nickname) as phone:
        phone.scan(content)
        if allow is not None:
            phone.answer(allow)


def break_wechat(page: Page, real: Real, **fault: Any) -> None:
    """Have WeChat refuse codes from now on, and ask for one."""
    open_page(page, real.url)
    real.do("faults", path=CODES, times=0, **fault)
    page.evaluate("scan.again()")


def speak(page: Page, lang: str) -> None:
    """Choose a language, and wait until page and element have it."""
    page.locator("#lang").select_option(lang)
    spoken = "[document.documentElement, scan.shadowRoot.querySelector('[part=box]')]"
    eventually(lambda: page.evaluate(f"{spoken}.map((e) => e.lang)") == [lang, lang])


KEPT = """() => Object.entries({...sessionStorage}).filter(([key]) => key.includes("http"))
  .flatMap(([, kept]) => JSON.parse(kept))
  .findLast(({ scene_str }) => [scene_str, undefined].includes(scan.login.view.scene_str))"""
"""What the page's tab keeps of the scene that is shown, or was last."""


class Twin:
    """Another page with this page's scene, as of a duplicated tab: what it kept, and its polls.

    Use it in ``with``.
    """

    def __init__(self, page: Page, real: Real) -> None:
        self._scene = page.evaluate(KEPT)
        bearer = {"Authorization": f"Bearer {self._scene['watch_token']}"}
        self._http = httpx.Client(base_url=real.url, headers=bearer, timeout=20, verify=False)

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._http.get(self._scene["status"]).json()
        return answer

    def state(self) -> str:
        """The scene's state as the server has it."""
        return str(self.status()["state"])

    def collect(self) -> None:
        """Take the login, so that no other page can."""
        seq = self.status()["seq"]
        assert self._http.post(f"{self._scene['status']}/ack", json={"seq": seq}).is_success

    def __enter__(self) -> "Twin":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
