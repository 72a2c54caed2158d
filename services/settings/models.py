"""Every setting: its name, default, unit and what it may be; the rules between settings; loading.

`load_settings` reads the YAML file, lets the environment override it, and stops at the first
mistake with one line that names the dotted key. The models are frozen; a part of the program that
needs another value gets another `Settings`.

Models built directly (in tests) have their fields checked, but not the rules between them, and
relative paths stay as they are: both belong to `load_settings`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from services.errors import SettingsError
from services.settings import branding, hosts, mongodb_url, sources
from services.settings.fields import (
    AccountCode,
    AddressRange,
    AppSecret,
    BaseUrl,
    CallbackToken,
    CodesAhead,
    Colour,
    EncodingAesKey,
    EventsSecret,
    KioskSecret,
    Logo,
    MiniProgramPage,
    MongoUrl,
    Name,
    NoticeFields,
    Number,
    OptionalOrigin,
    OptionalUrl,
    Origin,
    OwnSecret,
    RedirectUri,
    RedisUrl,
    RegisterFields,
    Simulator,
    VerifyFiles,
    WeChatAppId,
    Whole,
    distinct,
)

SceneLife = Annotated[Whole, Field(ge=1, le=1800)]
"""Seconds; half an hour at most, so that every wait ends."""

HS256_SECRET_BYTES = 32
"""RFC 7518, section 3.2: a key of the hash's size or larger."""


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        validate_default=False,
    )


class ServerSettings(_Section):
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[Whole, Field(ge=0, le=65535)] = 8888
    """0: the system picks one."""
    public_url: OptionalOrigin = ""
    processes: Annotated[Whole, Field(ge=1, le=256)] = 1
    allowed_origins: tuple[Origin, ...] = ()
    trusted_proxies: tuple[AddressRange, ...] = ()
    drain_seconds: Annotated[Number, Field(ge=0, le=600)] = 10


class EmbeddedSettings(_Section):
    path: Path = Path("data/scanpush.db")
    synchronous: Literal["NORMAL", "FULL"] = "NORMAL"


class RedisSettings(_Section):
    url: RedisUrl = SecretStr("redis://127.0.0.1:6379/0")
    """A secret, because it may hold a password."""


class MongoSettings(_Section):
    url: MongoUrl = SecretStr("mongodb://127.0.0.1:27017")
    """A secret, because it may hold a password."""
    database: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,63}$")] = "scanpush"


class AccountSettings(_Section):
    """One official account. Left entirely empty it is a placeholder."""

    name: Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    """As people find it in WeChat."""
    qr: AccountCode = ""
    """What the account's own QR code holds."""
    app_id: WeChatAppId = ""
    app_secret: AppSecret = SecretStr("")
    callback_token: CallbackToken = SecretStr("")
    encoding_aes_key: EncodingAesKey = SecretStr("")
    previous_encoding_aes_key: EncodingAesKey = SecretStr("")
    mode: Literal["safe", "compatible", "plaintext"] = "safe"
    language: Literal["zh-CN", "zh-TW", "en", "ja"] = "zh-CN"
    notice_template_id: str = ""
    notice_fields: NoticeFields = {}
    forward_url: OptionalUrl = ""
    forward_logins: bool = False
    web_scope: Literal["snsapi_base", "snsapi_userinfo"] = "snsapi_base"


class AppSettings(_Section):
    """A mini program or a website app."""

    app_id: WeChatAppId = ""
    app_secret: AppSecret = SecretStr("")


class MiniProgramSettings(AppSettings):
    page: MiniProgramPage = ""
    """Empty: the program's first page."""
    env_version: Literal["release", "trial", "develop"] = "release"


