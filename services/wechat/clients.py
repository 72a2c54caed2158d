"""What calls WeChat for the Official Accounts and apps of the settings."""

import httpx

from services.clock import Clock
from services.metrics import Metrics
from services.settings.models import AccountSettings, AppSettings, WeChatSettings
from services.tasks import Supervisor
from services.wechat.access_token import AccessTokenStore, make_authorized_client
from services.wechat.accounts import Account, Accounts, AccountWatch
from services.wechat.callback import CallbackGate
from services.wechat.client import CallObserver, WeChatClient
from services.wechat.forwarder import Forwarder
from services.wechat.mini_program import MiniProgramClient
from services.wechat.notices import Notices
from services.wechat.oauth import OAuthClient
from services.wechat.official_account import OfficialAccountClient


class WeChatClients:
    """Makes the clients.

    Args:
        site_name: what people are told they log in to.
    """

    def __init__(
        self,
        settings: WeChatSettings,
        site_name: str,
        http: httpx.AsyncBaseTransport,
        access_tokens: AccessTokenStore,
        clock: Clock,
        supervisor: Supervisor,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._site_name = site_name
        self._http = http
        self._access_tokens = access_tokens
        self._clock = clock
        self._supervisor = supervisor
        self._metrics = metrics
        self._of_apps = self.build_client(metrics)
        """Calls WeChat for what belongs to no Official Account."""

    def build_client(self, observer: CallObserver) -> WeChatClient:
        settings = self._settings
        return WeChatClient(
            self._http,
            settings.api_base,
            self._clock,
            timeout_seconds=settings.timeout_seconds,
            observer=observer,
        )

    def build_accounts(self) -> Accounts:
        """In the order of the settings."""
        accounts = self._settings.accounts
        return Accounts([self.build_account(name, account) for name, account in accounts.items()])

    def build_account(self, name: str, account: AccountSettings) -> Account:
        """One account with what belongs to it alone."""
        watch = AccountWatch(self._metrics, self._clock, name)
        authorized = make_authorized_client(
            self.build_client(watch),
            self._access_tokens,
            self._clock,
            self._supervisor,
            app_id=account.app_id,
            app_secret=account.app_secret.get_secret_value(),
            credential=self._settings.credential,
            on_renewed=watch.credential_ends,
        )
        api = OfficialAccountClient(authorized)
        gate = CallbackGate(
            app_id=account.app_id,
            callback_token=account.callback_token.get_secret_value(),
            encoding_aes_key=account.encoding_aes_key.get_secret_value(),
            previous_encoding_aes_key=account.previous_encoding_aes_key.get_secret_value(),
            mode=account.mode,
            timestamp_window_seconds=self._settings.timestamp_window_seconds,
        )
        notices = None
        if account.notice_template_id:
            notices = Notices(
                api,
                self._supervisor,
                template_id=account.notice_template_id,
                fields=account.notice_fields,
                site=self._site_name,
            )
        forwarder = None
        if account.forward_url:
            forwarder = Forwarder(self._http, self._supervisor, account.forward_url)
        known = authorized.tokens if account.app_id else None
        return Account(name, account, gate, api, notices, watch, forwarder, known)

    def build_oauth_client(self, app: AccountSettings | AppSettings) -> OAuthClient:
        """What an account, or the website, asks about a person who came back from WeChat's page."""
        return OAuthClient(
            self._of_apps,
            self._clock,
            self._supervisor,
            app_id=app.app_id,
            app_secret=app.app_secret.get_secret_value(),
        )

    def build_mini_program_client(self) -> MiniProgramClient | None:
        """None where no mini program is configured."""
        app = self._settings.mini_program
        if not app.app_id:
            return None
        secret = app.app_secret.get_secret_value()
        authorized = make_authorized_client(
            self._of_apps,
            self._access_tokens,
            self._clock,
            self._supervisor,
            app_id=app.app_id,
            app_secret=secret,
            credential=self._settings.credential,
        )
        return MiniProgramClient(
            self._of_apps,
            authorized,
            app_id=app.app_id,
            app_secret=secret,
            page=app.page,
            env_version=app.env_version,
        )
