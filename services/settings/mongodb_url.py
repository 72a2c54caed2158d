"""What mongodb.url may say: each of its options is honoured, or refused by name.

pymongo takes the URL apart in another way than its author means where a password is not encoded,
ignores an option that it does not know with a warning, and quotes values in its errors. Here the
URL is taken apart first; pymongo then says whether it takes an option, never in what words.
"""

import difflib
import importlib.util
import itertools
import os
import re
import ssl
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from bson.errors import BSONError
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from services.settings.urls import ENCODE, ServerUrl, take_apart

SCHEMES = ("mongodb", "mongodb+srv")

OPTIONS = (
    *("appName", "authMechanism", "authMechanismProperties", "authSource", "compressors"),
    *("connectTimeoutMS", "directConnection", "heartbeatFrequencyMS", "journal", "loadBalanced"),
    *("localThresholdMS", "maxConnecting", "maxIdleTimeMS", "maxPoolSize", "minPoolSize"),
    *("readConcernLevel", "readPreference", "replicaSet", "retryReads", "retryWrites"),
    *("serverMonitoringMode", "serverSelectionTimeoutMS", "socketTimeoutMS", "srvMaxHosts"),
    *("srvServiceName", "ssl", "timeoutMS", "tls", "tlsAllowInvalidCertificates"),
    *("tlsAllowInvalidHostnames", "tlsCAFile", "tlsCertificateKeyFile"),
    *("tlsCertificateKeyFilePassword", "tlsCRLFile", "tlsDisableOCSPEndpointCheck"),
    *("tlsInsecure", "uuidRepresentation", "w", "waitQueueTimeoutMS", "wTimeoutMS"),
    "zlibCompressionLevel",
)
"""The options of MongoDB's "Connection String Options" that are honoured. Case does not matter."""

FILES = ("tlscafile", "tlscertificatekeyfile", "tlscrlfile")

SPELLING = {option.lower(): option for option in OPTIONS}

_PACKAGES = {
    "GSSAPI": (("kerberos", "winkerberos"), "pymongo[gssapi]"),
    "MONGODB-AWS": (("pymongo_auth_aws",), "pymongo[aws]"),
}

_ONLY_PRIMARY = "reads go to the primary: a login must see what the one before it wrote"

_CURRENT_READS = ("local", "majority", "linearizable")


@dataclass(frozen=True, slots=True)
class Option:
    name: str
    """In lower case."""
    value: str
    text: str
    """As it stands in the URL."""


def options_of(url: str, parts: ServerUrl) -> list[Option]:
    texts = (text for text in url.partition("?")[2].split("&") if text)
    return [
        Option(name.lower(), value, text)
        for text, (name, value) in zip(texts, parts.options, strict=True)
    ]


def check_url(url: str) -> None:
    """Whether `url` can be used, without asking DNS and without looking at files that it names.

    Raises:
        ValueError: with one sentence that quotes nothing of the address but names of options.
    """
    parts = take_apart(url, SCHEMES)
    if not url.startswith(SCHEMES):
        raise ValueError("must begin with mongodb:// or mongodb+srv://, in small letters")
    if not parts.hosts:
        raise ValueError("names no host")
    user = url.partition("://")[2].rpartition("@")
    if user[1] and not parts.username:
        raise ValueError("has an @, but no user name before it")
    if user[0].count(":") > 1:
        raise ValueError(ENCODE)
    if parts.scheme == "mongodb+srv":
        (host, port), *others = parts.hosts
        if others or port is not None or not re.search(r"[^0-9.:]", host):
            raise ValueError("with mongodb+srv:// must name one host, by its name, without a port")
    if ";" in url.partition("?")[2]:
        raise ValueError("must separate its options by & (a ; in a value is %3B)")
    options = options_of(url, parts)
    for number, option in enumerate(options, 1):
        _check_option(option, number)
        if option.name in {earlier.name for earlier in options[: number - 1]}:
            raise ValueError(f"gives {SPELLING[option.name]} twice")
        if option.name.startswith("srv") and parts.scheme != "mongodb+srv":
            raise ValueError(f"{SPELLING[option.name]} goes only with mongodb+srv://")
    elsewhere = (*FILES, "compressors")
    _check_together(parts, [option for option in options if option.name not in elsewhere])