class WeChatSettings(_Section):
    simulator: Simulator = "auto"
    """Ask `simulated`, which knows what auto means."""
    api_base: BaseUrl = "https://api.weixin.qq.com"
    mp_base: BaseUrl = "https://mp.weixin.qq.com"
    open_base: BaseUrl = "https://open.weixin.qq.com"
    timeout_seconds: Annotated[Number, Field(gt=0, le=5)] = 3
    """Two calls in a row stay within what others wait for them: web_login/oauth.py (10 s), and
    wechat/access_token.py (15 s)."""
    callback_deadline_seconds: Annotated[Number, Field(gt=0, lt=5)] = 4
    """Below the 5 s after which WeChat gives up."""
    timestamp_window_seconds: Annotated[Whole, Field(ge=1, le=86400)] = 600
    credential: Literal["stable", "classic"] = "stable"
    codes_ahead: CodesAhead = "auto"
    site_name: Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    verify_files: VerifyFiles = {}
    accounts: Annotated[Mapping[Name, AccountSettings], Field(min_length=1)] = {
        "default": AccountSettings()
    }
    """In the order of the file; the first serves requests that name none."""
    mini_program: MiniProgramSettings = MiniProgramSettings()
    website: AppSettings = AppSettings()

    @property
    def is_simulated(self) -> bool:
        """Whether this is not the real WeChat, but a simulator, built in or beside this server."""
        # Phones open `open_base` themselves, so with the real WeChat it can be no other address.
        return urlsplit(self.open_base).hostname != "open.weixin.qq.com"


class LoginSettings(_Section):
    scene_ttl_seconds: SceneLife = 180
    collect_ttl_seconds: SceneLife = 60
    poll_interval_seconds: Annotated[Whole, Field(ge=0, le=60)] = 3
    """0: no limit."""
    confirm: Literal["never", "always", "number"] = "never"
    confirm_ttl_seconds: SceneLife = 120
    registration: Literal["auto", "ask", "deny"] = "auto"
    register_fields: RegisterFields = ("name",)
    register_ttl_seconds: SceneLife = 600
    hook_url: OptionalUrl = ""
    hook_secret: OwnSecret = SecretStr("")
    code_length: Annotated[Whole, Field(ge=4, le=10)] = 6
    code_alphabet: Literal["digits", "letters"] = "digits"


class KioskSettings(_Section):
    label: Annotated[str, Field(max_length=64)] = ""
    secret: KioskSecret = SecretStr("")
    keypad: bool = False
    """Whether people can touch it, and so type the number of ``login.confirm: number``."""


class JwtSettings(_Section):
    algorithm: Literal["ES256", "EdDSA", "RS256", "HS256"] = "ES256"
    issuer: str = ""
    audience: Annotated[str, Field(min_length=1)] = "scanpush"
    ttl_seconds: Annotated[Whole, Field(ge=60, le=86400)] = 7200
    publish_ahead_seconds: Annotated[Whole, Field(ge=0, le=86400)] = 900
    """Three times the max-age of the JWKS; some verifiers keep it for 600 s whatever it says."""
    key_file: Path = Path("data/jwt-keys.json")
    secret: SecretStr = SecretStr("")
    """Only for HS256, and then at least 32 bytes (RFC 7518, section 3.2)."""


class SessionSettings(_Section):
    refresh_ttl_seconds: Annotated[Whole, Field(ge=0, le=366 * 86400)] = 0
    """How long a session lives at most; 0: logins bring a token and nothing else."""
    idle_seconds: Annotated[Whole, Field(ge=0, le=366 * 86400)] = 0
    """0: no such limit."""
    most_per_user: Annotated[Whole, Field(ge=0, le=1000)] = 20
    """0: any number."""
    chat_words: bool = True
    end_on_unsubscribe: bool = False


class ClientSettings(_Section):
    """A client of the OpenID Provider."""

    secret: OwnSecret = SecretStr("")
    redirect_uris: tuple[RedirectUri, ...] = ()
    """Compared character by character. Empty only for clients of the device flow alone."""
    name: Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    """What people read; empty: the client's id."""
    post_logout_redirect_uris: tuple[RedirectUri, ...] = ()
    backchannel_logout_uri: OptionalUrl = ""
    kinds: Annotated[
        tuple[Literal["official_account", "mini_program", "web", "website", "code"], ...],
        AfterValidator(distinct),
        Field(min_length=1),
    ] = ("official_account",)
    public: bool = False
    """Without a secret, and then with PKCE: apps and pages (RFC 6749, section 2.1)."""
    id_token_alg: Literal["RS256", "ES256", "EdDSA"] = "RS256"
    scopes: Annotated[
        tuple[Literal["openid", "profile", "offline_access"], ...], AfterValidator(distinct)
    ] = ("openid", "profile", "offline_access")
    audience: str = ""
    """Of its access tokens; empty: the client's id."""
    introspect: bool = False
    """May ask about any token, not only its own."""
    origins: tuple[Origin, ...] = ()
    """Whose pages may call token, userinfo and revoke; empty: those of redirect_uris."""


