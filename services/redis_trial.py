"""What a Redis must let scanpush do, tried at the start; and its failures in words.

A failure is told by who can mend it. `SettingsError` is for what only the operator can: the exit
code is 2, and the line names the right, the option or the command. Everything else may be over a
moment later and is `StoreUnavailable`. Redis's own texts are quoted only as far as they cannot hold
a secret: an unknown HELLO is answered with all of its arguments, the password among them.
"""

import asyncio
import contextlib
import re
import secrets
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from os import strerror
from typing import Any

from redis import exceptions

from services.errors import SettingsError, StoreUnavailable
from services.logs import MASK
from services.settings.redis_url import RedisAddress

LEAST_RIGHTS = (
    "~scanpush:* &scanpush:* +@read +@write +@connection +@scripting +@pubsub +time"
    " (on a cluster also +cluster|slots)"
)
"""What the start asks of an ACL (redis.io, "ACL"). TIME is in no category but @fast."""

Command = tuple[str | bytes | int | float, ...]

_CHANNEL = "scanpush:trial"
_SCRIPT = "return redis.call('TIME')"
_SCRIPT_SHA = "104ae65debf45156ded1e8e613705534c8e62c17"

_TRANSIENT = ("LOADING", "BUSY", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN")
"""Codes of refusals that end by themselves, or once the server has been helped."""

_PROBE_SECONDS = 0.5


def trial_key(number: int | None = None) -> str:
    """A key for one trial; with a number, one of a known slot."""
    return f"scanpush:trial:{secrets.token_hex(4) if number is None else number}"


def commands_of_a_trial(key: str) -> list[Command]:
    """Every command that a login uses, directly or in a script, on a key that is gone after it.

    The last one subscribes, so the connection is of no other use afterwards.
    """
    return [
        ("SET", key, "", "PX", 1000),
        ("GET", key),
        ("GETDEL", key),
        ("HSET", key, "field", "value"),
        ("PEXPIREAT", key, 4102444800000),
        ("PEXPIRE", key, 1000),
        ("HGET", key, "field"),
        ("HMGET", key, "field"),
        ("HGETALL", key),
        ("DEL", key),
        ("ZADD", key, 1, "member"),
        ("EXPIRE", key, 1),
        ("ZRANGEBYSCORE", key, "-inf", "+inf"),
        ("ZREM", key, "member"),
        ("ZSCORE", key, "member"),
        ("RPUSH", key, "told"),
        ("EXPIRE", key, 1),
        ("LRANGE", key, 0, 0),
        ("LINDEX", key, 0),
        ("LTRIM", key, 1, -1),
        ("INCR", key),
        ("DEL", key),
        ("TIME",),
        ("EVAL", _SCRIPT, 1, key),
        ("EVALSHA", _SCRIPT_SHA, 1, key),
        ("PING",),  # the heartbeat of notices
        ("PUBLISH", _CHANNEL, ""),
        ("SUBSCRIBE", _CHANNEL),
    ]


def check_trial(
    commands: Sequence[Command],
    answers: Sequence[Any],
    address: RedisAddress,
    server: str,
    *,
    of_cluster: bool = False,
) -> None:
    """Raise what the answers to a trial amount to, all missing rights and commands at once."""
    rights: list[str] = []
    unknown: list[str] = []
    others: list[Exception] = []
    for command, answer in zip(commands, answers, strict=True):
        if isinstance(answer, exceptions.NoPermissionError):
            rights.append(_right(answer) or f"+{str(command[0]).lower()}")
        elif isinstance(answer, exceptions.ResponseError) and "unknown command" in str(answer):
            unknown.append(str(command[0]))
        # A slot of a cluster may be moving to another master at this moment.
        elif isinstance(answer, Exception) and not (
            of_cluster and isinstance(answer, exceptions.AskError)
        ):
            others.append(answer)
    if unknown:
        raise SettingsError(
            "redis.url",
            f"this Redis does not know {' '.join(dict.fromkeys(unknown))}: Redis 6.2 or newer is"
            " needed, and no command may be renamed",
        )
    if rights:
        raise _lacks(*rights)
    if others:
        raise failure(others[0], address, server) from others[0]


def _right(error: exceptions.NoPermissionError) -> str:
    """The rule of an ACL that is missing, as far as the error says."""
    text = str(error)
    if command := re.search(r"'([a-z|]+)' command", text):
        return f"+{command[1]}"
    return "&scanpush:*" if "channel" in text else "~scanpush:*" if "key" in text else ""


def _lacks(*rights: str) -> SettingsError:
    return SettingsError(
        "redis.url",
        f"this Redis user lacks {' '.join(dict.fromkeys(rights))}; it needs {LEAST_RIGHTS}",
    )


def in_words(error: BaseException, address: RedisAddress) -> str:
    """Why a call to the Redis of `address` failed, without what may hold a secret."""
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return "no answer in time"
    cause = _cause(error)
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {getattr(cause, 'verify_message', '') or cause.reason or 'failed'}"
    if isinstance(cause, socket.gaierror):
        return "its host name is not known here"
    if isinstance(cause, OSError):
        return strerror(cause.errno) if cause.errno else "cannot be reached"
    # A server may quote what it was sent, whole or cut; passwords are behind these words.
    text = re.split(r"(?i), with args|(?<=\bauth\b)|(?<=\bhello\b)", str(error), maxsplit=1)[0]
    for password in filter(None, (address.password, address.sentinel_password)):
        text = text.replace(password, MASK)
    return f"{type(error).__name__}: {text}"[:200]


def _cause(error: BaseException | None) -> OSError | None:
    """The system's error behind one of redis-py's about the connection."""
    while error is not None and not isinstance(error, OSError):
        if not isinstance(error, exceptions.ConnectionError | exceptions.RedisClusterException):
            return None
        error = error.__cause__ or error.__context__
    return error


def failure(
    error: BaseException, address: RedisAddress, server: str
) -> SettingsError | StoreUnavailable:
    """A failure of the first calls to `server`, by who can mend it."""
    text, cause = str(error), _cause(error)
    problem = ""
    if isinstance(error, exceptions.NoPermissionError):
        return _lacks(_right(error) or "a right")
    if isinstance(error, exceptions.AuthenticationError) or "NOAUTH" in text:
        problem = "Redis refuses the password (or wants one)"
        if address.username:
            problem = "Redis refuses the user name or its password"
    elif "DB index" in text:
        problem = "Redis has no database of that number"
    elif isinstance(error, exceptions.InvalidResponse):
        problem = f"what answers at {server} does not speak Redis's protocol"
    elif isinstance(error, exceptions.MovedError):
        return _lacks("+cluster|slots")
    elif "not allowed in cluster mode" in text:
        problem = "leads to a Redis Cluster, which has no database but 0"
    elif "DENIED" in text:
        problem = "Redis is in protected mode and lets in no other machine: give it a password"
    elif isinstance(error, exceptions.ReadOnlyError) and not address.master:
        problem = "names a replica, which takes no writes; name its master, or the Sentinels"
    elif isinstance(cause, ssl.SSLCertVerificationError):
        problem = (
            f"Redis's certificate is not accepted ({cause.verify_message}); ssl_ca_certs names the"
            " file of its CA, and the host must be the one it was issued for"
        )
    elif isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
        problem = _client_certificate(address)
    elif (
        isinstance(error, exceptions.ResponseError)
        and not isinstance(error, exceptions.ReadOnlyError | exceptions.OutOfMemoryError)
        and not text.startswith(_TRANSIENT)
        and not isinstance(error, exceptions.ClusterError | exceptions.TryAgainError)
    ):
        problem = f"Redis refuses what a login needs: {in_words(error, address)}"
    if problem:
        return SettingsError("redis.url", problem)
    reason = in_words(error, address)
    if "max number of clients" in text:
        reason = "has as many clients as its maxclients allows"
    return StoreUnavailable(f"Redis at {server}: {reason} (see redis.url)")


def _client_certificate(address: RedisAddress) -> str:
    if address.tls and "ssl_certfile" in address.tls:
        return "Redis does not accept the certificate of ssl_certfile"
    return "Redis wants a certificate from its clients: ssl_certfile and ssl_keyfile name one"


async def explained(
    error: BaseException, address: RedisAddress, host: str, port: int
) -> SettingsError | StoreUnavailable:
    """A failed first call, after a closer look at the server.

    In protected mode, and when it has too many clients, Redis says so unasked and closes; what was
    sent to it meanwhile makes that a reset. A server that expects TLS drops a plain connection
    without a word, one that does not know it waits for the rest of the handshake, and one that
    wants a certificate resets the connection after it. So it is asked once more in other ways.
    """
    server = f"{host}:{port}"
    clear = socket.gaierror | ConnectionRefusedError | ssl.SSLCertVerificationError
    if isinstance(_cause(error), clear) or not isinstance(
        error, exceptions.ConnectionError | exceptions.TimeoutError | OSError
    ):
        return failure(error, address, server)
    problem = ""
    if address.tls is None:
        if said := await _said_unasked(host, port):
            full = "max number of clients" in said
            error = exceptions.ConnectionError(said) if full else exceptions.ResponseError(said)
        elif await _answers(host, port, over_tls=True) is not None:
            problem = "this Redis speaks TLS: the address begins with rediss://"
    elif await _answers(host, port, over_tls=False):
        problem = "this Redis does not speak TLS: the address begins with redis://"
    elif "ssl_certfile" not in address.tls and await _answers(host, port, over_tls=True) is False:
        problem = _client_certificate(address)
    return SettingsError("redis.url", problem) if problem else failure(error, address, server)


async def _said_unasked(host: str, port: int) -> str:
    """The refusal with which a server meets a new connection, or nothing."""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(_PROBE_SECONDS / 2):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                line = (await reader.readline()).decode(errors="replace")
                return line[1:].strip() if line.startswith("-") else ""
            finally:
                writer.transport.abort()
    return ""


async def _answers(host: str, port: int, *, over_tls: bool) -> bool | None:
    """Whether a PING is answered; None where not even the handshake succeeds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only to find out
    writer = None
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context if over_tls else None
            )
            writer.write(b"PING\r\n")
            return await reader.read(1) in (b"+", b"-")
    except OSError as error:
        alerted = isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")
        return False if alerted or (writer is not None and over_tls) else None
    finally:
        if writer is not None:
            writer.transport.abort()


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a server says of itself."""

    mode: str
    """``standalone``, ``sentinel`` or ``cluster`` (redis.io, "HELLO")."""
    protocol: int
    """3 where it knows HELLO, else 2."""
    eviction: str
    """The ``maxmemory-policy``; empty where the user may not ask."""
    version: str
    """As ``HELLO`` or ``INFO`` tell it; empty where neither may be asked."""


def commands_of_an_introduction(protocol: int | None) -> list[Command]:
    """`protocol`: as the operator has decided; a proxy that drops the connection at a HELLO is not
    sent one with 2."""
    hello: list[Command] = [] if protocol == 2 else [("HELLO", 3), ("HELLO", 2)]
    return [*hello, ("INFO",), ("CONFIG", "GET", "maxmemory-policy"), ("CLUSTER", "SLOTS")]


def introduction(protocol: int | None, answers: Sequence[Any]) -> Introduction:
    """From the answers to `commands_of_an_introduction`.

    Raises:
        SettingsError: it is a cluster and may not be asked for its members, or the protocol that
            the operator has decided for is not spoken.
    """
    *hello, info, policy, slots = answers
    knows_3 = bool(hello) and isinstance(hello[0], dict)
    if protocol == 3 and not knows_3:
        raise SettingsError("redis.url", "protocol=3 needs HELLO, which this Redis does not know")
    told = dict(re.findall(r"(\w+):(\S+)", info if isinstance(info, str) else ""))
    mode = told.get("redis_mode", "standalone")
    if knows_3:
        mode = str(hello[0].get("mode", mode))
    elif isinstance(slots, list):
        mode = "cluster"
    if mode == "cluster" and isinstance(slots, exceptions.NoPermissionError):
        raise _lacks("+cluster|slots")
    eviction = told.get("maxmemory_policy", "")
    if not eviction and isinstance(policy, list) and len(policy) == 2:
        eviction = str(policy[1])
    version = told.get("valkey_version") or told.get("redis_version", "")
    if not version and knows_3:
        version = str(hello[0].get("version", ""))
    return Introduction(mode, 3 if knows_3 else 2, eviction, version)
