"""The operator's page: figures, one scene's story, and a token that is kept nowhere."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.servers import MongoServer, RedisServer

from .conftest import Fake, Servers, view, wait_for_state
from .fake_server import OPERATOR_TOKEN as FAKE_TOKEN
from .look import look
from .real_server import OPERATOR_TOKEN, TEA_HOUSE, Real
from .walks import CODES, TITLE, open_on_socket, open_page

pytestmark = pytest.mark.browser


def enter(page: Page, url: str, token: str = OPERATOR_TOKEN) -> None:
    page.goto(url + "/operator")
    page.get_by_label("运营令牌").fill(token)
    page.get_by_role("button", name="查看").click()


@pytest.fixture
def tea(servers: Servers) -> Real:
    """The shared server of most tests."""
    return servers(**TEA_HOUSE)


@pytest.mark.parametrize("settings", [TEA_HOUSE], ids=["operator"])
def test_the_operator_sees_a_login(context: BrowserContext, page: Page, real: Real) -> None:
    """The overview fills the board and renews itself: socket, login, funnel, WeChat's errors."""
    real.do("faults", path=CODES, errcode=45009)
    page.goto(real.url)
    expect(page.locator(TITLE)).to_have_text("今天的二维码用完了")
    content = open_on_socket(page, real.url)
    board = context.new_page()
    enter(board, real.url)
    expect(board.locator("#sockets")).to_have_text("1")
    expect(board.locator("#wechat .bad")).to_have_text("45009 × 1")
    expect(board.locator("#logins")).to_have_text("0")
    real.do("scan", person="xiaoming", url=content)
    wait_for_state(page, "authorized")
    # One column as high as can be: the minute may end before the figure of it is seen.
    expect(board.locator("#logins-chart path")).to_have_attribute("d", re.compile("v-38.00"))
    expect(board.locator("#funnel")).to_contain_text("已领取")
    expect(board.locator("#latency")).to_contain_text("ms")
    expect(board.locator("#sockets")).to_have_text("0")


def test_one_scenes_story(context: BrowserContext, page: Page, tea: Real) -> None:
    """By its scene_str each step of a login is shown, with WeChat's repeats."""
    scene = tell_a_story(page, tea)
    board = context.new_page()
    enter(board, tea.url)
    find(board, scene)
    for step in ("made", "shown", "scanned", "authorized", "delivered", "acked", "duplicate"):
        expect(board.locator(".timeline")).to_contain_text(step)
    expect(board.locator(".facts")).to_contain_text("consumed")
    find(board, "nobody")
    expect(board.locator("#story")).to_contain_text("找不到这个场景")


def tell_a_story(page: Page, real: Real) -> str:
    """A login whose push WeChat sends three times; its scene."""
    content = open_on_socket(page, real.url)
    scene = str(view(page)["scene_str"])
    real.do("scan", person="eager", url=content, options={"duplicate": 2})
    wait_for_state(page, "authorized")
    return scene


def find(board: Page, scene: str) -> None:
    board.locator("#scene").fill(scene)
    board.get_by_role("button", name="查找").click()


OF_ONE_NODE = ["每分钟登录", "从出码到登录", "各状态的场景", "耗时", "微信"]
"""What a node reports of itself alone, by its heading."""


@pytest.mark.redis
@pytest.mark.mongodb
def test_on_shared_stores_figures_of_one_node_name_it(page: Page, tmp_path: Path) -> None:
    """So that no reader takes them for the whole; sockets and the list of nodes are of all."""
    redis, mongo = RedisServer(tmp_path), MongoServer(tmp_path)
    stores = {"redis": {"url": redis.url}, "mongodb": {"url": mongo.url, "database": "people"}}
    try:
        redis.start()
        mongo.start()
        with Real(tmp_path, **TEA_HOUSE, **stores, backend="distributed") as real:
            enter(page, real.url)
            node = real.operator("GET", "/api/operator/overview")["node_id"]
            expect(page.locator("#board h2").filter(has_text=node)).to_have_text(
                [f"{heading} 仅节点 {node}" for heading in OF_ONE_NODE]
            )
            expect(page.locator("#counts")).to_contain_text("每个节点只统计自己")
            expect(page.locator("#asks")).to_contain_text("每次查找只问一个节点")
    finally:
        mongo.stop()
        redis.stop()


