"""The client of MongoDB, and words for everything that goes wrong with it.

pymongo lets a keyword win over an option of the URL, and its errors quote commands, with openids,
and pieces of addresses. Here the URL wins, and every failure is told in words of this module.
"""

import asyncio
import errno
import logging
import os
import re
import ssl
import struct
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import bson
from bson.errors import BSONError
from pymongo import AsyncMongoClient
from pymongo.errors import (
    ConfigurationError,
    DuplicateKeyError,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
)

from services.errors import SettingsError
from services.settings.mongodb_url import (
    SCHEMES,
    SPELLING,
    Option,
    options_of,
    usable_compressors,
)
from services.settings.urls import take_apart

log = logging.getLogger("scanpush.people")

Document = dict[str, Any]

FOREIGN = (PyMongoError, BSONError, OSError)
"""All that pymongo raises; OSError includes the TimeoutError that asyncio raises."""

ODD_ANSWERS = (LookupError, ValueError, TypeError, AttributeError)
"""What pymongo raises besides while it authenticates with a server that breaks the rules of SCRAM
(RFC 5802, section 5): it reads the fields of the answers unchecked."""

_WAITS = {"connecttimeoutms": 0.8, "serverselectiontimeoutms": 0.8, "timeoutms": 1.0}
"""How much of the time for a call each wait of pymongo may take. The selection of a server and a
connection less than all, so that their reason is known when the call ends."""

_UNDER_TIMEOUT_MS = {"sockettimeoutms", "waitqueuetimeoutms", "wtimeoutms"}
"""What pymongo ignores as soon as timeoutMS is set."""


