"""The one place where things are built and put together, and taken apart again."""

import asyncio
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from services.backends import Backend, OpenBackend, open_backend
from services.clock import Clock, SystemClock
from services.doors.build import Doors, build_codes, build_doors
from services.doors.direct import DirectLogin
from services.errors import SettingsError, StoreUnavailable
from services.hooks import Hook
from services.metrics import Metrics
from services.nodes import Nodes
from services.operator import OperatorService
from services.origins import Origins, request_scheme
from services.people.registration import RegistrationService
from services.people.unionids import UnionIds
from services.processes import Place
from services.push.broker import Broker
from services.push.service import PushService
from services.rate_limits import RateLimits, client_address
from services.scenes.admission import AdmissionService
from services.scenes.begin import BeginService
from services.scenes.callbacks import CallbackService
from services.scenes.chat import ChatService
from services.scenes.codes import SceneCodes
from services.scenes.kiosks import Kiosks
from services.scenes.login import LoginService
from services.scenes.open_scenes import OpenScenes
from services.scenes.pictures import Pictures
from services.scenes.polling import PollingService
from services.scenes.recorded import RecordedScenes, RecordedWholeLogin
from services.scenes.sweeper import Sweeper
from services.scenes.typed_codes import TypedCodes
from services.settings import Settings, simulated
from services.siblings import Siblings
from services.simulation import Simulation
from services.supervisor import Supervisor
from services.timeline import Timeline
from services.tokens.issuer import Issuer
from services.tokens.keys import open_keys
from services.tokens.shared_keys import SharedKeys
from services.tokens.verifier import Verifier
from services.wechat.accounts import Account, Accounts
from services.wechat.api_httpx import Authorized, HttpxWeChatAPI
from services.wechat.callback import CallbackGate
from services.wechat.calls import Calls
from services.wechat.client import make_client
from services.wechat.credentials import Credentials, CredentialStore
from services.wechat.forwarder import Forwarder
from services.wechat.notices import Notices
from services.wechat.token_sources import ClassicToken, StableToken
from services.wechat.watch import AccountWatch

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
    own_url = settings.server.public_url or f"http://{_shown(host)}:{port}"
    simulation = (
        Simulation(settings, f"http://{_reachable(host)}:{port}") if simulated(settings) else None
    )
    if simulation is not None:
        settings = simulation.settings
    supervisor = Supervisor()
    metrics = Metrics(clock.now)
    origins = Origins(settings.server.public_url, list(settings.server.allowed_origins))
    http = make_client(settings.wechat.api_base)
    limits = RateLimits(settings.limits, backend.windows)
    issuer = Issuer(keys, issuer=settings.token_issuer, audience=settings.jwt.audience)
    amr = ("simulated",) if simulation is not None else ("wechat",)
    login = LoginService(
        backend.scenes,
        backend.users,
        issuer,
        backend.whole_login,
        clock,
        metrics,
        node=node,
        amr=amr,
        collect_ttl_seconds=settings.login.collect_ttl_seconds,
        token_ttl_seconds=settings.jwt.ttl_seconds,
        kiosks=bool(settings.kiosks),
        timeline=timeline,
    )
    hook = build_hook(settings, http, supervisor, clock)
    push = build_push(settings, login, backend.broker, supervisor, clock, origins, metrics, limits)
    site_name = settings.wechat.site_name or urlsplit(own_url).netloc
    accounts = build_accounts(
        settings, http, backend.credentials, clock, supervisor, metrics, site_name
    )
    codes = TypedCodes(backend.scenes, settings.login.code_length, settings.login.code_alphabet)
    scene_codes = build_codes(settings, backend.scenes, codes, clock)
    admission = AdmissionService(
        backend.scenes,
        backend.users,
        UnionIds(backend.users, clock, supervisor),
        login,
        settings.login,
        clock,
        hook,
    )
    chat = ChatService(
        backend.scenes,
        backend.users,
        login,
        admission,
        codes,
        OpenScenes(backend.scenes, login, admission),
        site_name=site_name,
        kiosk_labels={name: kiosk.label for name, kiosk in settings.kiosks.items()},
    )
    shared_keys = (
        SharedKeys(issuer, backend.scenes, clock, keep_seconds=settings.jwt.ttl_seconds)
        if settings.backend == "distributed"
        else None
    )
    verifier = Verifier(issuer, shared_keys)
    nodes = Nodes(
        node,
        backend.scenes,
        clock,
        lambda: {
            "sockets": push.hub.sockets,
            "waiting_polls": push.hub.waiting,
            "draining": push.draining,
        },
        shared=settings.backend == "distributed" and bool(settings.operator.token),
    )
    return Container(
        settings=settings,
        node=node,
        clock=clock,
        supervisor=supervisor,
        metrics=metrics,
        origins=origins,
        accounts=accounts,
        http=http,
        backend=backend,
        issuer=issuer,
        shared_keys=shared_keys,
        verifier=verifier,
        login=login,
        begin=BeginService(
            accounts,
            backend.scenes,
            limits,
            clock,
            metrics,
            scene_codes,
            Kiosks(settings.kiosks, settings.kiosk_ttl_seconds),
            scene_ttl_seconds=settings.login.scene_ttl_seconds,
            poll_interval_seconds=settings.login.poll_interval_seconds,
        ),
        scene_codes=scene_codes,
        doors=build_doors(
            settings,
            scenes=backend.scenes,
            users=backend.users,
            credentials=backend.credentials,
            login=login,
            admission=admission,
            direct=DirectLogin(
                backend.users,
                issuer,
                clock,
                metrics,
                amr=amr,
                token_ttl_seconds=settings.jwt.ttl_seconds,
            ),
            accounts=accounts,
            http=http,
            clock=clock,
            supervisor=supervisor,
            metrics=metrics,
        ),
        callbacks=CallbackService(
            backend.scenes,
            chat,
            clock,
            metrics,
            deadline_seconds=settings.wechat.callback_deadline_seconds,
        ),
        admission=admission,
        nodes=nodes,
        operator=(
            None
            if timeline is None
            else OperatorService(
                backend.scenes,
                accounts,
                metrics,
                timeline,
                nodes,
                clock,
                {"backend": settings.backend, "simulated": simulation is not None},
            )
        ),
        registration=RegistrationService(
            login,
            admission,
            accounts,
            verifier,
            clock,
            wanted=settings.login.register_fields,
            hook=hook,
        ),
        polling=PollingService(login, push.hub, clock, settings.login.poll_interval_seconds),
        pictures=Pictures(),
        sweeper=Sweeper(
            backend.scenes,
            accounts,
            chat,
            left_after_seconds=settings.wechat.callback_deadline_seconds + 1,
        ),
        push=push,
        simulation=simulation,
        siblings=None if place is None else Siblings(place),
        own_url=own_url,
    )


