"""redis.url: one Redis, a Redis Cluster, or a master that Sentinels name, and how to connect to it.

Shapes, with what may be left out in parentheses:

    redis://(user:password@)host(:6379)(/database)       rediss:// is the same over TLS
    redis://(user:password@)host:port,host:port           members of one Redis Cluster
    unix://(user:password@)/path/of/redis.sock
    redis+sentinel://(user:password@)host(:26379),host/master(/database)    rediss+sentinel://

The options of the query bear the names that redis-py gives them. Each one is honoured or refused:
none is read by a library, and none is passed over in silence.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.settings.urls import ServerUrl, take_apart

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_OPTIONS = (*_TLS_FILES, "ssl_cert_reqs", "ssl_check_hostname")
_OPTIONS = (
    *("username", "password", "db", "client_name", "protocol"),
    *_SENTINEL_OPTIONS,
    *_TLS_OPTIONS,
)
_YES_OR_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """What redis.url says."""

    servers: tuple[tuple[str, int], ...]
    """Host and port of Redis, of members of a cluster, or, with `master`, of the Sentinels."""
    socket_path: str
    """Of a Unix socket, which stands instead of `servers`; else empty."""
    master: str
    """The name by which the Sentinels know the master; empty without Sentinels."""
    database: int
    username: str
    password: str = field(repr=False)
    sentinel_username: str
    sentinel_password: str = field(repr=False)
    client_name: str
    protocol: int | None
    """2 or 3 where the operator decides, else None: the newest that Redis knows."""
    tls: Mapping[str, Any] | None
    """redis-py's arguments for a connection over TLS; None without TLS."""


def redis_address(url: str) -> RedisAddress:
    """What `url` says, with every file that it names looked into.

    Raises:
        ValueError: with one sentence that quotes nothing of the URL.
    """
    parts = take_apart(url, _SCHEMES)
    sentinels = parts.scheme.endswith("+sentinel")
    options = _options(parts)
    path, master = parts.path, ""
    if any(host.startswith("/") for host, _ in parts.hosts):
        raise ValueError("must be unix:///path/of/the.sock where it is the path of a socket")
    if parts.scheme == "unix":
        if parts.hosts or path in ("", "/"):
            raise ValueError("must be unix:///path/of/the.sock, with three slashes")
        path = ""
    elif sentinels:
        named = re.fullmatch(r"/([A-Za-z0-9._-]+)(/.*)?", path)
        if not named or not parts.hosts:
            raise ValueError(
                "must name the Sentinels and the master they watch: redis+sentinel://a,b/master/0"
            )
        master, path = named[1], named[2] or ""
    default_port = 26379 if sentinels else 6379
    servers = tuple((host, port or default_port) for host, port in parts.hosts)
    return RedisAddress(
        servers=() if parts.scheme == "unix" else servers or (("localhost", default_port),),
        socket_path=parts.path if parts.scheme == "unix" else "",
        master=master,
        database=_database(path, options),
        username=parts.username or options.get("username", ""),
        password=parts.password or options.get("password", ""),
        sentinel_username=options.get("sentinel_username", ""),
        sentinel_password=options.get("sentinel_password", ""),
        client_name=options.get("client_name", ""),
        protocol=int(options["protocol"]) if "protocol" in options else None,
        tls=_tls(options) if parts.scheme.startswith("rediss") else None,
    )


def _options(parts: ServerUrl) -> dict[str, str]:
    options = dict(parts.options)
    if not set(options) <= set(_OPTIONS):
        # The name is not quoted: it may be what stands behind an & of a password.
        raise ValueError(
            f"has an option that does not exist here; there are {', '.join(_OPTIONS)}"
            " (scanpush decides itself about time limits, retries and connections);"
            " an & in a password is %26"
        )
    if len(options) < len(parts.options):
        raise ValueError("has an option twice")
    if "" in options.values():
        raise ValueError("has an option without a value")
    if (parts.username or parts.password) and {"username", "password"} & set(options):
        raise ValueError("has user name or password before the @ and as an option too; keep one")
    if not parts.scheme.startswith("rediss") and set(_TLS_OPTIONS) & set(options):
        raise ValueError(
            "has an option for TLS (ssl_…), which needs rediss:// or rediss+sentinel://"
        )
    if not parts.scheme.endswith("+sentinel") and set(_SENTINEL_OPTIONS) & set(options):
        raise ValueError("has an option for Sentinels, which needs redis+sentinel://")
    if not re.fullmatch(r"[!-~]{0,64}", options.get("client_name", "")):
        raise ValueError("client_name must be at most 64 ASCII characters without blanks")
    if options.get("protocol", "2") not in ("2", "3"):
        raise ValueError("protocol must be 2 or 3")
    return options


def _database(path: str, options: Mapping[str, str]) -> int:
    named = {number for number in (path.removeprefix("/"), options.get("db", "")) if number}
    if len(named) > 1:
        raise ValueError("names two databases, behind the server and as db")
    number = named.pop() if named else "0"
    if not re.fullmatch(r"[0-9]{1,9}", number):
        raise ValueError("the database behind the server must be a number, as in redis://host/0")
    return int(number)


def _tls(options: Mapping[str, str]) -> dict[str, Any]:
    """The options of TLS as redis-py takes them, once OpenSSL has taken the files."""
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise ValueError("ssl_keyfile is of use only with ssl_certfile")
    wanted = options.get("ssl_cert_reqs", "required")
    if wanted not in ("required", "none"):
        raise ValueError("ssl_cert_reqs must be required or none")
    check_hostname = _YES_OR_NO.get(options.get("ssl_check_hostname", "true").lower())
    if check_hostname is None:
        raise ValueError("ssl_check_hostname must be true or false")
    if wanted == "none" and "ssl_ca_certs" in options:
        raise ValueError("ssl_ca_certs is not looked at with ssl_cert_reqs=none; keep one")
    if wanted == "none" and options.get("ssl_check_hostname") and check_hostname:
        raise ValueError("ssl_check_hostname=true needs ssl_cert_reqs=required")
    files = {name: options[name] for name in _TLS_FILES if name in options}
    for name, path in files.items():
        try:
            open(path, "rb").close()
        except ValueError:
            raise ValueError(f"{name} must be the path of a file") from None
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise ValueError(f"{name} names a file that cannot be read: {reason}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_certs := files.get("ssl_ca_certs"):
        try:
            context.load_verify_locations(ca_certs)
        except ssl.SSLError:
            raise ValueError("ssl_ca_certs must name a PEM file with certificates") from None
    if certificate := files.get("ssl_certfile"):
        try:
            # Without the third argument OpenSSL would ask the terminal for a passphrase.
            context.load_cert_chain(certificate, files.get("ssl_keyfile"), lambda: b"")
        except ssl.SSLError:
            raise ValueError(
                "ssl_certfile and ssl_keyfile must name PEM files with a certificate and its key,"
                " without a passphrase"
            ) from None
    return {
        **files,
        "ssl_cert_reqs": wanted,
        "ssl_check_hostname": check_hostname and wanted == "required",
    }
