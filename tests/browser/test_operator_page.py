"""The operator's page: what is wrong, figures, one login's story, people, its token."""

import re
import time
from collections.abc import Sequence
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from .conftest import Fake, Servers, view, wait_for_state
from .fake_server import OPERATOR_TOKEN as FAKE_TOKEN
from .look import look
from .real_server import OPERATOR_TOKEN, TEA_HOUSE, Real
from .walks import CODES, TITLE, open_on_socket, open_page

pytestmark = pytest.mark.browser


def enter(page: Page, url: str, token: str = OPERATOR_TOKEN) -> None:
    page.goto(url + "/operator")
    page.get_by_label("运维令牌").fill(token)
    page.get_by_role("button", name="查看").click()


@pytest.fixture
def tea(servers: Servers) -> Real:
    """The shared server of most tests."""
    return servers(**TEA_HOUSE)


@pytest.mark.parametrize("settings", [TEA_HOUSE], ids=["operator"])
def test_the_operator_sees_a_login(context: BrowserContext, page: Page, real: Real) -> None:
    """The overview fills the board and renews itself: socket, login, funnel, WeChat's errors, with
    their meaning and all spans in the page's language."""
    real.do("faults", path=CODES, errcode=45009)
    page.goto(real.url)
    expect(page.locator(TITLE)).to_have_text("二维码暂时用完了")
    content = open_on_socket(page, real.url)
    board = context.new_page()
    enter(board, real.url)
    expect(board.locator("#sockets")).to_have_text("1")
    expect(board.locator("#wechat .bad")).to_have_text("45009 × 1")
    expect(board.locator("#problems .critical")).to_contain_text(
        re.compile("微信返回 45009.*当天额度用完")
    )
    expect(board.locator("#wechat")).to_contain_text(re.compile("1 小时 5. 分钟"))
    expect(board.locator("#logins")).to_have_text("0")
    real.do("scan", person="xiaoming", url=content)
    wait_for_state(page, "authorized")
    # One column as high as its axis: the minute may end before the figure of it is seen.
    expect(board.locator("#logins-chart .bars.good")).to_have_attribute("d", re.compile("v-100.00"))
    expect(board.locator("#funnel")).to_contain_text("已领取")
    expect(board.locator("#nodes")).to_contain_text("ms")
    expect(board.locator("#callbacks")).to_contain_text("registered")
    expect(board.locator("#sockets")).to_have_text("0")
    board.reload()
    expect(board.locator("#logins-chart .bars.good")).to_have_attribute("d", re.compile("v-100.00"))
    for place in ("#errors", "#wechat .bad", "#problems .critical"):
        link = board.locator(f"{place} a")
        assert link.inner_text() == "45009"
        assert "45009" in context.request.get(real.url + str(link.get_attribute("href"))).text()


def test_one_scenes_story(context: BrowserContext, page: Page, tea: Real) -> None:
    """By its scene_str each step of a login is shown, with WeChat's repeats."""
    scene = tell_a_story(page, tea)
    board = context.new_page()
    enter(board, tea.url)
    find(board, scene)
    expect(board.locator(".facts")).to_contain_text("已领取")
    for step in ("生成", "页面已连接", "已扫码", "登录成功", "结果已推送", "页面已确认收到"):
        expect(board.locator("#story .timeline")).to_contain_text(step)
    expect(board.locator("#story .timeline")).to_contain_text("重复推送，第 3 次（共 3 次）")
    short = f"{scene[:4]}-{scene[4:8]}".upper()
    find(board, short)
    expect(board.locator(".facts")).to_contain_text(short)
    find(board, "nobody")
    expect(board.locator("#story")).to_contain_text("找不到这次登录")


def tell_a_story(page: Page, real: Real) -> str:
    """A login whose push WeChat sends three times; its scene."""
    content = open_on_socket(page, real.url)
    scene = str(view(page)["scene_str"])
    real.do("scan", person="eager", url=content, options={"duplicate": 2})
    wait_for_state(page, "authorized")
    return scene


def find(board: Page, scene: str) -> None:
    board.locator("#scene").fill(scene)
    board.locator("#find").click()


