"""Each mistake of WeChat's side is found, named by its check, and told with its remedy in both
languages."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from doctor import at_wechat, walk
from doctor.errcodes import ERRCODES, address_in
from doctor.examination import CALLS
from doctor.findings import Finding, State, first_to_mend, is_well
from services.errors import SettingsError
from services.settings.models import Settings
from services.wechat.crypto import signature
from services.wechat.errcodes import TABLE
from simulator.config import NOTICE_TEMPLATE
from simulator.mistakes import MISTAKES
from tests.conftest import UnexpectedLogs
from tests.doctor.benches import doctor, findings_of, first_account, of_check, settings_of
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

FIELDS = {"thing1": "{site}", "time2": "{time}", "thing3": "{name}"}
NOTICE = {"notice_template_id": NOTICE_TEMPLATE.template_id, "notice_fields": FIELDS}

APPS = ("mini_program", "website")
"""A few mistakes are those of an app, or hold for it as well."""

FOUND: dict[str, tuple[str, State, str, str]] = {
    "ip": ("ip_list", State.BAD, "Add 127.0.0.1 to the IP allow list", "把 127.0.0.1 加进"),
    "secret": ("credentials", State.BAD, "Compare app_id and app_secret", "核对 app_id"),
    "app-secrets": ("mini_program", State.BAD, "Compare wechat.mini_program.app_id", "核对 wechat"),
    "frozen": ("credentials", State.BAD, "Unfreeze the AppSecret", "解冻 AppSecret"),
    "unverified": ("account_type", State.BAD, "verified service account", "认证服务号"),
    "subscription": ("account_type", State.BAD, "verified service account", "认证服务号"),
    "token": ("callback_token", State.BAD, "same value as callback_token", "填同一个值"),
    "key": ("encoding_aes_key", State.BAD, "same value as encoding_aes_key", "填同一个值"),
    "mode": ("mode", State.BAD, "Choose safe mode", "选安全模式"),
    "url": ("console_url", State.BAD, "/wechat/callback as server URL", "服务器地址填为"),
    "no-url": ("console_url", State.BAD, "Save the server URL", "保存服务器地址"),
    "unionid": ("unionid", State.BAD, "Bind all accounts", "绑定到同一个开放平台"),
    "template": ("template", State.BAD, "Copy the id", "复制模板 ID"),
    "quota": ("quota", State.BAD, "Find what begins so many logins", "请查清是什么"),
    "clock": ("clock", State.BAD, "Synchronise the clock", "校准时钟"),
}
"""Of each mistake: the check that finds it, the state, and a part of both remedies."""


def test_no_mistake_is_left_out() -> None:
    """The simulator's list and this table are the same."""
    assert FOUND.keys() == MISTAKES.keys()


@pytest.mark.parametrize("mistake", FOUND)
async def test_a_mistake_is_found(mistake: str, tmp_path: Path, logs: UnexpectedLogs) -> None:
    """By its check, with what to do about it; and nothing else is said to be bad."""
    logs.expect("403 POST|404")
    check, state, english, chinese = FOUND[mistake]
    async with Stack(tmp_path) as stack:
        await stack.simulator("follow", person="alice")
        await stack.simulator("mistakes", name=mistake)
        stack.container.accounts.named("").watch.callbacks.clear()
        if mistake != "no-url":
            await stack.simulator("text", person="alice", text="hello", options={"attempts": 1})
        found = await findings_of(settings_of(stack, **NOTICE))
        finding = of_check(found, check)
        assert (finding.state, english in finding.remedy("en")) == (state, True), finding.line("en")
        assert chinese in finding.remedy("zh")
        bad = [one.check for one in found if one.state is State.BAD]
        assert set(bad) <= {check, *APPS} and bad.count(check) == (state is State.BAD)
        assert is_well(found) == (state is State.SKIPPED)
        first = first_to_mend(found)
        assert first and first.finding.check == check


