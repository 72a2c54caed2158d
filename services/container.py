"""What every other part stands on: settings, clock, stores, tokens, limits and measurements.

The configured Official Accounts: gate, credentials, client and notices of each.

Which doors the settings open, and what each is made of.

The use cases of a login: who may log in, what the chat says, and how a scene ends.

What nodes tell one another, and what the operator's page is told.

The sockets, and who may open one.

What begins scenes, answers for them, and ends those that were left.

The one place where things are built and put together, and taken apart again.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from services.backends import Backend, OpenBackend, open_backend
from services.clock import Clock, SystemClock
from services.errors import SettingsError, StoreUnavailable
from services.hooks import Hook
from services.http_client import make_client
from services.metrics import Metrics
from services.operator import Nodes, OperatorService
from services.origins import Origins, client_address, request_scheme, url_host
from services.push.admission import AddressLimit
from services.push.polling import PollingService
from services.push.service import PushService
from services.rate_limits import RateLimits
from services.scenes.begin import (
    BeginService,
    Kiosks,
    MiniProgramCode,
    OfficialAccountCode,
    SceneCode,
    SceneCodes,
    TypedCode,
    WebCode,
    WebsiteCode,
)
from services.scenes.callbacks import CallbackService
from services.scenes.chat import ChatService, OpenScenes
from services.scenes.history import History, RecordedScenes, RecordedWholeLogin
from services.scenes.login import LoginService
from services.scenes.pictures import MiniProgramPictures, Pictures
from services.scenes.policy import AdmissionService
from services.scenes.registration import RegistrationService
from services.scenes.states import Kind
from services.scenes.sweeper import Sweeper
from services.scenes.typed_codes import TypedCodes
from services.settings.models import AccountSettings, AppSettings, Settings, simulated
from services.tasks import Supervisor
from services.tokens.issuer import Issuer
from services.tokens.keys import open_keys
from services.tokens.verifier import SharedKeys, Verifier
from services.web_login.mini_program import DirectLogin, MiniProgramDoor
from services.web_login.oauth import OAuthApp, OAuthApps, OAuthDoors
from services.wechat.access_token import make_authorized_client
from services.wechat.accounts import Account, Accounts, AccountWatch
from services.wechat.callback import CallbackGate
from services.wechat.client import WeChatClient
from services.wechat.forwarder import Forwarder
from services.wechat.mini_program import MiniProgramClient
from services.wechat.notices import Notices
from services.wechat.oauth import OAuthClient
from services.wechat.official_account import OfficialAccountClient
from services.wechat.unionids import UnionIds
from services.workers import Place, Siblings
from simulator.builtin import Simulation


@dataclass(frozen=True, slots=True)
class Ground:
    """Made first. `settings` are those in force: while WeChat is simulated, they name it."""

    settings: Settings
    node: str
    clock: Clock
    backend: Backend
    supervisor: Supervisor
    metrics: Metrics
    origins: Origins
    limits: RateLimits
    http: httpx.AsyncClient
    issuer: Issuer
    timeline: History | None
    simulation: Simulation | None
    own_url: str

    @property
    def amr(self) -> tuple[str, ...]:
        """How people are known here, for the tokens' claim of that name."""
        return ("simulated",) if self.settings.wechat.is_simulated else ("wechat",)

    @property
    def site_name(self) -> str:
        """What people are told they log in to."""
        return self.settings.wechat.site_name or urlsplit(self.own_url).netloc

    @property
    def kiosk_labels(self) -> dict[str, str]:
        """What the operator client its screens."""
        return {name: kiosk.label for name, kiosk in self.settings.kiosks.items()}


