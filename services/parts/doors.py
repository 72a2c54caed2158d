"""Which doors the settings open, and what each is made of."""

from dataclasses import dataclass

from services.doors.direct import DirectLogin
from services.doors.mini_program import MiniProgramDoor
from services.doors.mini_program_pictures import MiniProgramPictures
from services.doors.oauth import OAuthApp, OAuthApps, OAuthDoors
from services.parts.ground import Ground
from services.parts.logins import Logins
from services.scenes.codes import (
    MiniProgramCode,
    OfficialAccountCode,
    SceneCode,
    SceneCodes,
    TypedCode,
    WebCode,
    WebsiteCode,
)
from services.scenes.states import Kind
from services.scenes.typed_codes import TypedCodes
from services.settings import AccountSettings, AppSettings
from services.wechat.accounts import Accounts
from services.wechat.api_httpx import authorized
from services.wechat.calls import Calls
from services.wechat.mini_program import HttpxMiniProgram
from services.wechat.oauth import HttpxOAuth


def build_codes(ground: Ground, typed_codes: TypedCodes) -> SceneCodes:
    """The kinds of scenes that are offered: those whose account or app has an app_id."""
    settings, wechat = ground.settings, ground.settings.wechat
    codes: dict[Kind, SceneCode] = {}
    if any(account.app_id for account in wechat.accounts.values()):
        codes[Kind.OFFICIAL_ACCOUNT] = OfficialAccountCode(
            ground.backend.scenes,
            ground.clock,
            mp_base=wechat.mp_base,
            daily_code_reserve=settings.limits.daily_code_reserve,
        )
        codes[Kind.WEB] = WebCode()
        codes[Kind.CODE] = TypedCode(typed_codes)
    if wechat.mini_program.app_id:
        codes[Kind.MINI_PROGRAM] = MiniProgramCode()
    if wechat.website.app_id:
        codes[Kind.WEBSITE] = WebsiteCode()
    return codes


@dataclass(frozen=True, slots=True)
class Doors:
    """The doors besides the chat; None where none is configured."""

    oauth: OAuthDoors
    mini_program: MiniProgramDoor | None = None
    pictures: MiniProgramPictures | None = None


def build_doors(ground: Ground, logins: Logins, accounts: Accounts) -> Doors:
    """Every door the settings open."""
    calls = Calls(
        ground.http,
        ground.settings.wechat.api_base,
        ground.clock,
        timeout_seconds=ground.settings.wechat.timeout_seconds,
        observer=ground.metrics,
    )
    oauth = OAuthDoors(
        ground.backend.scenes,
        logins.login,
        logins.admission,
        accounts,
        build_oauth_apps(ground, calls),
        ground.kiosk_labels,
    )
    if not ground.settings.wechat.mini_program.app_id:
        return Doors(oauth)
    api = build_mini_program(ground, calls)
    door = MiniProgramDoor(
        api,
        ground.backend.users,
        logins.login,
        logins.admission,
        accounts,
        build_direct_login(ground),
        ground.limits,
        strangers=ground.settings.login.registration == "auto",
    )
    return Doors(oauth, door, MiniProgramPictures(api, ground.supervisor, ground.limits))


def build_direct_login(ground: Ground) -> DirectLogin:
    """The login without a scene."""
    return DirectLogin(
        ground.backend.users,
        ground.issuer,
        ground.clock,
        ground.metrics,
        amr=ground.amr,
        token_ttl_seconds=ground.settings.jwt.ttl_seconds,
    )


def build_mini_program(ground: Ground, calls: Calls) -> HttpxMiniProgram:
    """WeChat's API with the mini program's credentials."""
    app = ground.settings.wechat.mini_program
    secret = app.app_secret.get_secret_value()
    signed = authorized(
        calls,
        ground.backend.credentials,
        ground.clock,
        ground.supervisor,
        app_id=app.app_id,
        app_secret=secret,
        credential=ground.settings.wechat.credential,
    )
    return HttpxMiniProgram(
        calls,
        signed,
        app_id=app.app_id,
        app_secret=secret,
        page=app.page,
        env_version=app.env_version,
    )


def build_oauth_apps(ground: Ground, calls: Calls) -> OAuthApps:
    """The app_ids that people authorise on WeChat's pages, by kind and account."""
    wechat, apps = ground.settings.wechat, {}

    def api(app: AccountSettings | AppSettings) -> HttpxOAuth:
        secret = app.app_secret.get_secret_value()
        return HttpxOAuth(
            calls, ground.clock, ground.supervisor, app_id=app.app_id, app_secret=secret
        )

    website = api(wechat.website) if wechat.website.app_id else None
    for name, account in wechat.accounts.items():
        if account.app_id:
            apps[Kind.WEB, name] = OAuthApp(api(account), wechat.open_base, account.web_scope)
        if website is not None:
            apps[Kind.WEBSITE, name] = OAuthApp(website, wechat.open_base, None)
    return apps
