"""The rules between settings, which no single field can know.

`check` stops at the first one broken and names the setting to change. `warnings` are what an
operator should know although it is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from services.errors import SettingsError

if TYPE_CHECKING:
    from services.settings import AccountSettings, AppSettings, Settings

HS256_SECRET_BYTES = 32
"""RFC 7518, section 3.2: a key of the hash's size or larger."""

_LOCAL_ENDINGS = (".localhost", ".local", ".test", ".internal", ".lan", ".home.arpa")


def check(settings: Settings, *, simulated: bool) -> None:
    """Raise `SettingsError` for the first rule between settings that does not hold."""
    _check_processes(settings, simulated)
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
    _check_jwt(settings)


def warnings(settings: Settings) -> Iterator[str]:
    """What is allowed and still worth a line in the log at start, once."""
    for name, account in settings.wechat.accounts.items():
        if account.app_id and account.mode == "plaintext":
            yield (
                f"wechat.accounts.{name}.mode: in plaintext mode WeChat signs no bodies; "
                "use safe unless this is a test account"
            )
    url = settings.server.public_url
    if url.startswith("http://") and not _is_local_host(urlsplit(url).hostname or ""):
        yield "server.public_url: is not https, so tokens travel in the clear"
    if settings.kiosks and not settings.operator.token:
        yield "operator.token: is empty, so nobody can exchange the codes of kiosks for logins"
    if settings.login.hook_url and settings.login.registration != "ask" and not settings.kiosks:
        yield (
            "login.hook_url: is never called, for it is asked about the forms of "
            "login.registration: ask, and told of the logins of kiosks"
        )
    if settings.kiosks and settings.login.registration == "ask":
        yield "login.registration: ask has no form at a kiosk, so strangers cannot log in there"


def has_app_id(settings: Settings) -> bool:
    """Whether anything of the real WeChat is configured."""
    wechat = settings.wechat
    apps = (wechat.mini_program, wechat.website)
    accounts = wechat.accounts.values()
    return any(app.app_id for app in apps) or any(account.app_id for account in accounts)


def is_local(settings: Settings) -> bool:
    """Whether only this machine or a private network can be meant to reach the server.

    Listening on every address says nothing, so there public_url must say it.
    """
    host, url = settings.server.host, settings.server.public_url
    if url and not _is_local_host(urlsplit(url).hostname or ""):
        return False
    if host in ("0.0.0.0", "::"):
        return bool(url)
    return _is_local_host(host)


def _is_local_host(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        # A name without a dot cannot be public; neither can these (RFC 6761, RFC 6762, RFC 8375).
        return "." not in host or host.lower().endswith(_LOCAL_ENDINGS)
    return address.is_private and not address.is_unspecified


def _require(present: object, key: str, problem: str) -> None:
    if not present:
        raise SettingsError(key, problem)


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
    secret = settings.jwt.secret.get_secret_value().encode()
    if settings.jwt.algorithm == "HS256" and len(secret) < HS256_SECRET_BYTES:
        raise SettingsError(
            "jwt.secret",
            f"must be at least {HS256_SECRET_BYTES} bytes for HS256, not {len(secret)}",
        )