async def open_ground(
    settings: Settings, host: str, port: int, clock: Clock | None, make_backend: OpenBackend
) -> Ground:
    """Open the stores and the keys, and whatever needs nothing else.

    Raises:
        SettingsError: a file, key or store that the settings name cannot be used.
        StoreUnavailable: a store does not answer.
    """
    clock = clock or SystemClock()
    node = secrets.token_hex(8)
    backend = await make_backend(settings, clock, node)
    try:
        keys = open_keys(settings.jwt)
    except SettingsError:
        await backend.close()
        raise
    clock = backend.clock or clock
    timeline = record(backend, clock) if settings.operator.token else None
    metrics = Metrics(clock.now)
    simulation = None
    if simulated(settings):
        simulation = Simulation(settings, f"http://{_reachable(host)}:{port}")
        settings = simulation.settings
    return Ground(
        settings=settings,
        node=node,
        clock=clock,
        backend=backend,
        supervisor=Supervisor(),
        metrics=metrics,
        origins=Origins(settings.server.public_url, list(settings.server.allowed_origins)),
        limits=RateLimits(settings.limits, backend.windows, metrics.rate_limited),
        http=make_client(settings.wechat.api_base, _addresses_of_the_operator(settings)),
        issuer=Issuer(keys, issuer=settings.token_issuer, audience=settings.jwt.audience),
        timeline=timeline,
        simulation=simulation,
        own_url=settings.server.public_url or f"http://{url_host(host)}:{port}",
    )


def _addresses_of_the_operator(settings: Settings) -> list[str]:
    forwards = (account.forward_url for account in settings.wechat.accounts.values())
    return [url for url in (settings.login.hook_url, *forwards) if url]


def record(backend: Backend, clock: Clock) -> History:
    """Have what happens to scenes written down from now on."""
    timeline = History(clock)
    backend.scenes = RecordedScenes(backend.scenes, timeline)
    if backend.whole_login is not None:
        backend.whole_login = RecordedWholeLogin(backend.whole_login, timeline)
    return timeline


def _reachable(host: str) -> str:
    """Where a listener on all addresses is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, url_host(host))


def build_accounts(ground: Ground) -> Accounts:
    """Every configured Official Account, in the order of the settings."""
    accounts = ground.settings.wechat.accounts
    return Accounts([build_account(ground, name, account) for name, account in accounts.items()])


def build_account(ground: Ground, name: str, account: AccountSettings) -> Account:
    """One account with what belongs to it alone."""
    watch = AccountWatch(ground.metrics, ground.clock, name)
    api = build_api(ground, account, watch)
    notices = None
    if account.notice_template_id:
        notices = Notices(
            api,
            ground.supervisor,
            template_id=account.notice_template_id,
            fields=account.notice_fields,
            site=ground.site_name,
        )
    forwarder = None
    if account.forward_url:
        forwarder = Forwarder(ground.http, ground.supervisor, account.forward_url)
    return Account(name, account, build_gate(ground, account), api, notices, watch, forwarder)


def build_api(
    ground: Ground, account: AccountSettings, watch: AccountWatch
) -> OfficialAccountClient:
    """WeChat's API with the account's own credentials."""
    wechat = ground.settings.wechat
    client = WeChatClient(
        ground.http,
        wechat.api_base,
        ground.clock,
        timeout_seconds=wechat.timeout_seconds,
        observer=watch,
    )
    authorized_client = make_authorized_client(
        client,
        ground.backend.access_tokens,
        ground.clock,
        ground.supervisor,
        app_id=account.app_id,
        app_secret=account.app_secret.get_secret_value(),
        credential=wechat.credential,
        on_renewed=watch.credential_ends,
    )
    return OfficialAccountClient(authorized_client)


def build_gate(ground: Ground, account: AccountSettings) -> CallbackGate:
    """What verifies the account's callbacks."""
    return CallbackGate(
        app_id=account.app_id,
        callback_token=account.callback_token.get_secret_value(),
        encoding_aes_key=account.encoding_aes_key.get_secret_value(),
        previous_encoding_aes_key=account.previous_encoding_aes_key.get_secret_value(),
        mode=account.mode,
        timestamp_window_seconds=ground.settings.wechat.timestamp_window_seconds,
    )


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
class Logins:
    """What all doors share on the way from a scan to a login."""

    login: LoginService
    hook: Hook | None
    admission: AdmissionService
    typed_codes: TypedCodes
    chat: ChatService


@dataclass(frozen=True, slots=True)
class Doors:
    """The doors besides the chat; None where none is configured."""

    oauth: OAuthDoors
    mini_program: MiniProgramDoor | None = None
    pictures: MiniProgramPictures | None = None


