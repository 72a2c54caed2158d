"""The way out: the proxies and certificates that the environment names for outgoing HTTP.

They are looked at with the settings, before a library meets them, and only here: the HTTP client
is given an `Outgoing` and reads no environment. What cannot be used stops the start with a line
that names the variable and quotes nothing of it, as a proxy's address may hold a password.
"""

import os
import re
import ssl
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import ip_network
from urllib.parse import urlsplit

from services.errors import SettingsError
from services.origins import DEFAULT_PORTS, Network
from services.settings import hosts
from services.settings.models import Settings, simulated
from services.settings.urls import HOST_NAME, take_apart

_NAME_PATTERN = re.compile(r"\.?([A-Za-z0-9_*-]+(?:\.[A-Za-z0-9_*-]+)*)\.?")
_WITH_PORT = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]+):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that speaks HTTP, reached over ``http`` or ``https``."""

    scheme: str
    host: str
    """IPv6 addresses without brackets."""
    port: int
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class _Exemption:
    """What one entry of NO_PROXY exempts: a network, or a name with those below it."""

    network: Network | None
    pattern: str
    port: int | None

    def covers(self, host: str, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if self.network is not None:
            return any(address in self.network for address in hosts.literal_addresses(host))
        return fnmatchcase(host, self.pattern) or fnmatchcase(host, f"*.{self.pattern}")


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which proxy a request takes, by the scheme of its address; none by default."""

    by_scheme: Mapping[str, Proxy] = field(default_factory=dict)
    exempt: tuple[_Exemption, ...] = ()

    def of(self, url: str) -> Proxy | None:
        """The proxy for `url`; None: it is asked directly.

        Whatever NO_PROXY says, that is so for addresses of this machine and of private networks.
        """
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
        if hosts.is_near(url) or any(entry.covers(host, port) for entry in self.exempt):
            return None
        return self.by_scheme.get(parts.scheme)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """How requests leave this machine."""

    proxies: Proxies = Proxies()
    trusted: ssl.SSLContext | None = None
    """With the authorities that the environment names; None: those of the client's library."""
    warnings: tuple[str, ...] = ()
    """What is skipped, for the log."""


def load_outgoing(settings: Settings, environ: Mapping[str, str]) -> Outgoing:
    """What `environ` says about requests that leave this machine.

    Of these there may be none: WeChat is simulated, and nothing else is asked. Then nothing is
    looked at.

    Raises:
        SettingsError: a proxy or certificates that cannot be used; it names the variable.
    """
    wechat = settings.wechat
    accounts = wechat.accounts.values()
    to_wechat = [] if simulated(settings) else [wechat.api_base]
    asked = [*to_wechat, settings.login.hook_url, *(account.forward_url for account in accounts)]
    # A WeChat beside this server is a simulator, and what it tells the server needs no way out.
    proxied = to_wechat and not hosts.is_near(wechat.api_base)
    proxies, warnings = _proxies(environ) if proxied else (Proxies(), ())
    if not any(url.startswith("https://") for url in asked):
        return Outgoing(proxies, warnings=warnings)
    return Outgoing(proxies, trusted_authorities(environ), warnings)


def _proxies(environ: Mapping[str, str]) -> tuple[Proxies, tuple[str, ...]]:
    """The proxies, and a warning about entries of NO_PROXY that say nothing."""
    variable = _spelt("NO_PROXY", environ)
    entries = re.findall(r"[^,\s]+", environ.get(variable, ""))
    if "*" in entries:
        return Proxies(), ()
    by_scheme: dict[str, Proxy] = {}
    for scheme in DEFAULT_PORTS:
        for name in (f"{scheme.upper()}_PROXY", "ALL_PROXY"):
            proxy_variable = _spelt(name, environ)
            if address := environ.get(proxy_variable):
                by_scheme[scheme] = _proxy(proxy_variable, address)
                break
    exempt: list[_Exemption] = []
    skipped: list[str] = []
    for number, entry in enumerate(entries, 1):
        try:
            exempt.append(_exemption(entry))
        except ValueError:
            skipped.append(str(number))
    warnings: tuple[str, ...] = ()
    if skipped and by_scheme:
        problem = "skipped, as it is no name, address or network"
        warnings = (f"{variable}: entry {', '.join(skipped)} of {len(entries)} is {problem}",)
    return Proxies(by_scheme, tuple(exempt)), warnings


