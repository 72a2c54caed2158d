"""States of the login page that need other servers beside scanpush: a hook that denies, a database
that is gone, and a page under an address that the server does not know as its own."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from deploy.programs import free_port
from tests.hook_server import HookServer
from tests.servers import MongoServer, RedisServer

from .aside import Aside
from .conftest import wait_for_state
from .faces import FACES, Face, in_many_faces
from .look import look
from .real_server import Real, tea_house
from .walks import QR, TITLE, scan, speak

pytestmark = pytest.mark.browser


def test_the_hook_of_the_site_denies(page: Page, tmp_path: Path) -> None:
    """A person whom the operator's own system does not admit is told so; a new code is one click
    away."""
    with Aside() as aside, aside.entered(HookServer()) as hook:
        hook.answer = {"decision": "deny"}
        with Real(tmp_path, **tea_house(registration="ask", **hook.login)) as real:
            scan(page, real, "not admitted")
            page.get_by_label("称呼").fill("小明")
            page.get_by_role("button", name="完成注册").click()
            expect(page.locator(TITLE)).to_have_text("没有登录权限")
            wrong = in_many_faces(page, "login-hook_refused", FACES)
            page.locator("#lang").select_option("zh-CN")
            page.get_by_role("button", name="换一个二维码").click()
            wait_for_state(page, "waiting")
    assert not wrong, wrong


LATER = {
    "zh-CN": "暂时无法提交，请稍后再试。",
    "zh-TW": "暫時無法送出，請稍後再試。",
    "en": "Not possible right now. Please try again shortly.",
    "ja": "ただいま登録できません。しばらくしてからもう一度お試しください。",
}


def test_a_form_while_the_hook_is_down(page: Page, tmp_path: Path) -> None:
    """Nothing is wrong with what was typed, and the page does not say so; later the form works."""
    wrong = []
    with Aside() as aside, aside.entered(HookServer()) as hook:
        hook.status = 503
        with Real(tmp_path, **tea_house(registration="ask", **hook.login)) as real:
            scan(page, real, "too early")
            wait_for_state(page, "registering")
            form = page.locator("scan-login form")
            for lang, theme, width, height in FORM_FACES:
                page.emulate_media(color_scheme=theme, reduced_motion="reduce")
                page.set_viewport_size({"width": width, "height": height})
                speak(page, lang)
                form.locator("input").fill("小明")
                form.get_by_role("button").click()
                expect(form.get_by_role("alert")).to_have_text(LATER[lang])
                wrong += look(page, f"login-form_later-{lang}-{theme}-{width}")
            hook.status = 200
            form.get_by_role("button").click()
            expect(page.locator("#me-name")).to_have_text("小明")
    assert not wrong, wrong


FORM_FACES: list[Face] = [*FACES, ("zh-TW", "light", 1280, 800), ("ja", "dark", 320, 640)]


def test_a_page_under_an_unknown_address(page: Page, tmp_path: Path) -> None:
    """`server.public_url` names another host than the one people use: said, and no code shown."""
    port = free_port()
    server = {"port": port, "public_url": f"http://localhost:{port}"}
    with Real(tmp_path, **{**tea_house(), "server": server}):
        page.goto(f"http://127.0.0.1:{port}")
        expect(page.locator(TITLE)).to_have_text("此网站无法使用微信登录")
        expect(page.locator(QR)).to_be_hidden()
        wrong = in_many_faces(page, "login-forbidden_origin", FACES)
    assert not wrong, wrong


@pytest.mark.slow
@pytest.mark.redis
@pytest.mark.mongodb
def test_a_login_that_cannot_be_finished(page: Page, tmp_path: Path) -> None:
    """MongoDB stands still for the thirty seconds that a scanned login has: the page says so."""
    redis, mongo = RedisServer(tmp_path), MongoServer(tmp_path)
    stores = {"redis": {"url": redis.url}, "mongodb": {"url": mongo.url, "database": "people"}}
    try:
        redis.start()
        mongo.start()
        with Real(tmp_path, **tea_house(), **stores, backend="distributed") as real:
            mongo.pause()
            scan(page, real, "unlucky")
            wait_for_state(page, "scanned")
            expect(page.locator(TITLE)).to_have_text("登录失败", timeout=45_000)
            wrong = in_many_faces(page, "login-try_again", FACES)
            mongo.resume()
    finally:
        mongo.stop()
        redis.stop()
    assert not wrong, wrong