def build_doors(ground: Ground, logins: Logins, accounts: Accounts) -> Doors:
    """Every door the settings open."""
    client = WeChatClient(
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
        build_oauth_apps(ground, client),
        ground.kiosk_labels,
    )
    if not ground.settings.wechat.mini_program.app_id:
        return Doors(oauth)
    api = build_mini_program(ground, client)
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


def build_mini_program(ground: Ground, client: WeChatClient) -> MiniProgramClient:
    """WeChat's API with the mini program's credentials."""
    app = ground.settings.wechat.mini_program
    secret = app.app_secret.get_secret_value()
    authorized_client = make_authorized_client(
        client,
        ground.backend.access_tokens,
        ground.clock,
        ground.supervisor,
        app_id=app.app_id,
        app_secret=secret,
        credential=ground.settings.wechat.credential,
    )
    return MiniProgramClient(
        client,
        authorized_client,
        app_id=app.app_id,
        app_secret=secret,
        page=app.page,
        env_version=app.env_version,
    )


def build_oauth_apps(ground: Ground, client: WeChatClient) -> OAuthApps:
    """The app_ids that people authorise on WeChat's pages, by kind and account."""
    wechat, apps = ground.settings.wechat, {}

    def api(app: AccountSettings | AppSettings) -> OAuthClient:
        secret = app.app_secret.get_secret_value()
        return OAuthClient(
            client, ground.clock, ground.supervisor, app_id=app.app_id, app_secret=secret
        )

    website = api(wechat.website) if wechat.website.app_id else None
    for name, account in wechat.accounts.items():
        if account.app_id:
            apps[Kind.WEB, name] = OAuthApp(api(account), wechat.open_base, account.web_scope)
        if website is not None:
            apps[Kind.WEBSITE, name] = OAuthApp(website, wechat.open_base, None)
    return apps


def build_logins(ground: Ground) -> Logins:
    """The login itself, admission to it, and the chat."""
    settings, scenes, users = ground.settings, ground.backend.scenes, ground.backend.users
    login = build_login(ground)
    hook = build_hook(ground)
    unionids = UnionIds(users, ground.clock, ground.supervisor)
    admission = AdmissionService(scenes, users, unionids, login, settings.login, ground.clock, hook)
    typed_codes = TypedCodes(scenes, settings.login.code_length, settings.login.code_alphabet)
    chat = ChatService(
        scenes,
        users,
        login,
        admission,
        typed_codes,
        OpenScenes(scenes, login, admission),
        site_name=ground.site_name,
        kiosk_labels=ground.kiosk_labels,
    )
    return Logins(login, hook, admission, typed_codes, chat)


def build_login(ground: Ground) -> LoginService:
    """Moves scenes, and signs what is delivered."""
    settings = ground.settings
    return LoginService(
        ground.backend.scenes,
        ground.backend.users,
        ground.issuer,
        ground.backend.whole_login,
        ground.clock,
        ground.metrics,
        node=ground.node,
        amr=ground.amr,
        collect_ttl_seconds=settings.login.collect_ttl_seconds,
        token_ttl_seconds=settings.jwt.ttl_seconds,
        kiosks=bool(settings.kiosks),
        timeline=ground.timeline,
    )


def build_hook(ground: Ground) -> Hook | None:
    """The operator's hook, where one is configured."""
    login = ground.settings.login
    secret = login.hook_secret.get_secret_value()
    if not login.hook_url:
        return None
    return Hook(ground.http, ground.supervisor, ground.clock, login.hook_url, secret)


def build_nodes(ground: Ground, push: PushService) -> Nodes:
    """This node's figures for the others, and theirs for this one."""
    settings = ground.settings
    return Nodes(
        ground.node,
        ground.backend.scenes,
        ground.clock,
        lambda: {
            "sockets": push.hub.sockets,
            "waiting_polls": push.hub.waiting,
            "draining": push.draining,
        },
        shared=settings.backend == "distributed" and bool(settings.operator.token),
    )