def test_a_server_alone_names_no_node(page: Page, tea: Real) -> None:
    """With its own store its figures are the whole."""
    enter(page, tea.url)
    expect(page.locator("#h-funnel")).to_have_text("从出码到登录")
    expect(page.locator("#counts")).to_be_hidden()
    expect(page.locator("#asks")).to_be_hidden()


def test_a_wrong_token_opens_nothing(page: Page, tea: Real) -> None:
    """Refused: the gate stays, and says why."""
    enter(page, tea.url, "wrong")
    expect(page.locator("#alert")).to_contain_text("令牌不对")
    expect(page.locator("#board")).to_be_hidden()


def test_the_token_is_kept_nowhere(page: Page, tea: Real) -> None:
    """Neither storage nor address nor field holds it; a reload asks again."""
    enter(page, tea.url)
    expect(page.locator("#board")).to_be_visible()
    kept = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, location.href])")
    assert OPERATOR_TOKEN not in kept and OPERATOR_TOKEN not in page.content()
    assert page.locator("#token").input_value() == ""
    page.reload()
    expect(page.locator("#gate")).to_be_visible()


@pytest.mark.parametrize("settings", [TEA_HOUSE], ids=["operator"])
def test_a_restart_is_said_and_survived(page: Page, real: Real) -> None:
    """While the server is away the board says so, and goes on afterwards."""
    enter(page, real.url)
    expect(page.locator("#board")).to_be_visible()
    real.stop()
    expect(page.locator("#alert")).to_contain_text("连接不上服务器")
    real.start()
    expect(page.locator("#alert")).to_be_empty(timeout=30000)
    expect(page.locator("#board")).to_be_visible()


def test_a_busy_cluster_fits_the_board(page: Page, fake: Fake) -> None:
    """Figures of many sockets, several accounts and a node that leaves, which a test has not."""
    enter(page, fake.url, FAKE_TOKEN)
    expect(page.locator("#sockets")).to_have_text("18,432")
    expect(page.locator("#logins")).to_have_text("98")
    expect(page.locator("#nodes")).to_contain_text("正在退出")
    wrong = []
    for lang, heading in HEADINGS.items():
        page.locator("#lang").select_option(lang)
        expect(page.locator("h1")).to_have_text(heading)
        wrong += look_around(page, f"operator-cluster-{lang}")
    assert not wrong, wrong


HEADINGS = {"zh-CN": "运行状况", "zh-TW": "運作狀況", "en": "Operations", "ja": "稼働状況"}
LOOKS = [("light", 320, 640), ("dark", 320, 640), ("light", 1440, 900), ("dark", 1440, 900)]


def look_around(page: Page, name: str) -> list[Any]:
    """In both themes, on a phone and on a desk."""
    wrong = []
    for theme, width, height in LOOKS:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": height})
        wrong += look(page, f"{name}-{theme}-{width}")
    return wrong


@pytest.mark.parametrize("lang", ["zh-CN", "en"])
def test_the_board_looks_right(browser: Browser, tea: Real, lang: str) -> None:
    """Gate and board, in the themes and sizes of `look_around`."""
    context = browser.new_context(locale="zh-CN", reduced_motion="reduce")
    scene = tell_a_story(context.new_page(), tea)
    # A page of its own: the first one's ack may still be on its way.
    open_page(context.new_page(), tea.url)
    board = context.new_page()
    enter(board, tea.url)
    find(board, scene)
    board.locator(".timeline li").first.wait_for()
    board.locator("#lang").select_option(lang)
    wrong = look_around(board, f"operator-{lang}")
    board.locator("#logout").click()
    wrong += look_around(board, f"operator-gate-{lang}")
    context.close()
    assert not wrong, wrong
