"""``/device`` in Chromium, from the code on a television to the button."""

import httpx
import pytest
from playwright.sync_api import Page, expect

from deploy.programs import free_port

from .conftest import Servers, eventually, view, wait_for_state
from .real_server import TEA_HOUSE, Real

pytestmark = pytest.mark.browser
PORT = free_port()


def a_server_for_devices(servers: Servers) -> Real:
    """The tea house with a television as a client."""
    return servers(
        **TEA_HOUSE,
        server={"port": PORT, "public_url": f"http://127.0.0.1:{PORT}"},
        oidc={"clients": {"tv": {"public": True, "name": "茶馆电视"}}},
    )


def test_a_person_allows_a_television(page: Page, servers: Servers) -> None:
    """The code is typed, the scan is pushed to the login page, and a button allows the device."""
    real = a_server_for_devices(servers)
    asked = httpx.post(
        f"{real.url}/oauth/device_authorization", data={"client_id": "tv", "scope": "openid"}
    ).json()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(asked["verification_uri"])
    expect(page.locator("h1")).to_have_text("输入设备上的代码")
    page.get_by_label("设备上的代码").fill(asked["user_code"].lower())
    page.get_by_role("button", name="继续").click()
    wait_for_state(page, "waiting")
    expect(page.locator("#to")).to_contain_text("茶馆电视")
    eventually(lambda: view(page)["transport"] == "socket")
    real.do("scan", person="xiaoming", url=view(page)["qr"]["content"])
    expect(page.locator("h1")).to_have_text("允许这台设备登录？")
    expect(page.get_by_text("茶馆电视")).to_be_visible()
    expect(page.locator("dd.code")).to_have_text(asked["user_code"])
    page.get_by_role("button", name="允许").click()
    expect(page.locator("h1")).to_have_text("设备已登录")


def test_the_page_behind_a_login_that_came_to_nothing_names_it(
    page: Page, servers: Servers
) -> None:
    """The login page is left at once, and the reference that it showed stands on ``/device``; one
    who went back by the button is shown none."""
    real = a_server_for_devices(servers)
    asked = httpx.post(
        f"{real.url}/oauth/device_authorization", data={"client_id": "tv", "scope": "openid"}
    ).json()
    page.goto(asked["verification_uri_complete"])
    wait_for_state(page, "waiting")
    page.get_by_role("button", name="取消并返回").click()
    expect(page.locator("h1")).to_have_text("没有登录")
    expect(page.locator("#reference")).to_be_hidden()
    page.goto(asked["verification_uri_complete"])
    wait_for_state(page, "waiting")
    scene = view(page)["scene_str"].upper()
    page.evaluate("""() => { const { view } = scan.login;
      Object.assign(view, { state: "denied" }); scan.login.dispatchEvent(new Event("change"));
      cancel.click(); }""")
    expect(page.locator("h1")).to_have_text("没有登录")
    expect(page.locator("#reference")).to_have_text(f"编号 {scene[:4]}-{scene[4:8]}")