def build_operator(ground: Ground, accounts: Accounts, nodes: Nodes) -> OperatorService | None:
    """The operator's page, where there is an operator's token."""
    if ground.timeline is None:
        return None
    return OperatorService(
        ground.backend.scenes,
        accounts,
        ground.metrics,
        ground.timeline,
        nodes,
        ground.clock,
        {"backend": ground.settings.backend, "simulated": ground.settings.wechat.is_simulated},
    )


def build_shared_keys(ground: Ground) -> SharedKeys | None:
    """The other nodes' public keys, where there are other nodes."""
    settings = ground.settings
    if settings.backend != "distributed":
        return None
    return SharedKeys(
        ground.issuer,
        ground.backend.scenes,
        ground.clock,
        keep_seconds=settings.jwt.ttl_seconds,
    )


def build_push(ground: Ground, login: LoginService) -> PushService:
    """The push side, with the operator's limits."""
    settings = ground.settings
    return PushService(
        login,
        ground.backend.broker,
        ground.supervisor,
        ground.clock,
        lambda origin, headers, scheme: not ground.origins.is_foreign(
            origin, scheme, headers.get("Host", "")
        ),
        client=client_of(ground),
        counters=ground.metrics,
        address_group=ground.limits.group,
        ping_seconds=settings.push.ping_seconds,
        reserve_descriptors=settings.push.reserve_descriptors,
        messages_per_second=settings.limits.messages_per_second_per_socket,
        sockets_per_address=settings.limits.sockets_per_address,
    )


def client_of(ground: Ground) -> Callable[[str, Mapping[str, str]], tuple[str, str]]:
    """Whose request it is, by the peer's address and the headers of trusted proxies."""
    proxies = ground.settings.server.trusted_proxies

    def client(remote_ip: str, headers: Mapping[str, str]) -> tuple[str, str]:
        return (
            client_address(remote_ip, headers.get("X-Forwarded-For", ""), proxies),
            request_scheme(remote_ip, headers.get("X-Forwarded-Proto", ""), proxies),
        )

    return client


POLLS_PER_SCENE = 5
"""Long polls at once from an address, for each scene it may begin in a minute: a scene lives three
minutes, and its page listens a little longer than it shows the code."""


def build_begin(ground: Ground, accounts: Accounts, codes: SceneCodes) -> BeginService:
    """Makes scenes, within the limits."""
    settings = ground.settings
    return BeginService(
        accounts,
        ground.backend.scenes,
        ground.limits,
        ground.clock,
        ground.metrics,
        codes,
        Kiosks(settings.kiosks, settings.kiosk_ttl_seconds),
        scene_ttl_seconds=settings.login.scene_ttl_seconds,
        poll_interval_seconds=settings.login.poll_interval_seconds,
    )


def build_callbacks(ground: Ground, chat: ChatService) -> CallbackService:
    """Answers WeChat in time."""
    return CallbackService(
        ground.backend.scenes,
        chat,
        ground.clock,
        ground.metrics,
        deadline_seconds=ground.settings.wechat.callback_deadline_seconds,
    )


def build_polling(ground: Ground, login: LoginService, push: PushService) -> PollingService:
    """Answers pages without a socket."""
    settings = ground.settings
    waits = POLLS_PER_SCENE * settings.limits.scenes_per_minute_per_address
    return PollingService(
        login,
        push.hub,
        ground.clock,
        AddressLimit(waits, ground.limits.group),
        ground.metrics,
        poll_interval_seconds=settings.login.poll_interval_seconds,
    )


def build_registration(
    ground: Ground, logins: Logins, accounts: Accounts, verifier: Verifier
) -> RegistrationService:
    """Takes in the form of people nobody knows yet."""
    return RegistrationService(
        logins.login,
        logins.admission,
        accounts,
        verifier,
        ground.clock,
        wanted=ground.settings.login.register_fields,
        hook=logins.hook,
    )


def build_sweeper(ground: Ground, accounts: Accounts, chat: ChatService) -> Sweeper:
    """Ends what nobody ended; looks later than any callback still works."""
    deadline = ground.settings.wechat.callback_deadline_seconds
    return Sweeper(ground.backend.scenes, accounts, chat, left_after_seconds=deadline + 1)


STORES_SECONDS = 2
"""How long /readyz waits for the stores."""


