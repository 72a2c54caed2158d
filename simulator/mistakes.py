"""Mistakes that people make when they set an account up, each made here on purpose and by name.

What differs is always WeChat's side: the settings that `python -m simulator` prints, or that a test
has, stay as they are. All are mended at the simulated console; each says how it shows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from simulator.config import SimulatedAccount
from simulator.faults import Fault
from simulator.world import World

ELSEWHERE = "192.0.2.1"
"""An address for documentation (RFC 5737), which no caller has."""

CLOCK_SECONDS = 1_200
CODES_LEFT = 100

_TOKEN_PATHS = ("/cgi-bin/token", "/cgi-bin/stable_token")


@dataclass(frozen=True)
class Mistake:
    """`make` is done to each account of the simulated WeChat, or once where it is not of one."""

    meaning: str
    make: Callable[[World, SimulatedAccount], None]


def _account(meaning: str, **values: object) -> Mistake:
    return Mistake(meaning, lambda world, account: world.change(account.app_id, **values))


def _other_app_secrets(world: World, _: SimulatedAccount) -> None:
    for app_id in (*world.mini_program_apps, *world.websites):
        world.change(app_id, app_secret="1" * 32)


def _frozen(world: World, _: SimulatedAccount) -> None:
    for path in _TOKEN_PATHS:
        world.faults.add(Fault(path, errcode=40243, times=0))


def _other_mode(world: World, account: SimulatedAccount) -> None:
    world.change(account.app_id, mode="safe" if account.mode == "plaintext" else "plaintext")


def _little_quota(world: World, account: SimulatedAccount) -> None:
    world.quotas.use(account.app_id, "/cgi-bin/qrcode/create", leave=CODES_LEFT)


def _wrong_clock(world: World, _: SimulatedAccount) -> None:
    world.clock.skew = CLOCK_SECONDS


def _wrong_path(world: World, account: SimulatedAccount) -> None:
    world.change(account.app_id, callback_url=f"{account.callback_url}-wrong")


MISTAKES: Mapping[str, Mistake] = MappingProxyType(
    {
        "ip": _account("the IP allow list has another address: 40164", ip_allow_list=(ELSEWHERE,)),
        "secret": _account("another AppSecret: 40125", app_secret="0" * 32),
        "app-secrets": Mistake(
            "mini program and website app have another AppSecret: 40125", _other_app_secrets
        ),
        "frozen": Mistake("the AppSecret is frozen: 40243", _frozen),
        "unverified": _account("the account is not verified: 48001", verified=False),
        "subscription": _account("a subscription account: 48001", kind="subscription"),
        "token": _account("another Token: callbacks are refused", callback_token="othertoken"),
        "key": _account("another EncodingAESKey: callbacks are refused", encoding_aes_key="x" * 43),
        "mode": Mistake("another encryption mode: callbacks are refused", _other_mode),
        "url": Mistake("another path in the server URL: callbacks are lost", _wrong_path),
        "no-url": _account("no server URL: no callbacks, 40201", callback_url=""),
        "unionid": _account("bound to no Open Platform account: no unionid", open_platform=""),
        "template": _account("no message template: 40037", templates=()),
        "quota": Mistake(f"only {CODES_LEFT} codes are left today", _little_quota),
        "clock": Mistake(f"WeChat's clock is {CLOCK_SECONDS} s ahead", _wrong_clock),
    }
)


def make_mistake(world: World, name: str) -> None:
    """Make the mistake of that name.

    Raises:
        ValueError: there is none of that name.
    """
    if (mistake := MISTAKES.get(name)) is None:
        raise ValueError(f"unknown mistake; there are {', '.join(MISTAKES)}")
    of_all = name in ("app-secrets", "frozen", "clock")
    for account in list(world.accounts.values())[: 1 if of_all else None]:
        mistake.make(world, account)
