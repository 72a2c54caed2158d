"""What the simulated WeChat knows at its start: accounts, apps, quotas, time limits."""

import ipaddress
import random
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
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

MINI_PROGRAM_ALLOWED = 10
"""Most entries of a mini program's IP allow list."""


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
    holds addresses or networks, empty: any; it holds for every call of the account. `web_domain`
    is the web-authorisation domain (host, with port if any), empty: any.

    Raises:
        ValueError: the allow list has an entry that is neither an address nor a network.
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

    def __post_init__(self) -> None:
        networks(self.ip_allow_list)


@dataclass(frozen=True)
class SimulatedApp:
    """A mini program or a website app.

    `redirect_domain` is a website's registered host (empty: any); `server_url` is where a mini
    program's own pages call their server (empty: its simulated page cannot finish a login). Its
    `ip_allow_list` holds for calls with the AppSecret only; `templates` are those of its subscribe
    messages.

    Raises:
        ValueError: the allow list has more than ten entries, or one that is no network.
    """

    app_id: str
    app_secret: str = field(repr=False)
    name: str = ""
    open_platform: str = ""
    redirect_domain: str = ""
    server_url: str = ""
    verified: bool = True
    pages: tuple[str, ...] = ()
    ip_allow_list: tuple[str, ...] = ()
    templates: tuple[Template, ...] = (NOTICE_TEMPLATE,)

    def __post_init__(self) -> None:
        if len(self.ip_allow_list) > MINI_PROGRAM_ALLOWED:
            raise ValueError(f"a mini program allows at most {MINI_PROGRAM_ALLOWED} addresses")
        networks(self.ip_allow_list)


def networks(
    allow_list: tuple[str, ...],
) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The entries of an IP allow list: single addresses, or networks in CIDR notation.

    Raises:
        ValueError: an entry is neither.
    """
    return [ipaddress.ip_network(entry) for entry in allow_list]


@dataclass(frozen=True)
class SimulatorConfig:
    """The whole simulated WeChat. Seconds everywhere; a `seed` makes every id repeatable.

    The openids do not depend on it: the same person has the same openid after a restart. What
    else outlives a restart is kept in `state_file`; None: nothing is.
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
    state_file: Path | None = None
    clock: Clock = field(default_factory=SystemClock)

    @classmethod
    def generated(
        cls,
        *callback_urls: str,
        mode: Mode = "safe",
        data_format: DataFormat = "xml",
        server_url: str = "",
        seed: int | None = None,
    ) -> "SimulatorConfig":
        """An account for each callback URL, a mini program and a website app, with fixed app_ids.

        They are bound to one Open Platform account, so that a person has one unionid. The secrets
        fit the settings' rules. They follow from the seed; without one they are new at each start.
        """
        rng = random.SystemRandom() if seed is None else random.Random(f"secrets {seed}")
        alphanumeric = string.ascii_letters + string.digits

        def secret(length: int, alphabet: str = alphanumeric) -> str:
            return "".join(rng.choices(alphabet, k=length))

        def app(app_id: str) -> SimulatedApp:
            return SimulatedApp(
                app_id,
                secret(32, "0123456789abcdef"),
                open_platform="simulated",
                server_url=server_url,
            )

        accounts = tuple(
            SimulatedAccount(
                app_id=_numbered(ACCOUNT_APP_ID, number),
                app_secret=secret(32, "0123456789abcdef"),
                callback_token=secret(32),
                encoding_aes_key=secret(43),
                callback_url=callback_url,
                mode=mode,
                data_format=data_format,
                original_id=_numbered(SimulatedAccount.original_id, number),
                open_platform="simulated",
            )
            for number, callback_url in enumerate(callback_urls)
        )
        return cls(
            accounts=accounts,
            mini_programs=(app(MINI_PROGRAM_APP_ID),),
            websites=(app(WEBSITE_APP_ID),),
            seed=seed,
        )


def _numbered(text: str, number: int) -> str:
    """The first account keeps its id; the others get one of their own, the same at each start."""
    return f"{text[:-2]}{number:02x}" if number else text