async def test_an_account_without_mistakes_is_well(tmp_path: Path) -> None:
    """Nothing is bad, and nothing of the account could not be looked at."""
    async with Stack(tmp_path) as stack:
        await stack.simulator("follow", person="alice")
        found = await findings_of(settings_of(stack, **NOTICE))
        assert is_well(found)
        skipped = {one.check for one in found if one.state is State.SKIPPED}
        assert skipped == {"verify_files"}
        assert {one.state for one in found} == {State.OK, State.SKIPPED}


async def test_a_callback_that_passed_is_told_with_its_age(tmp_path: Path) -> None:
    """One of an hour ago says nothing about a server URL that was changed since."""
    async with Stack(tmp_path) as stack:
        await stack.simulator("follow", person="alice")
        watch = stack.container.accounts.named("").watch.callbacks
        for outcome, last in watch.items():
            watch[outcome] = last._replace(at=last.at - 3600)
        found = await findings_of(settings_of(stack, **NOTICE))
        assert "a callback has passed (60 min ago)" in of_check(found, "callback_token").what("en")
        assert "已有回调通过（60 分钟前）" in of_check(found, "callback_token").what("zh")


async def test_nothing_is_spent_sent_or_changed(tmp_path: Path) -> None:
    """Only the listed interfaces are called; no code is made or counted, no chat is written to."""
    async with Stack(tmp_path, wechat={"codes_ahead": 0}) as stack:
        await stack.simulator("follow", person="alice")
        world = stack.simulation._simulated.world
        app_id = stack.container.accounts.named("").app_id
        world.faults.calls.clear()
        before = (
            len(world.codes._by_ticket),
            world.accounts[app_id],
            world.chats.lines("alice", app_id),
        )
        await findings_of(settings_of(stack, **NOTICE))
        after = (
            len(world.codes._by_ticket),
            world.accounts[app_id],
            world.chats.lines("alice", app_id),
        )
        assert after == before
        assert set(world.faults.calls) <= {path for _, path in CALLS}
        assert world.quotas.report(app_id, "/cgi-bin/qrcode/create")["quota"]["used"] == 0


async def test_a_call_that_is_not_listed_is_not_made(tmp_path: Path) -> None:
    """Nor a code with an action: the way out refuses, whatever a check would ask."""
    async with Stack(tmp_path) as stack, doctor(settings_of(stack)) as exam:
        name, _ = first_account(exam.settings)
        exam.tokens[name] = "token"
        code = {"action_name": "QR_STR_SCENE", "action_info": {"scene": {"scene_str": "x"}}}
        for path, body in (("/cgi-bin/menu/delete", {}), ("/cgi-bin/qrcode/create", code)):
            with pytest.raises(AssertionError, match="does not call"):
                await exam.call(name, "POST", path, body=body)


async def test_every_errcode_is_named(tmp_path: Path) -> None:
    """With its number, its meaning and a remedy, in both languages; also one that no table has."""
    async with Stack(tmp_path) as stack, doctor(settings_of(stack)) as exam:
        name, account = first_account(exam.settings)
        world = stack.simulation._simulated.world
        for errcode in (*TABLE, 76022, 99999):
            await stack.simulator("faults", path="/cgi-bin/stable_token", errcode=errcode, times=0)
            first, *_ = [found async for found in at_wechat.credentials(exam, name, account)]
            world.faults.clear()
            assert first.state is State.BAD
            for language in ("en", "zh"):
                assert f"errcode {errcode}" in first.what(language)
                assert first.remedy(language), errcode
        assert exam.tokens == {}


def test_every_errcode_has_a_chinese_meaning() -> None:
    """That of docs/zh-CN/errors.md, which another test holds to the table."""
    assert set(TABLE) <= set(ERRCODES)


