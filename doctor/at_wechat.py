"""What WeChat tells about an account or app. Nothing here changes anything there."""

import re
import statistics
from collections.abc import AsyncGenerator
from typing import Any

from doctor.errcodes import is_about_address, problem, refused
from doctor.examination import NO_ACTION, Examination, NoReport
from doctor.findings import Finding, State
from doctor.texts import SENTENCES, WHY, Said
from services.errors import WeChatError, WeChatRefused, WeChatUnavailable
from services.settings.models import AccountSettings, AppSettings

Findings = AsyncGenerator[Finding, None]

CODES_PATH = "/cgi-bin/qrcode/create"

LITTLE = 0.2
"""Of the day's quota: less than this share is worth a word."""

OFF_SECONDS, FAR_OFF_SECONDS = 5.0, 60.0
"""How far the clock may be off: a Date says whole seconds, and tokens allow for ten."""

MADE_UP_CODE = "scanpush-doctor"
"""No code of WeChat's: those have 32 characters."""

NOT_GRANTED = frozenset({48001, 76022, 45103})
REFUSED_ACTION = frozenset({40052, 40053, 47001, 40097})
"""What qrcode/create says of an empty action to an account that may call it."""


async def unanswered(
    exam: Examination, check: str, error: WeChatError, account: str = ""
) -> Finding:
    """A call to WeChat that brought nothing."""
    label = exam.label(account)
    if isinstance(error, WeChatRefused):
        return refused(check, error, label)
    text = str(error)
    api_base = exam.settings.wechat.api_base
    if text.startswith("errcode -1"):
        return refused(check, WeChatRefused(-1, text.partition(": ")[2]), label)
    if text.startswith("HTTP ") or "answer" in text:
        why = Said(f"{WHY['answer'].en} ({text})", f"{WHY['answer'].zh}（{text}）")
    else:
        why = await exam.why(api_base, error)
    host = api_base.partition("://")[2].partition("/")[0]
    return Finding(check, State.BAD, "not_reached", {"host": host, "why": why}, label)


async def credentials(exam: Examination, name: str, account: AccountSettings) -> Findings:
    """AppID, AppSecret and the IP allow list: WeChat looks at all of them for an access_token."""
    label = exam.label(name)
    try:
        exam.tokens[name] = await exam.token_of(
            account.app_id, account.app_secret.get_secret_value()
        )
    except WeChatRefused as refusal:
        found = refused("credentials", refusal, label)
        exam.refused_by[name] = found.check
        yield found
        if is_about_address(refusal):
            yield Finding(
                "credentials", State.SKIPPED, "credentials_unseen", {}, label, because=found.check
            )
        elif found.check == "credentials":
            yield _ip_unseen(label)
    except WeChatUnavailable as error:
        exam.refused_by[name] = "credentials"
        yield await unanswered(exam, "credentials", error, name)
        yield _ip_unseen(label)
    else:
        yield Finding("credentials", State.OK, "credentials", {"app_id": account.app_id}, label)


def _ip_unseen(label: str) -> Finding:
    return Finding("ip_list", State.SKIPPED, "ip_unseen", {}, label, because="credentials")


async def ip_list_and_time(exam: Examination, name: str, account: AccountSettings) -> Findings:
    """The IP allow list holds for calls with an access_token, too; and how long they take."""
    label = exam.label(name)
    if name not in exam.tokens:
        return
    try:
        for _ in range(3):
            await exam.call(name, "GET", "/cgi-bin/get_api_domain_ip")
    except WeChatError as error:
        yield await unanswered(exam, "ip_list", error, name)
    else:
        yield Finding("ip_list", State.OK, "ip_list", {}, label)


async def clock(exam: Examination) -> Findings:
    """This machine's clock by WeChat's Date."""
    off, window = exam.ahead, exam.settings.wechat.timestamp_window_seconds
    if off is None:
        yield Finding("clock", State.SKIPPED, "clock_unknown")
        return
    if abs(off) < OFF_SECONDS:
        yield Finding("clock", State.OK, "clock", {"seconds": int(OFF_SECONDS)})
        return
    state = State.BAD if abs(off) >= FAR_OFF_SECONDS else State.WARN
    values = {
        "seconds": round(abs(off)),
        "side": SENTENCES["behind" if off > 0 else "ahead"],
        "window": window,
    }
    if abs(off) > window:
        yield Finding("clock", State.BAD, "clock_refuses", values)
    else:
        yield Finding("clock", state, "clock_off", values)