def test_a_scene_that_another_node_knows_is_asked_for_again(page: Page, fake: Fake) -> None:
    """Its answer comes with its next report; meanwhile the page says what it waits for."""
    page.clock.install()
    enter(page, fake.url, FAKE_TOKEN)
    expect(page.locator("#board")).to_be_visible()
    find(page, "3f2504e0")
    expect(page.locator("#story")).to_contain_text("正在询问其他节点")
    for _ in range(4):
        with page.expect_response(re.compile("scenes/3f2504e0")):
            page.clock.run_for(3100)
    expect(page.locator("#story")).to_contain_text("找不到这次登录")


def test_a_wrong_token_opens_nothing(page: Page, tea: Real) -> None:
    """Refused: the gate stays, and says why."""
    enter(page, tea.url, "wrong")
    expect(page.locator("#alert")).to_contain_text("令牌不对")
    expect(page.locator("#board")).to_be_hidden()


def test_the_token_is_asked_for_once_a_tab(context: BrowserContext, page: Page, fake: Fake) -> None:
    """A reload goes on; another tab asks; logging out forgets it."""
    enter(page, fake.url, FAKE_TOKEN)
    expect(page.locator("#board")).to_be_visible()
    assert FAKE_TOKEN not in page.content() and page.locator("#token").input_value() == ""
    page.reload()
    expect(page.locator("#board")).to_be_visible()
    other = context.new_page()
    other.goto(fake.url + "/operator")
    expect(other.locator("#gate")).to_be_visible()
    page.locator("#logout").click()
    page.reload()
    expect(page.locator("#gate")).to_be_visible()


def test_the_token_is_kept_on_purpose(context: BrowserContext, page: Page, fake: Fake) -> None:
    """Then other tabs need none, until it is forgotten."""
    page.goto(fake.url + "/operator")
    page.locator("#keep").check()
    page.locator("#token").fill(FAKE_TOKEN)
    page.locator("#open").click()
    expect(page.locator("#logout")).to_have_text("退出并忘记令牌")
    other = context.new_page()
    other.goto(fake.url + "/operator")
    expect(other.locator("#board")).to_be_visible()
    other.locator("#logout").click()
    expect(other.locator("#gate")).to_be_visible()
    kept = page.evaluate("JSON.stringify([{...localStorage}, location.href])")
    assert FAKE_TOKEN not in kept


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


@pytest.mark.slow
def test_a_busy_cluster_fits_the_board(page: Page, fake: Fake) -> None:
    """Figures of many sockets, several accounts and a node that leaves, which a test has not."""
    fake.set(audit=True)
    enter(page, fake.url, FAKE_TOKEN)
    expect(page.locator("#sockets")).to_have_text("18,432")
    expect(page.locator("#logins")).to_have_text("98")
    expect(page.locator("#nodes")).to_contain_text("正在退出")
    expect(page.locator("#nodes")).to_contain_text("已消失")
    expect(page.locator("#nodes")).to_contain_text(re.compile("node-e.*已于 .* 停止"))
    expect(page.locator("#problems")).to_contain_text("node-d")
    expect(page.locator("#problems")).not_to_contain_text("node-e")
    expect(page.locator("#failures")).to_contain_text("没有及时补全资料")
    page.locator("#failures summary").first.click()
    wrong = []
    for lang, heading in HEADINGS.items():
        page.locator("#lang").select_option(lang)
        expect(page.locator("h1")).to_have_text(heading)
        looks = LOOKS if lang == "zh-CN" else LOOKS[:1]
        wrong += look_around(page, f"operator-cluster-{lang}", looks)
    assert not wrong, wrong


def problems_of(page: Page) -> list[tuple[str, str]]:
    """What the page says is wrong, each with how bad."""
    rows = page.locator("#problems li")
    return [(row.get_attribute("class") or "", row.inner_text()) for row in rows.all()]


