"""When a code is renewed, when it is not, and what is said when none is to be had."""

import pytest
from playwright.sync_api import Page, expect

from .conftest import HIDE, Fake, eventually, view, wait_for_state

pytestmark = pytest.mark.browser
TITLE = "scan-login [part=title]"


def test_a_code_is_renewed_while_the_old_scene_lives(page: Page, fake: Fake) -> None:
    """At `qr.expires_in` a new code is shown; the old scene keeps its socket and can still win."""
    fake.set(qr_seconds=2)
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.set(qr_seconds=150)
    eventually(lambda: fake.count("begin") == 2)
    eventually(lambda: fake.seen()["sockets"] == 2)
    fake.move("scanned", nth=0, user={"name": "王*明"})
    expect(page.locator(TITLE)).to_have_text("王*明 已扫码")
    eventually(lambda: fake.seen()["scenes"][1]["state"] == "cancelled")
    fake.move("authorized", nth=0)
    expect(page.locator("#me-name")).to_have_text("王小明")


def test_after_three_renewals_a_button(page: Page, fake: Fake) -> None:
    """A page left alone stops spending codes after three; a click goes on."""
    fake.set(qr_seconds=0.2)
    page.goto(fake.url)
    wait_for_state(page, "paused")
    assert fake.count("begin") == 4
    fake.set(qr_seconds=150)
    page.get_by_role("button", name="换一个二维码").click()
    wait_for_state(page, "waiting")
    assert fake.count("begin") == 5


def test_a_hidden_tab_spends_no_codes(page: Page, fake: Fake) -> None:
    """A tab in the background renews nothing; shown again, it does at once."""
    fake.set(qr_seconds=1)
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.set(qr_seconds=150)
    page.evaluate(HIDE, True)
    page.wait_for_timeout(1500)
    assert fake.count("begin") == 1
    page.evaluate(HIDE, False)
    eventually(lambda: fake.count("begin") == 2)


def test_an_expired_scene_begins_anew(page: Page, fake: Fake) -> None:
    """When the server says `expired` (close 4408), a visible page shows a new code by itself."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    before = view(page)["scene_str"]
    fake.move("expired")
    eventually(lambda: fake.count("begin") == 2)
    eventually(lambda: view(page).get("scene_str") not in (None, before))


def test_an_expiry_after_the_scan_is_told(page: Page, fake: Fake) -> None:
    """A login that was under way does not silently turn into a new code."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.move("scanned", user={"name": "王*明"})
    wait_for_state(page, "scanned")
    fake.move("expired")
    expect(page.locator(TITLE)).to_have_text("二维码已过期")
    expect(page.get_by_role("button", name="换一个二维码")).to_be_visible()
    assert fake.count("begin") == 1


@pytest.mark.parametrize(
    ("state", "error", "title"),
    [
        ("denied", None, "已在手机上拒绝"),
        ("cancelled", None, "已取消"),
        ("failed", "try_again", "没有登录成功"),
        ("failed", "not_registered", "还没有账号"),
        ("consumed", None, "这个二维码已用过"),
    ],
)
def test_endings_have_words_and_a_button(
    page: Page, fake: Fake, state: str, error: str | None, title: str
) -> None:
    """Each end without a login is named, and a new code is one click away."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.move(state, **({"error": error} if error else {}))
    expect(page.locator(TITLE)).to_have_text(title)
    page.get_by_role("button", name="换一个二维码").click()
    wait_for_state(page, "waiting")
    assert fake.count("begin") == 2


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ([502, "wechat_unavailable"], "微信暂时没有响应"),
        ([503, "wechat_quota"], "今天的二维码用完了"),
        ([429, "rate_limited"], "操作太频繁"),
    ],
)
def test_troubles_are_said_and_tried_again(
    page: Page, fake: Fake, answer: list[object], title: str
) -> None:
    """Without a code the page says why and goes on by itself once there is one."""
    fake.set(begin=answer, retry_after=2)
    page.goto(fake.url)
    expect(page.locator(TITLE)).to_have_text(title)
    fake.set(begin=None)
    wait_for_state(page, "waiting")
    expect(page.locator("scan-login svg[part=qr]")).to_be_visible()


def test_retry_after_is_respected(page: Page, fake: Fake) -> None:
    """A server that asks for 60 seconds is not asked before."""
    fake.set(begin=[503, "overloaded"], retry_after=60)
    page.clock.install()
    page.goto(fake.url)
    eventually(lambda: fake.count("begin") == 1)
    eventually(lambda: bool(view(page).get("retry")))
    page.clock.run_for(55000)
    assert fake.count("begin") == 1
    page.clock.run_for(10000)
    eventually(lambda: fake.count("begin") == 2)


def test_a_refusal_is_not_repeated(page: Page, fake: Fake) -> None:
    """403 and 400 are mistakes of the set-up: said, and not tried again by itself."""
    fake.set(begin=[403, "forbidden_origin"])
    page.goto(fake.url)
    expect(page.locator(TITLE)).to_have_text("此网站不能使用该登录")
    page.wait_for_timeout(1500)
    assert fake.count("begin") == 1


def test_a_failing_renewal_keeps_listening_to_the_old_scene(page: Page, fake: Fake) -> None:
    """WeChat fails at a renewal: degraded is shown, and a scan of the old code still counts."""
    fake.set(qr_seconds=1)
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.set(begin=[502, "wechat_unavailable"])
    expect(page.locator(TITLE)).to_have_text("微信暂时没有响应")
    fake.move("authorized")
    expect(page.locator("#me-name")).to_have_text("王小明")


def test_registering_asks_for_what_is_missing(page: Page, fake: Fake) -> None:
    """The form asks for a name; a field the server misses is added; then the login follows."""
    fake.set(register_error=[400, "bad_request", "phone"])
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.move("registering", user={"name": "小*"})
    page.get_by_label("称呼").fill("小红")
    page.get_by_role("button", name="完成注册").click()
    page.get_by_label("手机号").fill("13800000000")
    page.get_by_role("button", name="完成注册").click()
    wait_for_state(page, "authorized")
