"""The configured Official Accounts: gate, credentials, client and notices of each."""

from services.parts.ground import Ground
from services.settings import AccountSettings
from services.wechat.accounts import Account, Accounts
from services.wechat.api_httpx import HttpxWeChatAPI, authorized
from services.wechat.callback import CallbackGate
from services.wechat.calls import Calls
from services.wechat.forwarder import Forwarder
from services.wechat.notices import Notices
from services.wechat.watch import AccountWatch


def build_accounts(ground: Ground) -> Accounts:
    """Every configured Official Account, in the order of the settings."""
    accounts = ground.settings.wechat.accounts
    return Accounts([build_account(ground, name, account) for name, account in accounts.items()])


def build_account(ground: Ground, name: str, account: AccountSettings) -> Account:
    """One account with what belongs to it alone."""
    watch = AccountWatch(ground.metrics, ground.clock, name)
    api = build_api(ground, account, watch)
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


def build_api(ground: Ground, account: AccountSettings, watch: AccountWatch) -> HttpxWeChatAPI:
    """WeChat's API with the account's own credentials."""
    wechat = ground.settings.wechat
    calls = Calls(
        ground.http,
        wechat.api_base,
        ground.clock,
        timeout_seconds=wechat.timeout_seconds,
        observer=watch,
    )
    signed = authorized(
        calls,
        ground.backend.credentials,
        ground.clock,
        ground.supervisor,
        app_id=account.app_id,
        app_secret=account.app_secret.get_secret_value(),
        credential=wechat.credential,
        on_renewed=watch.credential_ends,
    )
    return HttpxWeChatAPI(signed)


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