@pytest.mark.parametrize(
    ("path", "check"),
    [
        ("/cgi-bin/get_api_domain_ip", "ip_list"),
        ("/cgi-bin/user/get", "ip_list"),
        ("/cgi-bin/qrcode/create", "ip_list"),
        ("/cgi-bin/callback/check", "ip_list"),
    ],
)
async def test_the_allow_list_is_named_wherever_it_refuses(
    path: str, check: str, tmp_path: Path
) -> None:
    """40164 comes for calls with an access_token, too."""
    async with Stack(tmp_path) as stack:
        await stack.simulator("faults", path=path, errcode=40164, times=0)
        finding = of_check(await findings_of(settings_of(stack)), check)
        assert finding.state is State.BAD and "40164" in finding.what("en")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("invalid ip 8.149.x.108 ipv6 ::ffff:8.149.x.108, not in whitelist rid: 1", "8.149.x.108"),
        ("invalid ip ::ffff:192.0.2.7, not in whitelist", "192.0.2.7"),
        ("invalid ip 2001:db8::7 ipv6 2001:db8::7, not in whitelist", "2001:db8::7"),
        ("invalid ip, not in whitelist", ""),
        ("invalid ip aaaa, not in whitelist", ""),
    ],
)
def test_the_address_is_read_from_the_text(text: str, address: str) -> None:
    """As WeChat writes it: the first of two spellings."""
    assert address_in(text) == address


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"garbage": True}, "not WeChat's API"),
        ({"status": 503}, "HTTP 503"),
        ({"drop": True}, "ends without an answer"),
    ],
)
async def test_a_wechat_that_is_not_reached_is_told(
    fault: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    """In words, and what needs an access_token is skipped."""
    async with Stack(tmp_path) as stack:
        await stack.simulator("faults", path="/cgi-bin/stable_token", times=0, **fault)
        found = await findings_of(settings_of(stack))
        finding = of_check(found, "credentials")
        assert finding.state is State.BAD and expected in finding.what("en")
        assert of_check(found, "unionid").text == "no_token"


@pytest.mark.parametrize(
    ("api_base", "english"),
    [("http://127.0.0.1:1", "refuses connections"), ("http://no-host.invalid", "DNS")],
)
async def test_the_reason_why_nothing_answers(api_base: str, english: str, tmp_path: Path) -> None:
    """A closed port and an unknown name are told apart."""
    async with Stack(tmp_path) as stack:
        settings = settings_of(stack)
        wechat = settings.wechat.model_copy(update={"api_base": api_base})
        settings = settings.model_copy(update={"wechat": wechat})
        async with doctor(settings) as exam:
            found = [one async for one in at_wechat.mini_program(exam)]
        assert english in found[0].what("en")


async def test_fields_of_another_template_are_named(tmp_path: Path) -> None:
    """Those that are missing, and those that the template does not have."""
    async with Stack(tmp_path) as stack:
        changed = {**NOTICE, "notice_fields": {"thing1": "{site}", "thing9": "x"}}
        finding = of_check(await findings_of(settings_of(stack, **changed)), "template")
        assert finding.state is State.BAD
        assert "missing time2, thing3; unknown thing9" in finding.what("en")


async def test_templates_are_told_before_a_notice_is_configured(tmp_path: Path) -> None:
    """Those of the account with their fields, and that there are none: no mistake yet."""
    async with Stack(tmp_path) as stack, doctor(settings_of(stack)) as exam:
        name, account = first_account(exam.settings)
        exam.tokens[name] = await exam.token_of(
            account.app_id, account.app_secret.get_secret_value()
        )

        async def told() -> str:
            (finding,) = [one async for one in at_wechat.template(exam, name, account)]
            assert finding.state is State.SKIPPED and "notice_template_id" in finding.remedy("zh")
            return finding.what("en")

        assert f"{NOTICE_TEMPLATE.template_id} (thing1, time2, thing3)" in await told()
        await stack.simulator("mistakes", name="template")
        assert "the account has no template" in await told()
        await stack.simulator("mistakes", name="unverified")
        assert "does not tell" in await told()


async def test_a_lone_account_without_unionid_is_only_worth_a_word(tmp_path: Path) -> None:
    """Without a second app no person can be two users."""
    async with Stack(tmp_path) as stack:
        await stack.simulator("follow", person="alice")
        await stack.simulator("mistakes", name="unionid")
        settings = settings_of(stack)
        bare = type(settings.wechat)()
        wechat = settings.wechat.model_copy(
            update={"mini_program": bare.mini_program, "website": bare.website}
        )
        found = await findings_of(settings.model_copy(update={"wechat": wechat}))
        assert of_check(found, "unionid").state is State.WARN


async def test_without_callbacks_the_rest_is_said_to_be_unknown(tmp_path: Path) -> None:
    """All is well as far as it goes, and what is next is to write a word."""
    async with Stack(tmp_path) as stack:
        found = await findings_of(settings_of(stack))
        first = first_to_mend(found)
        assert is_well(found) and first and first.finding.check == "mode"
        assert "Write a word to the account" in first.finding.remedy("en")
        assert "发一句话" in first.finding.remedy("zh")


async def test_a_stranger_names_no_address(tmp_path: Path) -> None:
    """Only what is signed with the account's Token shows where callbacks go: also below the path
    of the callback, and until one comes right."""
    async with Stack(tmp_path) as stack:
        watch = stack.container.accounts.named("").watch
        for path in ("/wechat/callback/nobody", "/elsewhere"):
            query = {"signature": "0" * 40, "timestamp": "1", "nonce": "1"}
            assert (await stack.http.post(path, params=query)).status_code == 404
            assert watch.elsewhere is None
        account = stack.container.accounts.named("").settings
        signed = signature(account.callback_token.get_secret_value(), "1", "1")
        for path in ("/wechat/callback/nobody", "/elsewhere"):
            query = {"signature": signed, "timestamp": "1", "nonce": "1"}
            assert (await stack.http.post(path, params=query)).status_code == 404
            assert watch.elsewhere and watch.elsewhere[0] == path
        await stack.simulator("follow", person="alice")
        assert is_well(await findings_of(settings_of(stack)))


async def test_json_callbacks_and_strangers_are_told(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """JSON is read as well; a stranger's knock after WeChat's callbacks is no mistake."""
    logs.expect("403 POST")
    async with Stack(tmp_path) as stack:
        world = stack.simulation._simulated.world
        world.change(stack.container.accounts.named("").app_id, data_format="json")
        await stack.simulator("follow", person="alice")
        stranger = {"bad_signature": True, "attempts": 1}
        await stack.simulator("text", person="alice", text="hello", options=stranger)
        found = await findings_of(settings_of(stack))
        assert "JSON" in of_check(found, "format").what("en")
        assert of_check(found, "callback_token").state is State.WARN
        assert is_well(found)


async def test_strangers_neither_make_nor_hide_a_mistake(
    tmp_path: Path, logs: UnexpectedLogs
) -> None:
    """What WeChat did not sign says nothing of the console's mode, and what WeChat signed last is
    told however often strangers knock after it."""
    logs.expect("40[03] POST|404 POST")
    async with Stack(tmp_path) as stack:
        watch = stack.container.accounts.named("").watch

        async def knock() -> None:
            for query in ({"signature": "0" * 40, "timestamp": "1", "nonce": "1"}, {}):
                plain = await stack.http.post("/wechat/callback", params=query, content=b"<xml/>")
                assert plain.status_code in (400, 403)

        await stack.simulator("follow", person="alice")
        await knock()
        assert watch.callbacks.keys() == {"ignored", "signature", "query"}
        assert is_well(await findings_of(settings_of(stack)))
        await stack.simulator("mistakes", name="key")
        await stack.simulator("text", person="alice", text="hello", options={"attempts": 1})
        await knock()
        found = await findings_of(settings_of(stack))
        assert of_check(found, "encoding_aes_key").state is State.BAD


async def test_each_account_is_examined_by_its_name(tmp_path: Path) -> None:
    """Lines begin with it; one alone can be asked for, and an unknown one is a mistake."""
    accounts: dict[str, Any] = {"default": {}, "second": {}}
    async with Stack(tmp_path, wechat={"accounts": accounts}) as stack:
        settings = settings_of(stack)
        found = await findings_of(settings)
        assert is_well(found)
        told = [one.what("en") for one in found if one.check == "server_url"]
        assert [line.partition(":")[0] for line in told] == ["default", "second"]
        assert "/wechat/callback/second answers" in told[1]
        async with doctor(settings, only="second") as exam:
            assert list(exam.accounts) == ["second"]
        with pytest.raises(SettingsError, match="default, second"):
            async with doctor(settings, only="third"):
                raise AssertionError


async def test_one_cause_is_one_mistake(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """What follows from it is skipped, and named with it: WeChat out of reach, an address that is
    not listed, a server that runs with another Token. Two stores that fail are two mistakes."""
    logs.expect("redis|mongo")

    async def walked(settings: Settings) -> tuple[list[str], set[str]]:
        found = await findings_of(settings)
        first = first_to_mend(found)
        assert first is not None
        return [one.check for one in found if one.state is State.BAD], set(first.explained)

    async with Stack(tmp_path) as stack:
        settings = settings_of(stack)
        wechat = settings.wechat.model_copy(update={"api_base": "http://127.0.0.1:1"})
        bad, explained = await walked(settings.model_copy(update={"wechat": wechat}))
        assert bad == ["credentials"]
        assert explained >= {"ip_list", "unionid", "mini_program", "website"}
        for path in ("user/get", "callback/check", "template/get_all_private_template"):
            await stack.simulator("faults", path=f"/cgi-bin/{path}", errcode=40164, times=0)
        bad, explained = await walked(settings_of(stack, **NOTICE))
        assert bad == ["ip_list"] and explained == {"unionid", "template"}
        await stack.no_faults()
        bad, explained = await walked(settings_of(stack, callback_token=SecretStr("another1")))
        assert bad == ["server_url"] and explained >= {"proxy", "socket", "mode"}
        down = {
            "redis": settings.redis.model_copy(update={"url": SecretStr("redis://127.0.0.1:1")}),
            "mongodb": settings.mongodb.model_copy(
                update={"url": SecretStr("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100")}
            ),
            "backend": "distributed",
            "server": settings.server.model_copy(update={"port": 1, "public_url": ""}),
        }
        bad, explained = await walked(settings.model_copy(update=down))
        assert bad == ["stores", "stores"] and explained == {"server_url"}


async def test_a_check_that_hangs_is_cut_off(tmp_path: Path) -> None:
    """It is skipped with the reason, and the others are made."""
    async with Stack(tmp_path) as stack:
        await stack.simulator("faults", path="/cgi-bin/user/get", delay=5, times=0)
        found: list[Finding] = []
        async with doctor(settings_of(stack)) as exam:
            await walk.walk(exam, lambda _: None, found.append, check_seconds=0.5)
        assert of_check(found, "unionid").text == "too_slow"
        assert of_check(found, "stores").state is State.OK


async def test_after_the_whole_time_nothing_is_begun(tmp_path: Path) -> None:
    """Every check that is left is skipped."""
    async with Stack(tmp_path) as stack:
        found = await findings_of(settings_of(stack), whole_seconds=0)
        assert {one.text for one in found} == {"no_time"}


async def test_no_secret_is_told(tmp_path: Path) -> None:
    """Not by any line of either language, also where WeChat refuses."""
    async with Stack(tmp_path) as stack:
        await stack.simulator("mistakes", name="secret")
        settings = settings_of(stack)
        _, account = first_account(settings)
        lines = "".join(
            one.line(language) for one in await findings_of(settings) for language in ("en", "zh")
        )
        for secret in (account.app_secret, account.callback_token, account.encoding_aes_key):
            assert secret.get_secret_value() not in lines