@dataclass
class Container:
    """Everything that was built, by role. Handlers and the server read it; nobody else does."""

    settings: Settings
    node: str
    clock: Clock
    supervisor: Supervisor
    metrics: Metrics
    origins: Origins
    accounts: Accounts
    http: httpx.AsyncClient
    backend: Backend
    issuer: Issuer
    shared_keys: SharedKeys | None
    verifier: Verifier
    login: LoginService
    begin: BeginService
    scene_codes: SceneCodes
    doors: Doors
    admission: AdmissionService
    registration: RegistrationService
    operator: OperatorService | None
    nodes: Nodes
    callbacks: CallbackService
    polling: PollingService
    pictures: Pictures
    sweeper: Sweeper
    push: PushService
    simulation: Simulation | None
    siblings: Siblings | None
    own_url: str

    async def start(self) -> None:
        """Begin to push and to sweep."""
        self.metrics.count_long_polls(lambda: self.push.hub.waiting)
        if self.backend.clock is not None:
            self.supervisor.spawn(self.backend.clock.learn_forever(), name="store's clock")
        if self.shared_keys is not None:
            await self.shared_keys.introduce()
            self.supervisor.spawn(self.shared_keys.exchange_forever(), name="shared keys")
        await self.push.start()
        self.supervisor.spawn(self.sweeper.expire_forever(), name="expire scenes")
        self.supervisor.spawn(self.sweeper.finish_forever(), name="finish left logins")
        self.supervisor.spawn(self.nodes.tell_forever(), name="tell the other nodes")

    async def close(self) -> None:
        """End everything, in the order that loses nothing. Safe after a failed start."""
        await self.push.close()
        await self.supervisor.close()
        self.pictures.close()
        await self.http.aclose()
        if self.siblings is not None:
            await self.siblings.close()
        if self.simulation is not None:
            await self.simulation.stop()
        await self.backend.close()

    async def check_stores(self) -> None:
        """Raise `StoreUnavailable` unless the stores and the broker answer now."""
        try:
            async with asyncio.timeout(STORES_SECONDS):
                await self.backend.scenes.ping()
                await self.backend.users.ping()
                await self.backend.broker.ping()
        except TimeoutError:
            raise StoreUnavailable("a store does not answer") from None


async def build_container(
    settings: Settings,
    *,
    host: str,
    port: int,
    clock: Clock | None = None,
    make_backend: OpenBackend = open_backend,
    place: Place | None = None,
) -> Container:
    """Build everything for a server that listens at `host` and `port`.

    Call it on the running event loop. What it opened, `Container.close` closes.

    Args:
        place: this process's, where several serve one port.
        make_backend: a test puts stores that fail on command in the real ones' place.

    Raises:
        SettingsError: a file, key or store that the settings name cannot be used.
        StoreUnavailable: a store does not answer.
    """
    ground = await open_ground(settings, host, port, clock, make_backend)
    settings = ground.settings
    logins = build_logins(ground)
    push = build_push(ground, logins.login)
    accounts = build_accounts(ground)
    codes = build_codes(ground, logins.typed_codes)
    nodes = build_nodes(ground, push)
    shared_keys = build_shared_keys(ground)
    verifier = Verifier(ground.issuer, shared_keys)
    return Container(
        settings=settings,
        node=ground.node,
        clock=ground.clock,
        supervisor=ground.supervisor,
        metrics=ground.metrics,
        origins=ground.origins,
        accounts=accounts,
        http=ground.http,
        backend=ground.backend,
        issuer=ground.issuer,
        shared_keys=shared_keys,
        verifier=verifier,
        login=logins.login,
        begin=build_begin(ground, accounts, codes),
        scene_codes=codes,
        doors=build_doors(ground, logins, accounts),
        admission=logins.admission,
        registration=build_registration(ground, logins, accounts, verifier),
        operator=build_operator(ground, accounts, nodes),
        nodes=nodes,
        callbacks=build_callbacks(ground, logins.chat),
        polling=build_polling(ground, logins.login, push),
        pictures=Pictures(),
        sweeper=build_sweeper(ground, accounts, logins.chat),
        push=push,
        simulation=ground.simulation,
        siblings=None if place is None else Siblings(place),
        own_url=ground.own_url,
    )