async def wechat_time(exam: Examination) -> Findings:
    """How long WeChat's answers took."""
    seconds, limit = exam.transport.seconds, exam.settings.wechat.timeout_seconds
    if not seconds:
        return
    median = statistics.median(seconds)
    values = {"ms": round(1000 * median), "count": len(seconds), "limit": f"{limit:g}"}
    slow = median > limit / 2
    yield Finding(
        "wechat_time",
        State.WARN if slow else State.OK,
        "wechat_slow" if slow else "wechat_time",
        values,
    )


async def account_type(exam: Examination, name: str, account: AccountSettings) -> Findings:
    """Whether the account may make codes, and how many are left; no code is made."""
    label = exam.label(name)
    quota: dict[str, Any] = {}
    try:
        answer = await exam.call(
            name, "POST", "/cgi-bin/openapi/quota/get", body={"cgi_path": CODES_PATH}
        )
        quota = answer["quota"] if isinstance(answer.get("quota"), dict) else {}
    except WeChatRefused as refusal:
        if refusal.errcode not in NOT_GRANTED:
            yield refused("quota", refusal, label)
        else:
            quota = {"refusal": refusal}
    except WeChatUnavailable as error:
        yield await unanswered(exam, "quota", error, name)
    yield await _grant(exam, name, quota.get("refusal"))
    if not quota:
        yield Finding("quota", State.SKIPPED, "quota_unknown", {}, label)
    elif isinstance(quota.get("remain"), int):
        yield await _codes_left(exam, name, quota)


async def _grant(exam: Examination, name: str, refusal: WeChatRefused | None) -> Finding:
    label = exam.label(name)
    if refusal is None:
        try:
            await exam.call(name, "POST", CODES_PATH, body=NO_ACTION)
        except WeChatRefused as answer:
            if answer.errcode in REFUSED_ACTION:
                return Finding("account_type", State.OK, "account_type", {}, label)
            refusal = answer
        except WeChatUnavailable as error:
            return await unanswered(exam, "account_type", error, name)
        else:
            return Finding("account_type", State.OK, "account_type", {}, label)
    if refusal.errcode in NOT_GRANTED:
        values = {"problem": problem(refusal)}
        return Finding("account_type", State.BAD, "account_type_bad", values, label)
    return refused("account_type", refusal, label)


async def _codes_left(exam: Examination, name: str, quota: dict[str, Any]) -> Finding:
    report = await exam.report(name)
    counted = None if isinstance(report, NoReport) else report.get("codes_left")
    own = SENTENCES["silence"]
    if isinstance(counted, int):
        own = Said(*(half.format(count=counted) for half in SENTENCES["own_count"]))
    left, limit = quota["remain"], quota.get("daily_limit", 0)
    reserve = exam.settings.limits.daily_code_reserve
    state = State.OK
    if left <= reserve:
        state = State.BAD
    elif isinstance(limit, int) and left < LITTLE * limit:
        state = State.WARN
    values = {"left": left, "limit": limit, "own": own, "reserve": reserve}
    text = "quota" if state is State.OK else "quota_low"
    return Finding("quota", state, text, values, exam.label(name))


async def console_url(exam: Examination, name: str, account: AccountSettings) -> Findings:
    """Whether the console has a server URL: WeChat tells the addresses of its host."""
    body = {"action": "dns", "check_operator": "DEFAULT"}
    try:
        answer = await exam.call(name, "POST", "/cgi-bin/callback/check", body=body)
    except WeChatError as error:
        yield await unanswered(exam, "console_url", error, name)
        return
    found = answer.get("dns")
    addresses = [
        str(one.get("ip", ""))[:45]
        for one in (found if isinstance(found, list) else [])
        if isinstance(one, dict)
    ]
    values = {"addresses": ", ".join(addresses) or SENTENCES["nothing"]}
    yield Finding("console_url", State.OK, "console_url", values, exam.label(name))