def _check_option(option: Option, number: int) -> None:
    name, value = option.name, option.value
    spelling = SPELLING.get(name)
    if spelling is None:
        if name in ("readpreferencetags", "maxstalenessseconds"):
            raise ValueError(f"must be without readPreferenceTags: {_ONLY_PRIMARY}")
        # Not quoted: it may be the end of a password in which a character is not encoded.
        near = difflib.get_close_matches(name, SPELLING, 1, cutoff=0.6)
        hint = f"; did you mean {SPELLING[near[0]]}?" if near else ""
        raise ValueError(f"option no. {number} is none that scanpush knows{hint}")
    if not value:
        raise ValueError(f"{spelling} has no value")
    if name == "w" and re.fullmatch(r"[+-]?0+", value):
        raise ValueError("w=0 would not tell whether a login is saved; leave it out, or w=majority")
    if name == "readpreference" and value != "primary":
        raise ValueError(f"readPreference must be primary or left out: {_ONLY_PRIMARY}")
    if name == "readconcernlevel" and value not in _CURRENT_READS:
        raise ValueError(f"readConcernLevel must be one of {', '.join(_CURRENT_READS)}")
    if name == "authmechanism" and value in _PACKAGES:
        modules, package = _PACKAGES[value]
        if not any(importlib.util.find_spec(module) for module in modules):
            raise ValueError(f"authMechanism={value} needs a package: pip install '{package}'")
    if name == "compressors" and not usable_compressors(value):
        raise ValueError(
            "compressors names none that this installation has: zlib needs nothing more, snappy"
            " and zstd need pip install 'pymongo[snappy,zstd]'"
        )


def usable_compressors(names: str) -> list[str]:
    return [
        name for name in names.split(",") if _is_taken(f"mongodb://h/?compressors={quote(name)}")
    ]


def _check_together(parts: ServerUrl, options: Sequence[Option]) -> None:
    """What pymongo refuses; its reason is not quoted, so the options are then tried in parts."""
    scheme = f"{parts.scheme}://"
    user = "u:p@" if parts.password else "u@" if parts.username else ""
    host = "h.example.org" if parts.scheme == "mongodb+srv" else "h"
    hosts = ",".join([host] * len(parts.hosts))

    def fits(*some: Option, users: Sequence[str], hosts: str = host) -> bool:
        query = "&".join(option.text for option in some)
        return any(_is_taken(f"{scheme}{user}{hosts}/?{query}") for user in users)

    if fits(*options, users=(user,), hosts=hosts):
        return
    for option in options:
        if not fits(option, users=("", "u@", "u:p@")):
            raise ValueError(f"{SPELLING[option.name]} has a value that MongoDB's driver refuses")
    for one, two in itertools.combinations(options, 2):
        if not fits(one, two, users=("", "u@", "u:p@")):
            names = f"{SPELLING[one.name]} and {SPELLING[two.name]}"
            raise ValueError(f"{names} contradict each other")
    for option in options:
        if not fits(option, users=(user,), hosts=hosts):
            raise ValueError(
                f"{SPELLING[option.name]} does not go with the rest of the URL: the number of"
                " hosts, the user name, the password"
            )
    raise ValueError("has a user name without a password, or options that do not go together")


def _is_taken(url: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # Neither connects nor asks DNS before its first command.
            AsyncMongoClient(url, connect=False)
    except (PyMongoError, BSONError, OSError, LookupError, ValueError, TypeError, Warning):
        return False
    return True


def check_use(url: str, database: str) -> None:
    """Whether a checked `url` fits this machine's files and the setting mongodb.database.

    A database in the URL is where pymongo looks for the user, unless authSource says so; the
    people are in mongodb.database. Two different names are therefore a mistake, except for
    ``admin``, where users are usually kept.

    Raises:
        ValueError: as `check_url`.
    """
    parts = take_apart(url, SCHEMES)
    values = {option.name: option.value for option in options_of(url, parts)}
    for name in FILES:
        if name in values:
            try:
                _load(name, values[name], values.get("tlscertificatekeyfilepassword", ""))
            except ssl.SSLError:
                raise ValueError(f"{SPELLING[name]} names a file that {_HOLDS[name]}") from None
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else "cannot be read"
                raise ValueError(f"{SPELLING[name]} names a file: {reason}") from None
    named = parts.path.strip("/")
    is_source = parts.username and named == "admin" and values.get("authsource", "admin") == "admin"
    if named and named != database and not is_source:
        raise ValueError(
            "names another database than mongodb.database: leave it out, or make the two the same"
            " (where the user is kept says ?authSource=...)"
        )


_HOLDS = {
    "tlscafile": "holds no certificate in PEM",
    "tlscrlfile": "holds no revocation list in PEM",
    "tlscertificatekeyfile": "does not hold a certificate and its key in PEM, or whose key needs"
    " another tlsCertificateKeyFilePassword",
}


def _load(name: str, path: str, password: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if name == "tlscertificatekeyfile":
        # An empty password, because without one OpenSSL asks for it on the terminal.
        context.load_cert_chain(path, password=password)
    else:
        context.load_verify_locations(path)
