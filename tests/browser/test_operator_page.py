"""The operator's page: figures, one scene's story, and a token that is kept nowhere."""

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import Fake, eventually, wait_for_state
from .fake_server import OPERATOR_TOKEN
from .test_look import look

pytestmark = pytest.mark.browser


def enter(page: Page, fake: Fake, token: str = OPERATOR_TOKEN) -> None:
    page.goto(fake.url + "/operator")
    page.get_by_label("运营令牌").fill(token)
    page.get_by_role("button", name="查看").click()


def test_the_board_shows_and_renews_its_figures(page: Page, fake: Fake) -> None:
    """Sockets, states, funnel, percentiles, errors and nodes; renewed every two seconds."""
    enter(page, fake)
    expect(page.locator("#sockets")).to_have_text("18,432")
    expect(page.locator("#funnel")).to_contain_text("9,120")
    expect(page.locator("#latency")).to_contain_text("3.8 ms")
    expect(page.locator("#wechat .bad").first).to_have_text("40001 × 2, 45009 × 1")
    expect(page.locator("#nodes")).to_contain_text("正在退出")
    other = page.context.new_page()
    other.goto(fake.url)
    wait_for_state(other, "waiting")
    expect(page.locator("#sockets")).to_have_text("18,433")


def test_a_wrong_token_opens_nothing(page: Page, fake: Fake) -> None:
    """Refused: the gate stays, and says why."""
    enter(page, fake, "wrong")
    expect(page.locator("#alert")).to_contain_text("令牌不对")
    expect(page.locator("#board")).to_be_hidden()


def test_the_token_is_kept_nowhere(page: Page, fake: Fake) -> None:
    """Neither storage nor address nor field holds it; a reload asks again."""
    enter(page, fake)
    expect(page.locator("#board")).to_be_visible()
    kept = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, location.href])")
    assert OPERATOR_TOKEN not in kept and OPERATOR_TOKEN not in page.content()
    assert page.locator("#token").input_value() == ""
    page.reload()
    expect(page.locator("#gate")).to_be_visible()


def test_one_scenes_story(page: Page, fake: Fake) -> None:
    """By its scene_str each step of a login is told; an unknown one is said."""
    other = page.context.new_page()
    other.goto(fake.url)
    wait_for_state(other, "waiting")
    scene = fake.seen()["scenes"][0]["scene_str"]
    enter(page, fake)
    page.locator("#scene").fill(scene)
    page.get_by_role("button", name="查找").click()
    expect(page.locator(".timeline li")).to_have_count(7)
    expect(page.locator(".timeline li").last).to_contain_text("2 of 3, duplicate")
    page.locator("#scene").fill("nobody")
    page.get_by_role("button", name="查找").click()
    expect(page.locator("#story")).to_contain_text("找不到这个场景")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(320, 640), (1440, 900)])
def test_the_board_looks_right(
    browser: Browser, fake: Fake, width: int, height: int, theme: str
) -> None:
    """Gate and board, in both themes, on a phone and on a desk."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        locale="zh-CN",
        color_scheme=theme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    scene = fake.seen()["scenes"][0]["scene_str"]
    enter(page, fake)
    expect(page.locator("#board")).to_be_visible()
    page.locator("#scene").fill(scene)
    page.get_by_role("button", name="查找").click()
    eventually(lambda: page.locator(".timeline li").count() == 7)
    wrong = look(page, f"operator-{theme}-{width}")
    page.get_by_role("button", name="退出").click()
    wrong += look(page, f"operator-gate-{theme}-{width}")
    context.close()
    assert not wrong, wrong