def record(backend: Backend, clock: Clock) -> Timeline:
    """Have what happens to scenes written down from now on."""
    timeline = Timeline(clock)
    backend.scenes = RecordedScenes(backend.scenes, timeline)
    if backend.whole_login is not None:
        backend.whole_login = RecordedWholeLogin(backend.whole_login, timeline)
    return timeline


def build_hook(
    settings: Settings, http: httpx.AsyncClient, supervisor: Supervisor, clock: Clock
) -> Hook | None:
    """The operator's hook, where one is configured."""
    url, secret = settings.login.hook_url, settings.login.hook_secret.get_secret_value()
    return Hook(http, supervisor, clock, url, secret) if url else None


def build_push(
    settings: Settings,
    login: LoginService,
    broker: Broker,
    supervisor: Supervisor,
    clock: Clock,
    origins: Origins,
    metrics: Metrics,
    limits: RateLimits,
) -> PushService:
    """The sockets, and who may open one."""
    proxies = settings.server.trusted_proxies
    return PushService(
        login,
        broker,
        supervisor,
        clock,
        lambda origin, headers, scheme: not origins.is_foreign(
            origin, scheme, headers.get("Host", "")
        ),
        client=lambda remote_ip, headers: (
            client_address(remote_ip, headers.get("X-Forwarded-For", ""), proxies),
            request_scheme(remote_ip, headers.get("X-Forwarded-Proto", ""), proxies),
        ),
        counters=metrics,
        address_group=limits.group,
        ping_seconds=settings.push.ping_seconds,
        reserve_descriptors=settings.push.reserve_descriptors,
        messages_per_second=settings.limits.messages_per_second_per_socket,
        sockets_per_address=settings.limits.sockets_per_address,
    )


def build_accounts(
    settings: Settings,
    http: httpx.AsyncClient,
    store: CredentialStore,
    clock: Clock,
    supervisor: Supervisor,
    metrics: Metrics,
    site_name: str,
) -> Accounts:
    """Every configured Official Account with its gate, credentials and client."""
    wechat = settings.wechat
    make_source = StableToken if wechat.credential == "stable" else ClassicToken
    built = []
    for name, account in wechat.accounts.items():
        watch = AccountWatch(metrics, clock, name)
        calls = Calls(
            http, wechat.api_base, clock, timeout_seconds=wechat.timeout_seconds, observer=watch
        )
        source = make_source(calls, clock, account.app_id, account.app_secret.get_secret_value())
        credentials = Credentials(
            source, store, clock, supervisor, on_renewed=watch.credential_ends
        )
        gate = CallbackGate(
            app_id=account.app_id,
            callback_token=account.callback_token.get_secret_value(),
            encoding_aes_key=account.encoding_aes_key.get_secret_value(),
            previous_encoding_aes_key=account.previous_encoding_aes_key.get_secret_value(),
            mode=account.mode,
            timestamp_window_seconds=wechat.timestamp_window_seconds,
        )
        api = HttpxWeChatAPI(Authorized(calls, credentials))
        notices = Notices(
            api,
            supervisor,
            template_id=account.notice_template_id,
            fields=account.notice_fields,
            site=site_name,
        )
        forwarder = (
            Forwarder(http, supervisor, account.forward_url) if account.forward_url else None
        )
        built.append(Account(name, account, gate, api, notices, watch, forwarder))
    return Accounts(built)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _reachable(host: str) -> str:
    """Where a listener on all addresses is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, _shown(host))