def test_what_is_wrong_stands_first(page: Page, fake: Fake) -> None:
    """Each figure beyond its limit is said in words, the worst first, and marked in its tile."""
    now = time.time()
    quiet = {name: [0] * 60 for name in SERIES}
    busy = {**quiet, "authorized": [0] * 59 + [8], "failed": [0] * 59 + [2]}
    busy |= {"callbacks": [0] * 59 + [10], "refused": [0] * 59 + [3]}
    store = {"store": "scenes", "engine": "Redis", "median_ms": 80, "most_ms": 90}
    report = {"node_id": "node-a", "told_at": now, "gone": False, "hour": {}, "latency": {}}
    account = {"account": "default", "errors": {}}
    bad: dict[str, Any] = {
        "now": now,
        "hour": {"from": now - 3540, "series": busy},
        "callbacks": [
            {"account": "default", "outcome": "signature", "count": 3, "last_at": now}
            | {"refused": True}
        ],
        "errors": [],
        "wechat": [{**account, "credential_expires_in": 200, "codes_left": 1500}],
        "events": {"pending": 12, "dead": 0, "oldest_seconds": 1000},
        "reports": [
            {**report, "stores": [{**store, "up": True, "answered_at": now}]},
            {**report, "node_id": "node-b"}
            | {"stores": [{**store, "up": False, "answered_at": now - 30}]},
        ],
    }
    fake.set(overview=bad)
    enter(page, fake.url, FAKE_TOKEN)
    page.locator("#lang").select_option("en")
    expect(page.locator("#problems .critical").first).to_contain_text("Critical")
    found = problems_of(page)
    assert [level for level, _ in found] == ["critical"] * 5 + ["warning"] * 2
    for (_, text), words in zip(found, WRONG, strict=True):
        assert words in text
    tiles = page.locator(".tile")
    assert tiles.filter(has_text="Critical").count() == 5
    assert tiles.filter(has_text="Warning").count() == 1
    stranger = {**bad["callbacks"][0], "outcome": "downgrade", "count": 17}
    fake.set(overview={**bad, "callbacks": [*bad["callbacks"], stranger]})
    expect(page.locator("#problems")).to_contain_text("refused or failed in 10 minutes")
    expect(page.locator("#problems")).not_to_contain_text("Token")
    well = {**bad, "hour": {"from": now - 3540, "series": quiet}, "callbacks": [], "events": None}
    well["wechat"] = [{**account, "credential_expires_in": None, "codes_left": None}]
    well["reports"] = [{**report, "stores": [{**store, "up": None, "answered_at": None}]}]
    fake.set(overview=well)
    expect(page.locator("#problems .well")).to_contain_text("Nothing is wrong")
    assert page.locator(".tile.warning, .tile.critical").count() == 0


SERIES = (
    *("shown", "scanned", "authorized", "consumed", "failed", "denied"),
    *("callbacks", "refused", "errors", "sockets", "store_ms"),
)
WRONG = [
    "Redis does not answer (logins, node node-b)",
    "the Token of account default is not the one at WeChat's console",
    "2 logins failed in 10 minutes, 20%",
    "Only 1,500 login codes are left",
    "12 events wait, the oldest for 16 min 40 s",
    "access_token ends in 3 min 20 s",
    "A store takes 80 ms",
]


def test_the_audit_is_searched_and_saved(page: Page, fake: Fake) -> None:
    """By short id, person and time; further entries on demand; the same as JSON lines. An id leads
    to its user, and another language changes all of it."""
    fake.set(audit=True)
    enter(page, fake.url, FAKE_TOKEN)
    part = page.locator("#parts .card").filter(has=page.get_by_role("heading", name="审计"))
    expect(part).to_contain_text("3F25-04E0")
    part.get_by_label("短编号").fill("3F25-04E0")
    part.get_by_label("用户").fill("usr_7Hq2")
    part.get_by_label("从").fill("2026-11-01T10:00")
    part.get_by_role("button", name="查找").click()
    part.get_by_role("button", name="更多").click()
    expect(part).to_contain_text("page two")
    at = page.evaluate("Date.parse('2026-11-01T10:00') / 1000")
    asked = f"GET /api/operator/audit?scene=3F25-04E0&person=usr_7Hq2&since={at}"
    assert {asked, f"{asked}&cursor=next"} <= {*fake.seen()["log"]}
    with page.expect_download() as download:
        part.get_by_role("button", name="导出 JSON 行").click()
    assert len(download.value.path().read_text().splitlines()) == 2
    part.get_by_role("button", name="usr_7Hq2").first.click()
    expect(page.locator(".people code")).to_have_text("usr_7Hq2")
    page.locator("#lang").select_option("en")
    part = page.locator("#parts .card").filter(has=page.get_by_role("heading", name="Audit"))
    expect(part).to_contain_text("As of ")
    expect(part.get_by_role("columnheader").first).to_have_text("Time")