class OidcSettings(_Section):
    session_ttl_seconds: Annotated[Whole, Field(ge=60, le=366 * 86400)] = 28800
    clients: Mapping[Name, ClientSettings] = {}

    @property
    def id_token_algs(self) -> tuple[str, ...]:
        """What signs ID tokens, by name; RS256 is always there where there are clients, as every
        client knows it (OpenID Connect Discovery, section 3)."""
        used = {client.id_token_alg for client in self.clients.values()}
        return tuple(sorted(used | {"RS256"})) if used else ()


class PageLinks(_Section):
    """Empty: the pages have no such link."""

    terms: OptionalUrl = ""
    privacy: OptionalUrl = ""


class PageSettings(_Section):
    """Whose pages they are."""

    name: Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    """What people log in to; ask `Settings.site_name`."""
    logo: Logo = ""
    """An https:// address, or a file."""
    colour: Colour = ""
    """``#rrggbb``; empty: scanpush's own."""
    links: PageLinks = PageLinks()


class PushSettings(_Section):
    ping_seconds: Annotated[Number, Field(gt=0, le=3600)] = 30
    reserve_descriptors: Annotated[Whole, Field(ge=0)] = 512


class LimitSettings(_Section):
    """0 means none."""

    scenes_per_minute_per_address: Annotated[Whole, Field(ge=0)] = 30
    sockets_per_address: Annotated[Whole, Field(ge=0)] = 0
    messages_per_second_per_socket: Annotated[Whole, Field(ge=0)] = 5
    daily_code_reserve: Annotated[Whole, Field(ge=0, le=100_000)] = 5000
    exempt: tuple[AddressRange, ...] = ()


class OperatorSettings(_Section):
    token: OwnSecret = SecretStr("")


class EventSettings(_Section):
    url: OptionalUrl = ""
    secret: EventsSecret = SecretStr("")


class AuditSettings(_Section):
    days: Annotated[Whole, Field(ge=0, le=3660)] = 90
    """0: no audit."""


class TracingSettings(_Section):
    otlp_url: OptionalUrl = ""
    sample_ratio: Annotated[Number, Field(gt=0, le=1)] = 1
    """The share of logins that are traced, each on all nodes or on none."""


