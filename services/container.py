"""Where the parts of a server are made and put together, and taken apart again.

The clients of WeChat and the OpenID Provider are put together in their own folders, and asked for
here. `Container` has one property per part, named by its role. Each makes its part when it is first
asked for, from other properties, so that no order has to be kept by hand and what a part needs
stands where it is made. `build_container` opens the stores and makes every part at once: a mistake
in the settings stops the start, not a request.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import cached_property
from urllib.parse import urlsplit

import httpx

from services.backends import Backend, OpenBackend, StoreWatch, keeping_of, open_backend
from services.clock import Clock, SystemClock
from services.errors import SettingsError
from services.events.delivery import DEAD_DAYS, Collected, EventDelivery, ProcessLoad, Receiver
from services.events.service import EventService
from services.hooks import Hook
from services.http_client import make_transport
from services.ids import AppId, SceneStr, scene_key
from services.logs import PacedLog
from services.metrics import Metrics
from services.oidc.provider import Provider, build_provider
from services.operator import OperatorService, latency_of
from services.operator_api import PeopleService
from services.origins import Origins, url_host
from services.push.admission import AddressLimit
from services.push.close_codes import Ending
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
from services.scenes.codes_ahead import AccountCodes
from services.scenes.history import History, RecordedLogins, RecordedScenes, note_left
from services.scenes.kiosk_presence import KioskPresence, WatchedKiosks
from services.scenes.login import LoginService, LoginStore, SteppedLoginStore
from services.scenes.meters import Meters, Reports
from services.scenes.number_match import NumberMatch
from services.scenes.pictures import MiniProgramPictures, Pictures, picture_source
from services.scenes.policy import ChatTexts, LoginPolicy
from services.scenes.registration import RegistrationService
from services.scenes.session_words import SessionWords
from services.scenes.states import OPEN, Kind, Move, Scene, State
from services.scenes.store import SceneStore
from services.scenes.sweeper import Sweeper
from services.scenes.traces import (
    OpenTraces,
    TracedCallbacks,
    TracedLogins,
    TracedScenes,
    Traces,
    open_traces,
)
from services.scenes.typed_codes import TypedCodes
from services.screens.care import ScreenCare
from services.screens.directory import Pages, Screens
from services.screens.pairing import Pairings
from services.sessions.service import SessionService
from services.sessions.tokens import KEY_BYTES, RefreshTokens, SharedKey, derived_keys
from services.settings import branding
from services.settings.models import AccountSettings, Settings
from services.settings.outgoing import Outgoing
from services.tasks import Supervisor
from services.tokens.issuer import Issuer
from services.tokens.keys import KeySet, open_keys
from services.tokens.verifier import KeyRotation, SharedKeys, Verifier
from services.web_login.mini_program import MiniProgramLogin
from services.web_login.oauth import OAuthApp, OAuthLogin
from services.wechat.accounts import Accounts
from services.wechat.clients import WeChatClients
from services.wechat.mini_program import MiniProgramClient
from services.wechat.unionids import UnionIds
from services.workers import WorkerContext, WorkerPeers

POLLS_PER_SCENE = 5
"""Long polls at once from an address, for each scene it may begin in a minute: a scene lives three
minutes, and its page listens a little longer than it shows the code."""


class Container:
    """Every part of a server, by role. Only handlers and the entry point read it.

    Args:
        settings: those in force: while WeChat is simulated, they name the simulator.
        node: this process's id, for the other nodes.
        own_url: where browsers reach this server.
        worker_peers: the other processes of this server, where there are several.
        simulated_phone: below what address the built-in simulator's phone is; empty without it.
        outgoing: the proxies and certificates for requests to other servers.
        traces: where logins are traced.
    """

    def __init__(
        self,
        settings: Settings,
        node: str,
        clock: Clock,
        backend: Backend,
        keys: KeySet,
        own_url: str,
        worker_peers: WorkerPeers | None,
        simulated_phone: str,
        outgoing: Outgoing,
        traces: Traces | None,
    ) -> None:
        self.settings = settings
        self.node = node
        self.clock = clock
        self.backend = backend
        self.own_url = own_url
        self.worker_peers = worker_peers
        self.simulated_phone = simulated_phone
        self._keys = keys
        self._outgoing = outgoing
        self._traces = traces

    # What everything stands on.

    @cached_property
    def supervisor(self) -> Supervisor:
        return Supervisor()

    @cached_property
    def metrics(self) -> Metrics:
        return Metrics(self.clock.now, Ending)

    @cached_property
    def store_watch(self) -> StoreWatch:
        return StoreWatch(self.backend, self.clock, self.metrics)

    @cached_property
    def logo(self) -> str:
        """What ``src`` of the operator's logo holds; empty for none."""
        return branding.logo_source(self.settings.pages.logo)

    @cached_property
    def account_facts(self) -> dict[str, str]:
        """Name of the account that pages use, and its QR code as ``src`` holds it; empty for
        none."""
        account = next(iter(self.settings.wechat.accounts.values()), AccountSettings())
        picture = picture_source(account.qr) if account.qr else ""
        return {"account_name": account.name, "account_qr": picture}

    @cached_property
    def colours(self) -> str:
        """The style sheet of the operator's colour; empty for none."""
        return branding.style(self.settings.pages.colour)

    @cached_property
    def paced_log(self) -> PacedLog:
        """For what a failing store, or a wrong setting, makes of every request."""
        return PacedLog(logging.getLogger("scanpush.http"))

    @cached_property
    def origins(self) -> Origins:
        server = self.settings.server
        return Origins(server.public_url, list(server.allowed_origins))

    @cached_property
    def limits(self) -> RateLimits:
        return RateLimits(self.settings.limits, self.backend.windows, self.metrics.rate_limited)

    @cached_property
    def http(self) -> httpx.AsyncBaseTransport:
        return make_transport(self.settings.wechat.api_base, self._outgoing)

    @property
    def site_name(self) -> str:
        """What people are told they log in to."""
        return self.settings.site_name or urlsplit(self.own_url).netloc

    @property
    def amr(self) -> tuple[str, ...]:
        """How people are authenticated here, for the tokens' claim of that name."""
        return ("simulated",) if self.settings.wechat.is_simulated else ("wechat",)

    # WeChat.

    @cached_property
    def _wechat(self) -> WeChatClients:
        return WeChatClients(
            self.settings.wechat,
            self.site_name,
            self.http,
            self.backend.access_tokens,
            self.clock,
            self.supervisor,
            self.metrics,
        )

    @cached_property
    def accounts(self) -> Accounts:
        """Every configured Official Account, in the order of the settings."""
        return self._wechat.build_accounts()

    @cached_property
    def _mini_program_api(self) -> MiniProgramClient | None:
        return self._wechat.build_mini_program_client()

    # Tokens.

    @cached_property
    def issuer(self) -> Issuer:
        settings = self.settings
        return Issuer(self._keys, issuer=settings.token_issuer, audience=settings.jwt.audience)

    @cached_property
    def key_rotations(self) -> tuple[KeyRotation, ...]:
        """One for each algorithm in use."""
        return tuple(
            KeyRotation(
                self._keys.able_to_sign(algorithm),
                self.issuer,
                self.scenes,
                self.clock,
                publish_ahead_seconds=self.settings.jwt.publish_ahead_seconds,
            )
            for algorithm in self._keys.algorithms
        )

    @cached_property
    def shared_keys(self) -> SharedKeys | None:
        """The other nodes' public keys, where there are other nodes."""
        if self.settings.backend != "distributed":
            return None
        ttl_seconds = self.settings.jwt.ttl_seconds
        return SharedKeys(self.issuer, self.scenes, self.clock, keep_seconds=ttl_seconds)

    @cached_property
    def verifier(self) -> Verifier:
        return Verifier(self.issuer, self.shared_keys)

    # Sessions.

    @cached_property
    def refresh_tokens(self) -> RefreshTokens:
        if self.refresh_key_is_shared:
            return RefreshTokens([secrets.token_bytes(KEY_BYTES)])
        return RefreshTokens(derived_keys(self._keys))

    @property
    def refresh_key_is_shared(self) -> bool:
        """Whether the nodes have no secret in common but what their store holds."""
        settings = self.settings
        return settings.backend == "distributed" and settings.jwt.algorithm != "HS256"

    @cached_property
    def shared_refresh_key(self) -> SharedKey | None:
        if not (self.settings.keeps_sessions and self.refresh_key_is_shared):
            return None
        return SharedKey(self.refresh_tokens, self.scenes)

    @cached_property
    def sessions(self) -> SessionService | None:
        """None where neither logins nor OpenID clients have sessions."""
        settings = self.settings
        if not settings.keeps_sessions:
            return None
        return SessionService(
            self.backend.sessions,
            self.backend.users,
            self.refresh_tokens,
            # Counted in this process: what costs a look at the store is what they limit.
            RateLimits(settings.limits, None, self.metrics.rate_limited),
            self.clock,
            self.metrics,
            amr=self.amr,
            life_seconds=settings.sessions.refresh_ttl_seconds,
            idle_seconds=settings.sessions.idle_seconds,
            most_per_user=settings.sessions.most_per_user,
            collect_ttl_seconds=settings.login.collect_ttl_seconds,
            token_ttl_seconds=settings.jwt.ttl_seconds,
        )

    @property
    def login_sessions(self) -> SessionService | None:
        """None where logins begin no sessions (``sessions.refresh_ttl_seconds: 0``)."""
        return self.sessions if self.settings.sessions.refresh_ttl_seconds else None

    # Screens.

    @cached_property
    def screens(self) -> Screens | None:
        """None where there is no operator who could pair and care for any."""
        settings = self.settings
        if not settings.operator.token:
            return None
        return Screens(
            settings.kiosks,
            self.backend.screens,
            self.clock,
            self.supervisor,
            self.metrics,
            down_seconds=settings.kiosk_down_seconds,
        )

    @cached_property
    def pairings(self) -> Pairings | None:
        if self.screens is None or self.screen_care is None:
            return None
        return Pairings(
            self.scenes,
            self.screens,
            self.limits,
            self.clock,
            self.screen_care.told,
            ttl_seconds=self.settings.kiosk_pair_ttl_seconds,
        )

    @cached_property
    def screen_care(self) -> ScreenCare | None:
        if self.screens is None:
            return None

        async def end_scene(scene_str: SceneStr, details: Mapping[str, str]) -> None:
            await self.login.end(scene_str, Move(State.CANCELLED, OPEN, details=details))

        return ScreenCare(self.screens, self.clock, self.backend.broker.tell_of_screens, end_scene)

    @property
    def kiosk_labels(self) -> Mapping[str, str]:
        """What the operator calls its screens, now and later."""
        if self.screens is not None:
            return self.screens.labels
        return {name: kiosk.label for name, kiosk in self.settings.kiosks.items()}

    @property
    def _keypads(self) -> Collection[str]:
        """The screens on which a number can be typed, now and later."""
        if self.screens is not None:
            return self.screens.keypads
        return {name for name, kiosk in self.settings.kiosks.items() if kiosk.keypad}

    def _gives_tickets(self) -> bool:
        settings, paired = self.settings, self.screens is not None and self.screens.labels
        return bool(settings.oidc.clients or settings.kiosks or paired)

    # What happens, for the operator.

    @cached_property
    def app_ids(self) -> Sequence[AppId]:
        """Within which the operator's questions look for an openid."""
        wechat = self.settings.wechat
        known = [account.app_id for account in wechat.accounts.values()]
        known += [wechat.mini_program.app_id, wechat.website.app_id]
        return [AppId(app_id) for app_id in dict.fromkeys(known) if app_id]

    @cached_property
    def events(self) -> EventService:
        return EventService(
            self.backend.events,
            self.backend.users,
            self.clock,
            keeping_of(self.settings),
            self.app_ids,
            self._collect,
        )

    @cached_property
    def _collect(self) -> Callable[[], Awaitable[Collected]] | None:
        collected = self.backend.collected
        return None if collected is None else collected.collect

    @cached_property
    def event_delivery(self) -> EventDelivery | None:
        """None where nothing is kept."""
        if self.backend.events is None:
            return None
        events, receiver = self.settings.events, None
        if events.url:
            secret = events.secret.get_secret_value()
            receiver = Receiver(self.http, self.clock, events.url, secret)
        return EventDelivery(
            self.backend.events,
            receiver,
            self.supervisor,
            self.clock,
            self.metrics,
            self.node,
            keep_days=self.settings.audit.days if self.settings.keeps_audit else DEAD_DAYS,
            is_busy=ProcessLoad().is_high,
            collect=self._collect,
        )

    @cached_property
    def kiosk_presence(self) -> KioskPresence | None:
        """None where nothing is kept."""
        if self.backend.events is None:
            return None
        return KioskPresence(
            self.backend.scenes,
            self.events,
            self.clock,
            lambda scene_str: self.push.hub.watched(scene_key(scene_str)),
            down_seconds=self.settings.kiosk_down_seconds,
        )

    # Scenes and logins.

    @cached_property
    def history(self) -> History | None:
        """What happened to scenes. Only for an operator: it costs each login a little."""
        return History(self.clock) if self.settings.operator.token else None

    @cached_property
    def scenes(self) -> SceneStore:
        scenes = self.backend.scenes
        if self.kiosk_presence is not None:
            scenes = WatchedKiosks(scenes, self.kiosk_presence)
        if self.history is not None:
            scenes = RecordedScenes(scenes, self.history)
        return scenes if self._traces is None else TracedScenes(scenes, self._traces)

    @cached_property
    def logins(self) -> LoginStore:
        logins = self.backend.logins
        if logins is None:
            # Its steps go through `scenes`, which records and traces them already.
            users, sessions = self.backend.users, self.login_sessions
            return SteppedLoginStore(self.scenes, users, self.clock, sessions)
        if self.history is not None:
            logins = RecordedLogins(logins, self.history)
        return logins if self._traces is None else TracedLogins(logins, self._traces)

    @cached_property
    def login(self) -> LoginService:
        settings = self.settings
        return LoginService(
            self.scenes,
            self.backend.users,
            self.issuer,
            self.logins,
            self.clock,
            self.metrics,
            amr=self.amr,
            collect_ttl_seconds=settings.login.collect_ttl_seconds,
            token_ttl_seconds=settings.jwt.ttl_seconds,
            tickets=self._gives_tickets,
            on_delivery=self._on_delivery(),
            sessions=self.login_sessions,
            screen_of=None if self.screens is None else self.screens.of_page,
        )

    def _on_delivery(self) -> Callable[[Scene], None] | None:
        """What wants to know of each delivery of a login; most servers have nothing that does."""
        told = [part.delivered for part in (self.history, self._traces) if part is not None]
        if len(told) < 2:
            return told[0] if told else None

        def tell(scene: Scene) -> None:
            for delivered in told:
                delivered(scene)

        return tell

    @cached_property
    def hook(self) -> Hook | None:
        """The operator's hook, where one is configured."""
        login = self.settings.login
        if not login.hook_url:
            return None
        secret = login.hook_secret.get_secret_value()
        return Hook(self.http, self.supervisor, self.clock, login.hook_url, secret)

    @cached_property
    def texts(self) -> ChatTexts:
        return ChatTexts(self.site_name, self.kiosk_labels)

    @cached_property
    def unionids(self) -> UnionIds:
        return UnionIds(
            self.backend.users, self.accounts, self.clock, self.supervisor, self.metrics
        )

    @cached_property
    def policy(self) -> LoginPolicy:
        return LoginPolicy(
            self.scenes,
            self.backend.users,
            self.unionids,
            self.login,
            self.settings.login,
            self.texts,
            self.clock,
            self.events,
            self.hook,
            self._keypads,
        )

    @cached_property
    def number_match(self) -> NumberMatch:
        return NumberMatch(
            self.scenes,
            self.login,
            self.policy,
            self.accounts,
            self.texts,
            self.events,
            self.supervisor,
        )

    @cached_property
    def typed_codes(self) -> TypedCodes:
        login = self.settings.login
        return TypedCodes(self.scenes, login.code_length, login.code_alphabet)

    @cached_property
    def chat(self) -> ChatService:
        return ChatService(
            self.scenes,
            self.backend.users,
            self.login,
            self.policy,
            self.typed_codes,
            OpenScenes(self.scenes, self.login, self.policy),
            self.texts,
            self.events,
            self.session_words,
            self.sessions if self.settings.sessions.end_on_unsubscribe else None,
        )

    @cached_property
    def session_words(self) -> SessionWords | None:
        """What people say about their sessions, where there are any and that is wanted."""
        sessions = self.login_sessions
        if sessions is None or not self.settings.sessions.chat_words:
            return None
        return SessionWords(
            self.scenes, self.backend.users, sessions, self.clock, self.events, self.site_name
        )

    @cached_property
    def callbacks(self) -> CallbackService | TracedCallbacks:
        callbacks = CallbackService(
            self.scenes,
            self.chat,
            self.clock,
            self.metrics,
            deadline_seconds=self.settings.wechat.callback_deadline_seconds,
        )
        return callbacks if self._traces is None else TracedCallbacks(callbacks, self._traces)

    @cached_property
    def sweeper(self) -> Sweeper:
        # Later than any callback still works on its scene.
        left_after_seconds = self.settings.wechat.callback_deadline_seconds + 1
        return Sweeper(
            self.scenes,
            self.accounts,
            self.chat,
            self.unionids,
            left_after_seconds=left_after_seconds,
        )

    @cached_property
    def registration(self) -> RegistrationService:
        return RegistrationService(
            self.scenes,
            self.login,
            self.policy,
            self.accounts,
            self.verifier,
            self.clock,
            wanted=self.settings.login.register_fields,
            hook=self.hook,
        )

    @cached_property
    def begin(self) -> BeginService:
        settings = self.settings
        return BeginService(
            self.accounts,
            self.scenes,
            self.limits,
            self.clock,
            self.metrics,
            self.scene_codes,
            Kiosks(settings.kiosks, self.screens, self.backend.screens, settings.kiosk_ttl_seconds),
            scene_ttl_seconds=settings.login.scene_ttl_seconds,
            poll_interval_seconds=settings.login.poll_interval_seconds,
        )

    @cached_property
    def scene_codes(self) -> SceneCodes:
        """The login kinds that are offered: those whose account or app has an app_id."""
        wechat = self.settings.wechat
        codes: dict[Kind, SceneCode] = {}
        if any(account.app_id for account in wechat.accounts.values()):
            codes[Kind.OFFICIAL_ACCOUNT] = OfficialAccountCode(
                self.account_codes, mp_base=wechat.mp_base
            )
            codes[Kind.WEB] = WebCode()
            codes[Kind.CODE] = TypedCode(self.typed_codes)
        if wechat.mini_program.app_id:
            codes[Kind.MINI_PROGRAM] = MiniProgramCode()
        if wechat.website.app_id:
            codes[Kind.WEBSITE] = WebsiteCode()
        return codes

    @cached_property
    def account_codes(self) -> dict[str, AccountCodes]:
        """The parametric codes of each account, by its name."""
        settings = self.settings
        longest_life = max(settings.login.scene_ttl_seconds, settings.kiosk_ttl_seconds)
        return {
            account.name: AccountCodes(
                account.name,
                account.api,
                self.scenes,
                self.clock,
                self.supervisor,
                self.metrics,
                ahead=settings.wechat.codes_ahead if account.app_id else 0,
                longest_life=longest_life,
                daily_code_reserve=settings.limits.daily_code_reserve,
                leaving=lambda: self.push.draining,
            )
            for account in self.accounts
        }

    @cached_property
    def pictures(self) -> Pictures:
        return Pictures()

    # Push.

    @cached_property
    def push(self) -> PushService:
        settings = self.settings
        return PushService(
            self.scenes,
            self.login,
            self.number_match.answer,
            self.node,
            self.backend.broker,
            self.supervisor,
            self.clock,
            self.metrics,
            self.origins,
            trusted_proxies=settings.server.trusted_proxies,
            address_group=self.limits.group,
            ping_seconds=settings.push.ping_seconds,
            reserve_descriptors=settings.push.reserve_descriptors,
            messages_per_second=settings.limits.messages_per_second_per_socket,
            sockets_per_address=settings.limits.sockets_per_address,
        )

    @cached_property
    def polling(self) -> PollingService:
        settings = self.settings
        waits = POLLS_PER_SCENE * settings.limits.scenes_per_minute_per_address
        return PollingService(
            self.scenes,
            self.login,
            self.node,
            self.push.hub,
            self.clock,
            AddressLimit(waits, self.limits.group),
            self.metrics,
            poll_interval_seconds=settings.login.poll_interval_seconds,
            on_poll=None if self.kiosk_presence is None else self.kiosk_presence.seen,
        )

    # Login kinds besides the chat.

    @cached_property
    def oauth(self) -> OAuthLogin:
        """WeChat's own web pages, by kind and account."""
        wechat, apps = self.settings.wechat, {}
        api = self._wechat.build_oauth_client
        website = api(wechat.website) if wechat.website.app_id else None
        for name, account in wechat.accounts.items():
            if account.app_id:
                apps[Kind.WEB, name] = OAuthApp(api(account), wechat.open_base, account.web_scope)
            if website is not None:
                apps[Kind.WEBSITE, name] = OAuthApp(website, wechat.open_base, None)
        return OAuthLogin(
            self.scenes,
            self.backend.users,
            self.login,
            self.policy,
            self.accounts,
            apps,
            self.kiosk_labels,
        )

    @cached_property
    def mini_program(self) -> MiniProgramLogin | None:
        """The requests of the mini program; None where none is configured."""
        if self._mini_program_api is None:
            return None
        return MiniProgramLogin(
            self._mini_program_api,
            self.scenes,
            self.backend.users,
            self.login,
            self.policy,
            self.accounts,
            self.limits,
            self.issuer,
            self.clock,
            self.metrics,
            self.events,
            register=self.settings.login.registration == "auto",
            amr=self.amr,
            token_ttl_seconds=self.settings.jwt.ttl_seconds,
            sessions=self.login_sessions,
        )

    @cached_property
    def mini_program_pictures(self) -> MiniProgramPictures | None:
        if self._mini_program_api is None:
            return None
        return MiniProgramPictures(self._mini_program_api, self.supervisor, self.limits)

    @cached_property
    def provider(self) -> Provider | None:
        """The OpenID Provider; None without clients."""
        if self.sessions is None or not self.settings.oidc.clients:
            return None
        return build_provider(
            self.settings,
            self.own_url,
            self.amr,
            self.scenes,
            self.login,
            self.sessions,
            self.backend.sessions,
            self.backend.users,
            self.refresh_tokens,
            self.issuer,
            self.verifier,
            self.http,
            self.supervisor,
            self.clock,
        )

    # The operator.

    @cached_property
    def reports(self) -> Reports | None:
        """The last hour of all nodes by the minute, where there is an operator to look at it."""
        if self.history is None:
            return None
        meters = Meters(
            self.history,
            self.accounts,
            self.clock,
            self.store_watch.seen,
            self.store_watch.slowest,
            lambda: {
                "sockets": self.push.hub.sockets,
                "waiting_polls": self.push.hub.waiting,
                "draining": self.push.draining,
            },
            lambda: latency_of(self.metrics),
        )
        shared = self.settings.backend == "distributed"
        history, scenes = self.history, self.scenes
        return Reports(
            self.node,
            scenes,
            self.clock,
            meters.report,
            lambda: note_left(history, scenes),
            shared=shared,
        )

    @cached_property
    def operator(self) -> OperatorService | None:
        """The operator's page, where there is an operator's token."""
        if self.history is None or self.reports is None:
            return None
        settings = self.settings
        return OperatorService(
            self.scenes,
            self.backend.users,
            self.sessions,
            self.accounts,
            self.metrics,
            self.history,
            self.reports,
            self.clock,
            self.events,
            {"backend": settings.backend, "simulated": settings.wechat.is_simulated},
        )

    @cached_property
    def people(self) -> PeopleService | None:
        """People as the operator's other systems see them, where there is an operator's token."""
        settings = self.settings
        if not settings.operator.token:
            return None
        store = None if self.sessions is None else self.backend.sessions
        return PeopleService(
            self.backend.users,
            self.sessions,
            store,
            self.events,
            self.clock,
            self.app_ids,
        )

    # Life.

    async def start(self) -> None:
        """Begin to push and to sweep."""
        self.metrics.count_long_polls(lambda: self.push.hub.waiting)
        if self.backend.clock is not None:
            self.supervisor.spawn(self.backend.clock.sync_forever(), name="store's clock")
        if self.shared_keys is not None:
            await self.shared_keys.introduce()
            self.supervisor.spawn(self.shared_keys.exchange_forever(), name="shared keys")
        if self.shared_refresh_key is not None:
            await self.shared_refresh_key.introduce()
            self.supervisor.spawn(
                self.shared_refresh_key.renew_forever(), name="key of refresh tokens"
            )
        for rotation in self.key_rotations:
            await rotation.begin()
            self.supervisor.spawn(rotation.choose_in_time(), name="key rotation")
        if self.screens is not None:
            await self.screens.refresh()
            self.backend.broker.listen_for_screens(self.screens.on_change)
        await self.push.start()
        if self.screens is not None and self.screen_care is not None:
            pages, care = Pages(self.polling.transport, self.push.tell), self.screen_care
            watching = self.screens.watch_forever(pages, care.end_revoked)
            self.supervisor.spawn(watching, name="watch screens")
        self.supervisor.spawn(self.sweeper.expire_forever(), name="expire scenes")
        if self.sessions is not None:
            self.supervisor.spawn(self.sessions.expire_forever(), name="expire sessions")
        self.supervisor.spawn(self.sweeper.finish_forever(), name="finish left logins")
        self.supervisor.spawn(self.sweeper.learn_unionids_forever(), name="learn unionids")
        for account, codes in self.account_codes.items():
            self.supervisor.spawn(codes.keep_ready(), name=f"codes ahead of {account}")
        if self.event_delivery is not None:
            self.supervisor.spawn(self.event_delivery.tell_forever(), name="tell events")
        if self.kiosk_presence is not None:
            self.supervisor.spawn(self.kiosk_presence.beat_forever(), name="watch kiosks")
        if self.reports is not None:
            self.supervisor.spawn(self.reports.write_forever(), name="report to the other nodes")
        self.supervisor.spawn(self.store_watch.check_forever(), name="check the stores")

    async def close(self) -> None:
        """End everything, in the order that loses nothing. Safe after a failed start."""
        await self.push.close()
        await self.supervisor.close()
        self.pictures.close()
        await self.http.aclose()
        if self.worker_peers is not None:
            await self.worker_peers.close()
        await self.backend.close()
        if self._traces is not None:
            await self._traces.close()