def test_events_that_were_not_delivered_are_sent_again(page: Page, fake: Fake) -> None:
    """One, or all; the list is there as long as there are any."""
    fake.set(audit=True, overview={"events": {"pending": 0, "dead": 1, "oldest_seconds": 0}})
    enter(page, fake.url, FAKE_TOKEN)
    part = page.locator("#parts .card").filter(has_text="没有送达的事件")
    expect(part).to_contain_text("503 of the receiver")
    part.get_by_role("button", name="重新发送", exact=True).click()
    expect(part.get_by_role("status")).to_have_text("将重新发送。")
    part.get_by_role("button", name="全部重新发送").click()
    expect(part.get_by_role("status")).to_have_text("将重新发送 1 个。")
    sent = [line for line in fake.seen()["log"] if line.startswith("POST")]
    assert sent == ["POST /api/operator/events/e1/send", "POST /api/operator/events/send"]


def test_nothing_is_done_to_a_person_by_one_click(page: Page, fake: Fake) -> None:
    """Each deed asks first; what was done is said, and the line follows."""
    fake.set(audit=True)
    enter(page, fake.url, FAKE_TOKEN)
    part = page.locator("#parts .card").filter(has=page.get_by_role("heading", name="用户"))
    part.get_by_label("内容").fill("王小明")
    part.get_by_role("button", name="查找").click()
    dialog = page.locator("dialog")
    for deed in ("封禁", "解除封禁", "结束会话", "删除"):
        part.get_by_role("button", name=deed, exact=True).click()
        expect(dialog).to_contain_text("王小明")
        dialog.get_by_role("button", name="取消").click()
        part.get_by_role("button", name=deed, exact=True).click()
        dialog.get_by_role("button", name="确定").click()
        expect(part.get_by_role("status")).to_have_text("已完成。")
        if deed == "解除封禁":
            with page.expect_download() as download:
                part.get_by_role("button", name="导出").click()
            assert download.value.suggested_filename == "user-usr_7Hq2.json"
    expect(part.locator("article")).to_have_count(0)
    done = [line for line in fake.seen()["log"] if line.split()[0] in ("POST", "DELETE")]
    assert done == [
        "POST /api/operator/users/usr_7Hq2/ban",
        "POST /api/operator/users/usr_7Hq2/unban",
        "DELETE /api/operator/users/usr_7Hq2/sessions",
        "DELETE /api/operator/users/usr_7Hq2",
    ]


def test_parts_without_their_routes_are_not_shown(page: Page, fake: Fake) -> None:
    """On a server that keeps no audit, or does not search people."""
    enter(page, fake.url, FAKE_TOKEN)
    expect(page.locator("#board")).to_be_visible()
    expect(page.locator("#parts .card:visible")).to_have_count(0)


HEADINGS = {"zh-CN": "运行状况", "zh-TW": "運作狀況", "en": "Operations", "ja": "稼働状況"}
LOOKS = [("light", 320, 640), ("dark", 320, 640), ("light", 1440, 900), ("dark", 1440, 900)]


def look_around(page: Page, name: str, looks: Sequence[tuple[str, int, int]] = LOOKS) -> list[Any]:
    """In both themes, on a phone and on a desk."""
    wrong = []
    for theme, width, height in looks:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": height})
        wrong += look(page, f"{name}-{theme}-{width}")
    return wrong


def test_the_board_looks_right(browser: Browser, tea: Real) -> None:
    """Gate and board; the languages are tried on the cluster's."""
    context = browser.new_context(locale="zh-CN", reduced_motion="reduce")
    scene = tell_a_story(context.new_page(), tea)
    # A page of its own: the first one's ack may still be on its way.
    open_page(context.new_page(), tea.url)
    board = context.new_page()
    enter(board, tea.url)
    find(board, scene)
    board.locator("#story .timeline li").first.wait_for()
    wrong = look_around(board, "operator")
    board.locator("#logout").click()
    wrong += look_around(board, "operator-gate", LOOKS[::3])
    context.close()
    assert not wrong, wrong