class LoggingSettings(_Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["console", "json"] = "console"


class Settings(_Section):
    """All of config.yaml."""

    server: ServerSettings = ServerSettings()
    backend: Literal["embedded", "distributed"] = "embedded"
    embedded: EmbeddedSettings = EmbeddedSettings()
    redis: RedisSettings = RedisSettings()
    mongodb: MongoSettings = MongoSettings()
    wechat: WeChatSettings = WeChatSettings()
    login: LoginSettings = LoginSettings()
    kiosks: Mapping[Name, KioskSettings] = {}
    kiosk_ttl_seconds: SceneLife = 1800
    kiosk_pair_ttl_seconds: Annotated[Whole, Field(ge=60, le=3600)] = 600
    # Not less: a page that is up is noted once a minute, and other nodes read it some rounds later.
    kiosk_down_seconds: Annotated[Whole, Field(ge=120, le=3600)] = 120
    jwt: JwtSettings = JwtSettings()
    sessions: SessionSettings = SessionSettings()
    oidc: OidcSettings = OidcSettings()
    pages: PageSettings = PageSettings()
    push: PushSettings = PushSettings()
    limits: LimitSettings = LimitSettings()
    operator: OperatorSettings = OperatorSettings()
    events: EventSettings = EventSettings()
    audit: AuditSettings = AuditSettings()
    tracing: TracingSettings = TracingSettings()
    logging: LoggingSettings = LoggingSettings()

    @property
    def token_issuer(self) -> str:
        """The ``iss`` of tokens: the same on every node, and never from a Host header."""
        return self.jwt.issuer or self.server.public_url or "scanpush"

    @property
    def site_name(self) -> str:
        """What the operator calls the site; empty where it has no name but its host."""
        return self.pages.name or self.wechat.site_name

    @property
    def keeps_audit(self) -> bool:
        """Whether the operator can search what happened."""
        return bool(self.operator.token and self.audit.days)

    @property
    def keeps_sessions(self) -> bool:
        """Whether anything needs the store of sessions."""
        return bool(self.sessions.refresh_ttl_seconds or self.oidc.clients)


def simulated(settings: Settings) -> bool:
    """Whether WeChat is the bundled simulator.

    ``auto`` means: while no account and no app has an app_id, and only where it cannot be reached
    from outside (see `is_local`).
    """
    choice = settings.wechat.simulator
    if choice != "auto":
        return choice
    return not has_app_id(settings) and is_local(settings)


def has_app_id(settings: Settings) -> bool:
    """Whether anything of the real WeChat is configured."""
    wechat = settings.wechat
    apps = (wechat.mini_program, wechat.website)
    accounts = wechat.accounts.values()
    return any(app.app_id for app in apps) or any(account.app_id for account in accounts)


def is_local(settings: Settings) -> bool:
    """Whether the server is for this machine or a private network only.

    Raises:
        SettingsError: server.host has no address.
    """
    url = settings.server.public_url
    if url and not hosts.is_private_host(urlsplit(url).hostname or ""):
        return False
    addresses = listened_on(settings)
    if any(address.is_unspecified for address in addresses):
        return bool(url)  # listening on every address says nothing, so public_url must say it
    return all(map(hosts.is_private, addresses))


def listened_on(settings: Settings) -> tuple[hosts.Address, ...]:
    """What server.host means; raises `SettingsError` where that is nothing."""
    try:
        return hosts.addresses_of(settings.server.host)
    except ValueError as error:
        raise SettingsError("server.host", str(error)) from None


def check(settings: Settings, *, simulated: bool) -> None:
    """Raise `SettingsError` for the first rule between settings that does not hold."""
    listened_on(settings)
    _check_processes(settings, simulated)
    if settings.backend == "distributed":
        _check_mongodb(settings.mongodb)
    for name, account in settings.wechat.accounts.items():
        _check_account(f"wechat.accounts.{name}", account)
    _check_app("wechat.mini_program", settings.wechat.mini_program)
    _check_app("wechat.website", settings.wechat.website)
    _check_simulator(settings, simulated)
    for name, kiosk in settings.kiosks.items():
        _require(kiosk.secret, f"kiosks.{name}.secret", "is empty: anybody could be this kiosk")
    if settings.login.hook_url:
        _require(
            settings.login.hook_secret,
            "login.hook_secret",
            "is empty, but login.hook_url is set: the hook could not tell us from others",
        )
    if settings.events.url:
        _require(
            settings.events.secret,
            "events.secret",
            "is empty, but events.url is set: the receiver could not tell us from others",
        )
    try:
        branding.logo_source(settings.pages.logo)
    except ValueError as error:
        raise SettingsError("pages.logo", str(error)) from None
    _check_jwt(settings)
    if settings.oidc.clients:
        _check_oidc(settings)
        if not simulated:
            _check_client_kinds(settings)


def _check_processes(settings: Settings, simulated: bool) -> None:
    if settings.server.processes == 1:
        return
    if settings.backend == "embedded":
        raise SettingsError(
            "server.processes",
            "must be 1 with backend: embedded, as SQLite serves one process; "
            "for more set backend: distributed, with Redis and MongoDB",
        )
    if simulated:
        raise SettingsError(
            "server.processes",
            "must be 1 with the built-in simulator; for more run python -m simulator beside it",
        )


def _check_mongodb(mongodb: MongoSettings) -> None:
    try:
        mongodb_url.check_use(mongodb.url.get_secret_value(), mongodb.database)
    except ValueError as error:
        raise SettingsError("mongodb.url", str(error)) from None


def _check_account(key: str, account: AccountSettings) -> None:
    secrets = {
        "app_secret": account.app_secret,
        "callback_token": account.callback_token,
        "encoding_aes_key": account.encoding_aes_key,
    }
    if not account.app_id:
        given = [name for name, secret in secrets.items() if secret]
        if given:
            raise SettingsError(f"{key}.app_id", f"is empty, but {given[0]} is set")
    else:
        if account.mode == "plaintext":
            del secrets["encoding_aes_key"]
        for name, secret in secrets.items():
            _require(secret, f"{key}.{name}", "is empty, but app_id is set")
    if account.forward_logins:
        _require(account.forward_url, f"{key}.forward_url", "is empty, but forward_logins is true")


def _check_app(key: str, app: AppSettings) -> None:
    if app.app_id:
        _require(app.app_secret, f"{key}.app_secret", "is empty, but app_id is set")
    elif app.app_secret:
        raise SettingsError(f"{key}.app_id", "is empty, but app_secret is set")


def _check_simulator(settings: Settings, simulated: bool) -> None:
    if simulated:
        _require(
            is_local(settings),
            "wechat.simulator",
            "lets anybody log in as anybody, so it needs a loopback or private server.host "
            "and server.public_url",
        )
    elif not has_app_id(settings):
        first = next(iter(settings.wechat.accounts))
        reason = (
            "wechat.simulator is false"
            if settings.wechat.simulator is False
            else "the simulator runs only on a loopback or private server.host and public_url"
        )
        raise SettingsError(f"wechat.accounts.{first}.app_id", f"is empty, and {reason}")


def _check_jwt(settings: Settings) -> None:
    # First, for no secret would help.
    if settings.jwt.algorithm == "HS256" and settings.oidc.clients:
        raise SettingsError(
            "jwt.algorithm",
            "must be ES256, EdDSA or RS256 with oidc.clients: with HS256 clients could not verify "
            "a token without being able to sign it",
        )
    secret = settings.jwt.secret.get_secret_value().encode()
    if settings.jwt.algorithm == "HS256" and len(secret) < HS256_SECRET_BYTES:
        raise SettingsError(
            "jwt.secret",
            f"must be at least {HS256_SECRET_BYTES} bytes for HS256, not {len(secret)}",
        )


def _check_oidc(settings: Settings) -> None:
    _require(
        settings.server.public_url,
        "server.public_url",
        "is empty, but oidc.clients is set: the address is the issuer of their tokens",
    )
    for name, client in settings.oidc.clients.items():
        key = f"oidc.clients.{name}"
        if client.public:
            problem = "must be empty with public: true: what runs at people's cannot keep a secret"
            _require(not client.secret, f"{key}.secret", problem)
            problem = "needs a secret, and public is true"
            _require(not client.introspect, f"{key}.introspect", problem)
        else:
            problem = "is empty; without a secret, a client needs public: true"
            _require(client.secret, f"{key}.secret", problem)
        _require("openid" in client.scopes, f"{key}.scopes", "must name openid")
        # RFC 8725, section 3.12: an API that takes this server's own tokens must refuse others.
        if settings.jwt.audience in (name, client.audience):
            raise SettingsError(
                f"{key}.audience" if client.audience else key,
                "must differ from jwt.audience, which names this server's own tokens",
            )


def _check_client_kinds(settings: Settings) -> None:
    """Each of a client's login kinds must be offered."""
    wechat = settings.wechat
    needs = {
        "website": ("wechat.website.app_id", wechat.website.app_id),
        "mini_program": ("wechat.mini_program.app_id", wechat.mini_program.app_id),
    }
    accounts = any(account.app_id for account in wechat.accounts.values())
    of_account = (f"wechat.accounts.{next(iter(wechat.accounts))}.app_id", accounts)
    for name, client in settings.oidc.clients.items():
        for kind in client.kinds:
            setting, is_set = needs.get(kind, of_account)
            _require(is_set, f"oidc.clients.{name}.kinds", f"names {kind}, but {setting} is empty")


def _require(present: object, key: str, problem: str) -> None:
    if not present:
        raise SettingsError(key, problem)


def warnings(settings: Settings) -> Iterator[str]:
    """What is allowed, but worth a line in the log at the start."""
    for name, account in settings.wechat.accounts.items():
        if account.app_id and account.mode == "plaintext":
            yield (
                f"wechat.accounts.{name}.mode: in plaintext mode WeChat signs no bodies; "
                "use safe unless this is a test account"
            )
    url = settings.server.public_url
    if url.startswith("http://") and not hosts.is_private_host(urlsplit(url).hostname or ""):
        yield "server.public_url: is not https, so tokens travel in the clear"
    if settings.kiosks and not settings.operator.token:
        yield "operator.token: is empty, so no server can exchange the codes of kiosks for logins"
    if settings.login.hook_url and settings.login.registration != "ask" and not settings.kiosks:
        yield (
            "login.hook_url: is never called, for it is asked about the forms of "
            "login.registration: ask, and told of the logins of kiosks"
        )
    events = urlsplit(settings.events.url)
    if events.scheme == "http" and not hosts.is_private_host(events.hostname or ""):
        yield "events.url: is not https, so what happens to people travels in the clear"
    for name, client in settings.oidc.clients.items():
        for uri in (*client.redirect_uris, client.backchannel_logout_uri):
            host = urlsplit(uri).hostname or ""
            here = [address.is_loopback for address in hosts.literal_addresses(host)]
            if uri.startswith("http://") and host != "localhost" and not any(here):
                yield f"oidc.clients.{name}: {uri} is not https, so codes travel in the clear"
        if any("*" in uri for uri in client.redirect_uris):
            yield (
                f"oidc.clients.{name}.redirect_uris: * is taken literally; redirect URIs are "
                "compared character by character, so list each of them"
            )
        if not client.redirect_uris and "web" not in client.kinds:
            yield (
                f"oidc.clients.{name}.kinds: has no web, so people who open a device's code inside "
                "WeChat cannot log in there"
            )
    if settings.kiosks and settings.login.registration == "ask":
        yield "login.registration: ask has no form at a kiosk, so strangers cannot log in there"
    ttl_seconds = settings.jwt.ttl_seconds
    for name in ("refresh_ttl_seconds", "idle_seconds"):
        if 0 < getattr(settings.sessions, name) <= ttl_seconds:
            yield (
                f"sessions.{name}: is not more than jwt.ttl_seconds ({ttl_seconds}), so a session "
                "is over before its token; 300 is a good life for tokens"
            )
    if settings.sessions.idle_seconds and not settings.sessions.refresh_ttl_seconds:
        yield "sessions.idle_seconds: has no effect while sessions.refresh_ttl_seconds is 0"


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """The settings of the file at `path`, overridden by `environ`.

    ``SCANPUSH_SECTION__KEY`` sets ``section.key``; ``SCANPUSH_SECTION__KEY_FILE`` names a file
    that holds a secret. Paths inside are taken relative to the settings file.

    Raises:
        SettingsError: for the first mistake found; its text is one line and holds no secret.
    """
    values = sources.read_file(path)
    origins = sources.overlay(Settings, values, environ)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise sources.in_one_line(Settings, error, origins) from None
    settings = _placed(_without_placeholders(settings), path.absolute().parent)
    check(settings, simulated=simulated(settings))
    return settings


def _without_placeholders(settings: Settings) -> Settings:
    """Leave out the untouched accounts as soon as another one has an app_id."""
    # So the environment alone can add an account of another name to the config.yaml as shipped.
    accounts = settings.wechat.accounts
    if not any(account.app_id for account in accounts.values()):
        return settings
    kept = {name: account for name, account in accounts.items() if account != AccountSettings()}
    return settings.model_copy(
        update={"wechat": settings.wechat.model_copy(update={"accounts": kept})}
    )


def _placed(settings: Settings, folder: Path) -> Settings:
    """Make relative paths absolute: they are relative to the settings file."""
    embedded, jwt, pages = settings.embedded, settings.jwt, settings.pages
    logo = pages.logo
    if logo and not logo.startswith("https://"):
        logo = str(folder / logo)
    return settings.model_copy(
        update={
            "embedded": embedded.model_copy(update={"path": folder / embedded.path}),
            "jwt": jwt.model_copy(update={"key_file": folder / jwt.key_file}),
            "pages": pages.model_copy(update={"logo": logo}),
        }
    )
