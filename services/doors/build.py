"""Which doors the settings open, and what each is made of. Called by the container alone."""

from dataclasses import dataclass

import httpx

from services.clock import Clock
from services.doors.direct import DirectLogin
from services.doors.mini_program import MiniProgramDoor
from services.doors.mini_program_pictures import MiniProgramPictures
from services.doors.oauth import OAuthApp, OAuthApps, OAuthDoors
from services.metrics import Metrics
from services.people.store import UserStore
from services.scenes.admission import AdmissionService
from services.scenes.codes import (
    MiniProgramCode,
    OfficialAccountCode,
    SceneCode,
    SceneCodes,
    TypedCode,
    WebCode,
    WebsiteCode,
)
from services.scenes.login import LoginService
from services.scenes.states import Kind
from services.scenes.store import SceneStore
from services.scenes.typed_codes import TypedCodes
from services.settings import AccountSettings, AppSettings, Settings
from services.supervisor import Supervisor
from services.wechat.accounts import Accounts
from services.wechat.api_httpx import authorized
from services.wechat.calls import Calls
from services.wechat.credentials import CredentialStore
from services.wechat.mini_program import HttpxMiniProgram
from services.wechat.oauth import HttpxOAuth


def build_codes(
    settings: Settings, scenes: SceneStore, typed_codes: TypedCodes, clock: Clock
) -> SceneCodes:
    """The kinds of scenes that are offered: those whose account or app has an app_id."""
    wechat = settings.wechat
    codes: dict[Kind, SceneCode] = {}
    if any(account.app_id for account in wechat.accounts.values()):
        codes[Kind.OFFICIAL_ACCOUNT] = OfficialAccountCode(
            scenes,
            clock,
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


def build_doors(
    settings: Settings,
    *,
    scenes: SceneStore,
    users: UserStore,
    credentials: CredentialStore,
    login: LoginService,
    admission: AdmissionService,
    direct: DirectLogin,
    accounts: Accounts,
    http: httpx.AsyncClient,
    clock: Clock,
    supervisor: Supervisor,
    metrics: Metrics,
) -> Doors:
    """Every door the settings open."""
    calls = Calls(
        http,
        settings.wechat.api_base,
        clock,
        timeout_seconds=settings.wechat.timeout_seconds,
        observer=metrics,
    )
    oauth = OAuthDoors(
        scenes,
        login,
        admission,
        accounts,
        build_oauth_apps(settings, calls, clock, supervisor),
        {name: kiosk.label for name, kiosk in settings.kiosks.items()},
    )
    app = settings.wechat.mini_program
    if not app.app_id:
        return Doors(oauth)
    secret = app.app_secret.get_secret_value()
    signed = authorized(
        calls,
        credentials,
        clock,
        supervisor,
        app_id=app.app_id,
        app_secret=secret,
        credential=settings.wechat.credential,
    )
    api = HttpxMiniProgram(calls, signed, app_id=app.app_id, app_secret=secret)
    strangers = settings.login.registration == "auto"
    door = MiniProgramDoor(api, users, login, admission, accounts, direct, strangers=strangers)
    return Doors(oauth, door, MiniProgramPictures(api, supervisor))


def build_oauth_apps(
    settings: Settings, calls: Calls, clock: Clock, supervisor: Supervisor
) -> OAuthApps:
    """The app_ids that people authorise on WeChat's pages, by kind and account."""
    wechat, apps = settings.wechat, {}

    def api(app: AccountSettings | AppSettings) -> HttpxOAuth:
        secret = app.app_secret.get_secret_value()
        return HttpxOAuth(calls, clock, supervisor, app_id=app.app_id, app_secret=secret)

    website = api(wechat.website) if wechat.website.app_id else None
    for name, account in wechat.accounts.items():
        if account.app_id:
            apps[Kind.WEB, name] = OAuthApp(api(account), wechat.open_base, account.web_scope)
        if website is not None:
            apps[Kind.WEBSITE, name] = OAuthApp(website, wechat.open_base, None)
    return apps
