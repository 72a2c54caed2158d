"""What the simulated WeChat knows at its start: accounts, apps, quotas, time limits."""

import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from services.clock import Clock, SystemClock
from simulator.quotas import QUOTAS, Quota

Mode = Literal["plaintext", "compatible", "safe"]
DataFormat = Literal["xml", "json"]
AccountKind = Literal["service", "subscription"]

ACCOUNT_APP_ID = "wxfa4efa4efa4efa4e"
"""The generated account: "fake" four times, so that no reader takes it for a real one."""

MINI_PROGRAM_APP_ID = "wxfa4efa4efa4e0002"
WEBSITE_APP_ID = "wxfa4efa4efa4e0003"


@dataclass(frozen=True)
class Template:
    """One message template of an account: its id and the typed keys it wants (``thing1``)."""

    template_id: str
    keys: tuple[str, ...]


NOTICE_TEMPLATE = Template(
    "simulated-login-notice-000000000000000000000", ("thing1", "time2", "thing3")
)


@dataclass(frozen=True)
class SimulatedAccount:
    """One Official Account.

    `open_platform` names the Open Platform account it is bound to; empty: not bound, so that
    no follower has a unionid. An empty `name` is shown as simulated. `ip_allow_list`
    holds addresses or networks, empty: any. `web_domain` is the web-authorisation domain
    (host, with port if any), empty: any.
    """

    app_id: str
    app_secret: str = field(repr=False)
    callback_token: str = field(repr=False)
    encoding_aes_key: str = field(repr=False)
    callback_url: str = ""
    mode: Mode = "safe"
    data_format: DataFormat = "xml"
    kind: AccountKind = "service"
    verified: bool = True
    original_id: str = "gh_fa4efa4efa4e"
    name: str = ""
    open_platform: str = ""
    ip_allow_list: tuple[str, ...] = ()
    web_domain: str = ""
    templates: tuple[Template, ...] = (NOTICE_TEMPLATE,)


@dataclass(frozen=True)
class SimulatedApp:
    """A mini program or a website app.

    `redirect_domain` is a website's registered host (empty: any); `server_url` is where a mini
    program's own pages call their server (empty: its simulated page cannot finish a login).
    """

    app_id: str
    app_secret: str = field(repr=False)
    name: str = ""
    open_platform: str = ""
    redirect_domain: str = ""
    server_url: str = ""
    verified: bool = True
    pages: tuple[str, ...] = ()


@dataclass(frozen=True)
class SimulatorConfig:
    """The whole simulated WeChat. Seconds everywhere; a `seed` makes every id repeatable.

    The openids do not depend on it: the same person has the same openid after a restart.
    """

    accounts: tuple[SimulatedAccount, ...]
    mini_programs: tuple[SimulatedApp, ...] = ()
    websites: tuple[SimulatedApp, ...] = ()
    quotas: Mapping[str, Quota] = field(default_factory=lambda: QUOTAS)
    push_timeout_seconds: float = 5.0
    push_attempts: int = 3
    mark_fail_after: int = 20
    mark_fail_seconds: float = 60.0
    wechat_browser_only: bool = False
    deny_redirects: bool = False
    seed: int | None = None
    clock: Clock = field(default_factory=SystemClock)

    @classmethod
    def generated(
        cls,
        callback_url: str,
        app_id: str = ACCOUNT_APP_ID,
        mode: Mode = "safe",
        server_url: str = "",
    ) -> "SimulatorConfig":
        """One account, mini program and website app with fixed app_ids and fresh secrets.

        They are bound to one Open Platform account, so that a person has one unionid. The
        secrets fit the settings' rules and are new at each start: they are worth nothing.
        """
        account = SimulatedAccount(
            app_id=app_id,
            app_secret=secrets.token_hex(16),
            callback_token=_letters(32),
            encoding_aes_key=_letters(43),
            callback_url=callback_url,
            mode=mode,
            open_platform="simulated",
        )
        return cls(
            accounts=(account,),
            mini_programs=(_app(MINI_PROGRAM_APP_ID, server_url),),
            websites=(_app(WEBSITE_APP_ID, server_url),),
        )


def _app(app_id: str, server_url: str) -> SimulatedApp:
    return SimulatedApp(
        app_id, secrets.token_hex(16), open_platform="simulated", server_url=server_url
    )


def _letters(count: int) -> str:
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(count))