async def build_container(
    settings: Settings,
    *,
    host: str,
    port: int,
    clock: Clock | None = None,
    make_backend: OpenBackend = open_backend,
    worker: WorkerContext | None = None,
    simulated_phone: str = "",
    outgoing: Outgoing = Outgoing(),
    make_traces: OpenTraces = open_traces,
) -> Container:
    """Open the stores and keys, and make every part of a server that listens at `host` and `port`.

    Call it on the running event loop. What it opened, `Container.close` closes.

    Args:
        worker: this process's, where several serve one port.
        simulated_phone, outgoing: see `Container`.
        make_backend: a test puts stores that fail on command in the real ones' place.
        make_traces: a test keeps the spans to itself.

    Raises:
        SettingsError: a file, key or store that the settings name cannot be used.
        StoreUnavailable: a store does not answer.
    """
    clock = clock or SystemClock()
    node = secrets.token_hex(8)
    backend = await make_backend(settings, clock, node)
    try:
        keys = open_keys(settings.jwt, settings.oidc.id_token_algs)
        traces = make_traces(settings, backend.clock or clock, node)
    except SettingsError:
        await backend.close()
        raise
    container = Container(
        settings,
        node,
        backend.clock or clock,
        backend,
        keys,
        settings.server.public_url or f"http://{url_host(host)}:{port}",
        None if worker is None else WorkerPeers(worker),
        simulated_phone,
        outgoing,
        traces,
    )
    for name, part in vars(Container).items():
        if isinstance(part, cached_property):
            getattr(container, name)
    return container