async def unionid(exam: Examination, name: str, account: AccountSettings) -> Findings:
    """Whether the account is bound to an Open Platform account: a follower has a unionid then."""
    label = exam.label(name)
    try:
        listed = await exam.call(name, "GET", "/cgi-bin/user/get")
        data = listed.get("data")
        openids = data.get("openid") if isinstance(data, dict) else None
        if not isinstance(openids, list) or not openids:
            yield Finding("unionid", State.SKIPPED, "no_followers", {}, label)
            return
        person = await exam.call(
            name, "GET", "/cgi-bin/user/info", query={"openid": str(openids[0]), "lang": "zh_CN"}
        )
    except WeChatError as error:
        yield await unanswered(exam, "unionid", error, name)
        return
    if person.get("unionid"):
        yield Finding("unionid", State.OK, "unionid", {}, label)
        return
    wechat = exam.settings.wechat
    # With a single app no person can become two users, until there is a second one.
    ids = [account.app_id for account in wechat.accounts.values()]
    several = sum(map(bool, (*ids, wechat.mini_program.app_id, wechat.website.app_id))) > 1
    yield Finding("unionid", State.BAD if several else State.WARN, "unionid_none", {}, label)


MOST_TEMPLATES = 3

_FIELD = re.compile(r"\{\{\s*(\w+)\.DATA\s*\}\}")


async def template(exam: Examination, name: str, account: AccountSettings) -> Findings:
    """The fields of the notice's template against notice_fields; nothing is sent. Where no notice
    is configured, which templates there would be: that is no mistake."""
    label = exam.label(name)
    try:
        answer = await exam.call(name, "GET", "/cgi-bin/template/get_all_private_template")
    except WeChatError as error:
        if not account.notice_template_id:
            yield Finding("template", State.SKIPPED, "template_unset", {}, label)
            return
        yield await unanswered(exam, "template", error, name)
        return
    found = answer.get("template_list")
    contents = {
        one.get("template_id"): str(one.get("content", ""))
        for one in (found if isinstance(found, list) else [])
        if isinstance(one, dict)
    }
    if not account.notice_template_id:
        listed = "; ".join(
            f"{template_id} ({', '.join(_FIELD.findall(content))})"
            for template_id, content in list(contents.items())[:MOST_TEMPLATES]
        )
        values: dict[str, object] = {"name": name, "listed": listed}
        text = "template_unused" if contents else "template_none"
        yield Finding("template", State.SKIPPED, text, values, label)
        return
    if account.notice_template_id not in contents:
        yield Finding("template", State.BAD, "template_unknown", {}, label)
        return
    wanted = list(dict.fromkeys(_FIELD.findall(contents[account.notice_template_id])))
    given = set(account.notice_fields)
    if set(wanted) == given:
        yield Finding("template", State.OK, "template", {}, label)
        return
    nothing = SENTENCES["nothing"]
    values = {
        "missing": ", ".join(field for field in wanted if field not in given) or nothing,
        "surplus": ", ".join(sorted(given - set(wanted))) or nothing,
        "wanted": ", ".join(wanted),
        "name": name,
    }
    yield Finding("template", State.BAD, "template_fields", values, label)


async def mini_program(exam: Examination) -> Findings:
    """The mini program's AppID and AppSecret, by its access_token."""
    app = exam.settings.wechat.mini_program
    if not app.app_id:
        yield Finding("mini_program", State.SKIPPED, "app_none")
        return
    try:
        await exam.token_of(app.app_id, app.app_secret.get_secret_value())
    except WeChatRefused as refusal:
        yield refused("mini_program", refusal, of_app="mini_program")
    except WeChatUnavailable as error:
        yield await unanswered(exam, "mini_program", error)
    else:
        yield Finding("mini_program", State.OK, "app", {"app_id": app.app_id})


async def website(exam: Examination) -> Findings:
    """The website app's AppID and AppSecret: with a right one, only the made-up code is refused."""
    app: AppSettings = exam.settings.wechat.website
    if not app.app_id:
        yield Finding("website", State.SKIPPED, "app_none")
        return
    query = {
        "appid": app.app_id,
        "secret": app.app_secret.get_secret_value(),
        "code": MADE_UP_CODE,
        "grant_type": "authorization_code",
    }
    well = Finding("website", State.OK, "app", {"app_id": app.app_id})
    try:
        await exam.client.json("GET", "/sns/oauth2/access_token", query=query)
    except WeChatRefused as refusal:
        if refusal.errcode in (40029, 40163, 42003):
            yield well
        else:
            yield refused("website", refusal, of_app="website")
    except WeChatUnavailable as error:
        yield await unanswered(exam, "website", error)
    else:
        yield well
