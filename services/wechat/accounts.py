"""The configured Official Accounts, each with its own gate, credentials and client."""

from collections.abc import Iterator
from dataclasses import dataclass

from services.errors import ApiError
from services.ids import AppId
from services.settings import AccountSettings
from services.wechat.api import WeChatAPI
from services.wechat.callback import CallbackGate
from services.wechat.forwarder import Forwarder
from services.wechat.notices import Notices
from services.wechat.watch import AccountWatch


@dataclass(slots=True)
class Account:
    """One Official Account, under the name the operator gave it."""

    name: str
    settings: AccountSettings
    gate: CallbackGate
    api: WeChatAPI
    notices: Notices
    watch: AccountWatch
    forwarder: Forwarder | None = None
    """Where everything that is no login goes on to."""
    unionid_unavailable_until: float = 0.0
    """Monotonic time until which user/info is not asked: the account has answered that a follower
    has no unionid, so it belongs to no Open Platform account."""

    @property
    def app_id(self) -> AppId:
        return AppId(self.settings.app_id)


class Accounts:
    """All accounts by name; the first one is meant where none is named."""

    def __init__(self, accounts: list[Account]) -> None:
        self._by_name = {account.name: account for account in accounts}
        self._first = accounts[0]

    def named(self, name: str | None) -> Account:
        """Raises `ApiError` ``unknown_account``."""
        if not name:
            return self._first
        if (account := self._by_name.get(name)) is None:
            raise ApiError("unknown_account", "There is no such account here.", field="account")
        return account

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_name.values())
