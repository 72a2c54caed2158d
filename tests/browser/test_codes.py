"""When a code is renewed, when it is not, and what is said when none is to be had."""

import re

import pytest
from playwright.sync_api import Page, expect

from .conftest import HIDE, Fake, eventually, view, wait_for_state
from .walks import TIMER, TITLE

pytestmark = pytest.mark.browser


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


def test_an_expired_scene_is_replaced(page: Page, fake: Fake) -> None:
    """When the server says `expired` (close 4408), a visible page shows a new code by itself."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    before = view(page)["scene_str"]
    fake.move("expired")
    eventually(lambda: fake.count("begin") == 2)
    eventually(lambda: view(page).get("scene_str") not in (None, before))


def test_a_login_that_was_not_finished_in_time_is_told(page: Page, fake: Fake) -> None:
    """`try_again` has words of its own, and a new code is one click away."""
    page.goto(fake.url)
    wait_for_state(page, "waiting")
    fake.move("failed", error="try_again")
    expect(page.locator(TITLE)).to_have_text("登录失败")
    page.get_by_role("button", name="换一个二维码").click()
    wait_for_state(page, "waiting")
    assert fake.count("begin") == 2


def test_too_many_tries_are_said_and_tried_again(page: Page, fake: Fake) -> None:
    """Limited for two seconds, the page goes on by itself."""
    fake.set(begin=[429, "rate_limited"], retry_after=2)
    page.goto(fake.url)
    expect(page.locator(TITLE)).to_have_text("操作太频繁")
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


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (9 * 60 + 30, re.compile("^(9:[0-3][0-9]|8:[0-5][0-9]) 后重试$")),
        (11 * 60, ""),
        (32 * 60 + 4, ""),
        (934 * 60 + 6, ""),
    ],
)
def test_only_a_short_wait_is_counted_down(
    page: Page, fake: Fake, seconds: int, told: str | re.Pattern[str]
) -> None:
    """Once WeChat's codes of the day are used up, the wait lasts until midnight in Beijing."""
    fake.set(begin=[503, "wechat_quota"], retry_after=seconds)
    page.goto(fake.url)
    expect(page.locator(TITLE)).to_have_text("二维码暂时用完了")
    expect(page.locator(TIMER)).to_have_text(told)


def test_a_refusal_is_not_repeated(page: Page, fake: Fake) -> None:
    """403 and 400 are mistakes of the set-up: said, and not tried again by itself."""
    fake.set(begin=[403, "forbidden_origin"])
    page.goto(fake.url)
    expect(page.locator(TITLE)).to_have_text("此网站无法使用微信登录")
    page.wait_for_timeout(1500)
    assert fake.count("begin") == 1


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