def _spelt(name: str, environ: Mapping[str, str]) -> str:
    """`name`, or its lower case, which wins where both are there, as in curl and Python."""
    return name.lower() if name.lower() in environ else name


def _proxy(variable: str, address: str) -> Proxy:
    if re.match(r"socks[0-9a-z]*:", address, re.IGNORECASE):
        raise SettingsError(
            variable, "a SOCKS proxy cannot be used; give an http:// proxy, or unset it"
        )
    try:
        parts = take_apart(address if "://" in address else f"http://{address}", ("http", "https"))
    except ValueError as error:
        raise SettingsError(variable, str(error)) from None
    host, port = parts.hosts[0] if len(parts.hosts) == 1 else ("", None)
    if not (HOST_NAME.fullmatch(host) or hosts.literal_addresses(host)):
        raise SettingsError(variable, "must name one host, as in http://host:port")
    if ":" in parts.username:
        raise SettingsError(variable, "must have no colon in its user name (RFC 7617, section 2)")
    return Proxy(
        parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], parts.username, parts.password
    )


def _exemption(entry: str, port: int | None = None) -> _Exemption:
    """What an entry of NO_PROXY exempts; raises `ValueError` where it says nothing."""
    try:
        return _Exemption(
            ip_network(re.sub(r"^\[(.*)\](?=/|$)", r"\1", entry), strict=False), "", port
        )
    except ValueError:
        if port is None and (parts := _WITH_PORT.fullmatch(entry)) and 0 < int(parts[2]) < 65536:
            return _exemption(parts[1], int(parts[2]))
    name = _NAME_PATTERN.fullmatch(entry)
    if not name or name[1].rpartition(".")[2].isdigit():
        raise ValueError
    return _Exemption(None, name[1].lower(), port)


def trusted_authorities(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """A context with the authorities of ``SSL_CERT_FILE``, else ``SSL_CERT_DIR``; None without.

    Raises:
        SettingsError: they cannot be used; it names the variable.
    """
    file, folders = environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR")
    if file:
        try:
            return ssl.create_default_context(cafile=file)
        except ssl.SSLError:
            raise SettingsError("SSL_CERT_FILE", "its file holds no certificates (PEM)") from None
        except OSError as error:
            raise SettingsError(
                "SSL_CERT_FILE", f"its file cannot be read: {error.strerror}"
            ) from None
    if folders:
        # OpenSSL skips what it cannot use, and would in the end trust nothing at all.
        if not any(map(_holds_certificates, folders.split(os.pathsep))):
            raise SettingsError(
                "SSL_CERT_DIR",
                "names no folder of certificates under their hashes (openssl rehash)",
            )
        return ssl.create_default_context(capath=folders)
    return None


def _holds_certificates(folder: str) -> bool:
    try:
        return any(re.fullmatch(r"[0-9a-f]{8}\.[0-9]+", name) for name in os.listdir(folder))
    except OSError:
        return False


def drop_key_log(environ: MutableMapping[str, str]) -> list[str]:
    """Remove SSLKEYLOGFILE where it cannot be written, for Python's ssl would fail in whatever
    uses TLS first; the warning about it."""
    path = environ.get("SSLKEYLOGFILE")
    if not path:
        return []
    try:
        # As OpenSSL opens it: rights that are there do not tell where a link leads.
        open(path, "ab").close()
    except OSError:
        del environ["SSLKEYLOGFILE"]
        return ["SSLKEYLOGFILE: its file cannot be written, so no keys of TLS are logged"]
    return []