def make_client(url: str, timeout_seconds: float) -> AsyncMongoClient[Document]:
    """A client that has sent nothing yet: the URL's options, else those that scanpush needs.

    Waits of the URL that are longer than `timeout_seconds`, which ends every call, are shortened.

    Raises:
        SettingsError: `url` is none.
    """
    try:
        options = options_of(url, take_apart(url, SCHEMES))
        chosen = _keywords({option.name: option for option in options}, timeout_seconds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compressors
            return AsyncMongoClient(url, **chosen)
    except (*FOREIGN, ValueError, TypeError):
        raise SettingsError("mongodb.url", "cannot be used by MongoDB's driver") from None


def _keywords(given: Mapping[str, Option], timeout_seconds: float) -> dict[str, Any]:
    """Besides the URL, over whose options a keyword wins."""
    chosen: dict[str, Any] = {
        "appname": "scanpush",
        "w": "majority",
        "retrywrites": True,
        "retryreads": True,
    }
    if "minpoolsize" not in given:
        chosen["maxpoolsize"] = 64
    chosen = {name: value for name, value in chosen.items() if name not in given}
    for name, share in _WAITS.items():
        if name == "timeoutms" and name not in given and not _UNDER_TIMEOUT_MS.isdisjoint(given):
            continue
        longest = timeout_seconds * 1000 * share
        if name in given:
            asked = float(given[name].value)
            # 0 is for ever, but where a server is selected it is a wait of no length.
            if 0 < asked <= longest or (not asked and name == "serverselectiontimeoutms"):
                continue
            log.warning(
                "mongodb.url: %s: shortened, for each call ends after %g s: WeChat waits for 5 s",
                SPELLING[name],
                timeout_seconds,
            )
        chosen[name] = round(longest)
    if "w" in given and given["w"].value == "1":
        log.warning("mongodb.url: w=1: when the primary fails, logins of that moment may be lost")
    if "compressors" in given:
        usable = usable_compressors(given["compressors"].value)
        if len(usable) <= given["compressors"].value.count(","):
            log.warning("mongodb.url: compressors: only %s can be used here", ", ".join(usable))
    return chosen


@dataclass(frozen=True, slots=True)
class Problem:
    """A failure in words.

    `key` names the setting that only the operator can mend; empty where the failure may end by
    itself.
    """

    words: str
    key: str = ""


_URL, _DATABASE = "mongodb.url", "mongodb.database"

_UNAUTHORIZED = 13

_CLOSER_LOOK_SECONDS = 1.0

_OP_MSG = 2013
"""The opcode of all requests and answers since MongoDB 3.6."""

_NO_ANSWER = Problem("no answer in time")

ODD_AUTHENTICATION = Problem("the server breaks the rules of SCRAM when the user logs in", _URL)

_CODES = {
    8000: Problem("MongoDB refuses the user or the password", _URL),  # of MongoDB Atlas
    18: Problem(
        "MongoDB refuses the user or the password (authSource says where the user is kept)", _URL
    ),
    11: Problem("MongoDB does not know the user", _URL),
    334: Problem("MongoDB does not take this authMechanism", _URL),
    79: Problem("the replica set does not know the write concern that w names", _URL),
    100: Problem("the replica set has fewer members than w asks for", _URL),
    64: Problem("not enough members of the replica set confirmed the write in time"),
    85: Problem("the collection people has another index on user_id", _DATABASE),
    86: Problem("the collection people has another index on user_id", _DATABASE),
    14031: Problem("MongoDB is out of disk space"),
}
"""By the codes of the MongoDB manual, "Error Codes"."""

_NO_RETRYABLE_WRITES = (20, 301)
"""IllegalOperation, which MongoDB says of transaction numbers, and Amazon DocumentDB's code."""

_NOT_MENDED_BY_TIME = (2, 9, 59, 72, 115, 238)
"""BadValue, FailedToParse, CommandNotFound, InvalidOptions, CommandNotSupported, NotImplemented."""


def problem_of(
    error: BaseException, client: AsyncMongoClient[Document], command: str = "a command"
) -> Problem:
    """What `error`, which pymongo raised when `client` was to send `command`, means."""
    if isinstance(error, NotPrimaryError):
        return Problem("the server that answers is not the primary, so it takes no writes")
    if isinstance(error, OperationFailure):
        return _refusal(error, command, retries_writes=client.options.retry_writes)
    if isinstance(error, ConfigurationError) and not isinstance(error.__cause__, OSError):
        return _misfit(error)
    problems = list(dict.fromkeys(_servers_problems(client)))
    if not problems:
        return _connection_problem(error)
    fatal = all(problem.key for problem in problems)
    return Problem("; ".join(problem.words for problem in problems), _URL if fatal else "")


def _refusal(error: OperationFailure, command: str, *, retries_writes: bool) -> Problem:
    if isinstance(error, DuplicateKeyError):
        return Problem("the collection people holds two documents of one user_id", _DATABASE)
    if error.code is None:
        return ODD_AUTHENTICATION  # found by pymongo itself: a nonce or a signature is wrong
    if error.code == _UNAUTHORIZED:
        return Problem(
            f"MongoDB refuses {command}: that takes a user with the role readWrite on"
            " mongodb.database",
            _URL,
        )
    if error.code in _NO_RETRYABLE_WRITES and retries_writes:
        return Problem("this server takes no retryable writes: add retryWrites=false", _URL)
    if known := _CODES.get(error.code):
        return known
    name = (error.details or {}).get("codeName", "")
    shown = name if isinstance(name, str) and re.fullmatch(r"[A-Za-z]{1,60}", name) else "no name"
    key = _URL if error.code in _NOT_MENDED_BY_TIME else ""
    return Problem(f"the server refuses {command}: code {error.code} ({shown})", key)


def _misfit(error: ConfigurationError) -> Problem:
    if error.__cause__ is not None:
        return Problem("DNS has no usable SRV records of the host now")
    if "wire version" in str(error):
        return Problem("the server's version is too old or too new for this pymongo", _URL)
    if "SRV host" in str(error):
        return Problem("the SRV records of the host lead out of its domain", _URL)
    return Problem("the server does not offer what an option of the URL asks for", _URL)


def _servers_problems(client: AsyncMongoClient[Document]) -> Iterator[Problem]:
    """Why no server can be used, as the client's monitors found it."""
    topology = client.topology_description
    servers = topology.server_descriptions().values()
    for server in servers:
        if server.error is not None:
            yield _connection_problem(server.error)
    if topology.topology_type_name == "ReplicaSetNoPrimary":
        if not servers:
            yield Problem("no server is a member of the replica set that replicaSet names", _URL)
        elif any(server.server_type_name.startswith("RS") for server in servers):
            yield Problem("the replica set has no primary now, so it takes no writes")


_CLOSED = Problem("the server closes the connection")

_CONNECTION_PROBLEMS = {
    "certificate has expired": Problem("the server's certificate has expired", _URL),
    "mismatch, certificate is not": Problem("the server's certificate is another host's", _URL),
    "CERTIFICATE_VERIFY_FAILED": Problem(
        "no CA that is known here has signed the server's certificate (tlsCAFile names one)", _URL
    ),
    "CERTIFICATE_REQUIRED": Problem(
        "the server wants a client certificate (tlsCertificateKeyFile)", _URL
    ),
    "HANDSHAKE_FAILURE": Problem(
        "the server agrees to no TLS; it may want a client certificate (tlsCertificateKeyFile)",
        _URL,
    ),
    "ALERT_UNKNOWN_CA": Problem(
        "the server does not trust the certificate of tlsCertificateKeyFile", _URL
    ),
    "BAD_CERTIFICATE": Problem("the server refuses the certificate of tlsCertificateKeyFile", _URL),
    "WRONG_VERSION_NUMBER": Problem("the server speaks no TLS, and tls=true asks for it", _URL),
    "SSL": Problem("TLS with the server fails"),
    f"[Errno {errno.ECONNREFUSED}]": Problem("the server's port refuses connections"),
    f"[Errno {errno.ECONNRESET}]": _CLOSED,
    "[Errno -": Problem("the name of the host is unknown to DNS"),
    "connection closed": _CLOSED,
    "connection is already closed": _CLOSED,
    "Connection is closed": _CLOSED,
}
"""By a part of the text: pymongo keeps nothing else of an error that one of its monitors met. The
parts in capitals are OpenSSL's names of alerts and errors, a negative number is getaddrinfo's."""


def _connection_problem(error: BaseException) -> Problem:
    text = str(error)
    for part, problem in _CONNECTION_PROBLEMS.items():
        if part in text:
            return problem
    if number := re.search(r"\[Errno (\d+)\]", text):
        return Problem(os.strerror(int(number[1])))
    if isinstance(error, ConfigurationError):
        return Problem("the server is not of the replica set that replicaSet names", _URL)
    return _NO_ANSWER


async def looked_at_closely(
    problem: Problem, url: str, client: AsyncMongoClient[Document]
) -> Problem:
    """Why a server closes the connection or does not answer, where asking it once more can tell.

    pymongo does not pass on the alert by which a server says that it wants a certificate, and a
    server that speaks only TLS closes plain connections without a word. Of what is no MongoDB,
    pymongo takes the first bytes for a length, and waits for the rest.
    """
    if problem not in (_CLOSED, _NO_ANSWER):
        return problem
    parts = take_apart(url, SCHEMES)
    values = {option.name: option.value for option in options_of(url, parts)}
    uses_tls = parts.scheme == "mongodb+srv" or any(
        name.startswith(("tls", "ssl")) and value != "false" for name, value in values.items()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if file := values.get("tlscertificatekeyfile"):
        context.load_cert_chain(file, password=values.get("tlscertificatekeyfilepassword", ""))
    host, port = next(iter(client.topology_description.server_descriptions()))
    if port is None:  # the path of a socket in the file system, where no TLS is spoken
        return problem
    try:
        async with asyncio.timeout(_CLOSER_LOOK_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                if not uses_tls:
                    return Problem("the server speaks TLS: add tls=true", _URL)
                await reader.read(1)
            finally:
                writer.transport.abort()
    except OSError as error:
        found = _connection_problem(error)
        if found.key and uses_tls:
            return found
    if not uses_tls and await _answers_otherwise(host, port):
        return Problem(f"what answers at {host}:{port} does not speak MongoDB's protocol", _URL)
    return problem


async def _answers_otherwise(host: str, port: int) -> bool:
    """Whether the answer to a hello is no message of the MongoDB Wire Protocol."""
    document = b"\0" * 5 + bson.encode({"hello": 1, "$db": "admin"})
    request = struct.pack("<iiii", 16 + len(document), 1, 0, _OP_MSG) + document
    try:
        async with asyncio.timeout(_CLOSER_LOOK_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request + b"\r\n\r\n")  # a server that reads lines waits for these
                head = await reader.read(16)
            finally:
                writer.transport.abort()
    except OSError:
        return False
    is_reply = len(head) == 16 and struct.unpack_from("<ii", head, 8) == (1, _OP_MSG)
    return bool(head) and not is_reply
