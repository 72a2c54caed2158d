"""Real servers for tests: each on an unused loopback port, in a folder of its own, stopped exactly.

Nothing here is shared with a server that already runs on the machine, and only the processes
started here are ever signalled.
"""

import contextlib
import datetime
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.programs import free_port

STARTS_WITHIN_SECONDS = 20


def need(program: str, *, hint: str) -> str:
    """The path of `program`; without it the test is skipped aloud, and fails under CI."""
    beside_python = Path(sys.executable).with_name(program)
    path = str(beside_python) if beside_python.exists() else shutil.which(program)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{program} is required under CI: {hint}")
        pytest.skip(f"SKIPPED LOUDLY: {program} is missing: {hint}")
    return path


class Server:
    """One child process that listens on one port; `stop` may be called twice."""

    starts_within_seconds = STARTS_WITHIN_SECONDS

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it does its work; here: whether it listens."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def start(self) -> None:
        """Start it on the same port as before and wait until it answers."""
        with open(self.folder / "output", "ab") as output:
            self._process = subprocess.Popen(
                self.command(), cwd=self.folder, stdout=output, stderr=output
            )
        problem = f"{self.command()[0]} does not answer"
        until(self.answers, problem, self.starts_within_seconds)

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, without a chance to tidy."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(how)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Stop it in its tracks: connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Startable(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


S = TypeVar("S", bound=Startable)


@contextlib.contextmanager
def started(server: S) -> Iterator[S]:
    """The server while it runs; it is stopped also where its start fails."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


def until(true: Callable[[], bool], problem: str, seconds: float = STARTS_WITHIN_SECONDS) -> None:
    """Poll until `true`, or fail the test; for start-up only, outside of the event loop."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"{problem} after {seconds} s")
        time.sleep(0.02)


class RedisServer(Server):
    """A redis-server that writes nothing unless `options` say so."""

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        super().__init__(folder, port)
        self._program = need("redis-server", hint="apt-get install redis-server")
        self._options = options
        self.password = ""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        defaults = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--daemonize", "no")
        return [self._program, "--port", str(self.port), *defaults, *self._options]

    def answers(self) -> bool:
        try:
            reply = self.ask("PING")
        except OSError:
            return False
        return reply.startswith((b"+PONG", b"-NOAUTH"))

    def ask(self, *words: str) -> bytes:
        """Send one command on a connection of its own; the beginning of the raw answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.settimeout(5)
            commands = [("AUTH", self.password)] if self.password else []
            connection.sendall(b"".join(_resp(*command) for command in [*commands, words]))
            reply = connection.recv(65536)
            if commands and reply.count(b"\r\n") < 2:
                reply += connection.recv(65536)
            return reply.removeprefix(b"+OK\r\n") if commands else reply


class TlsRedisServer(RedisServer):
    """A redis-server that speaks nothing but TLS, with a self-signed certificate for 127.0.0.1,
    which a client may use as its own, too."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
        now = datetime.datetime.now(datetime.UTC)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        uses = ("digital_signature", "key_cert_sign")
        others = (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("crl_sign", "encipher_only", "decipher_only"),
        )
        usage = x509.KeyUsage(**dict.fromkeys(uses, True), **dict.fromkeys(others, False))
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(address, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(authority, critical=False)
            .sign(key, hashes.SHA256())
        )
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        self.certificate.write_bytes(certificate.public_bytes(pem))
        self.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        files = [f"--tls-{name}-file cert.pem" for name in ("cert", "ca-cert")]
        words = " ".join((*files, "--tls-key-file key.pem")).split()
        super().__init__(folder, "--port", "0", *words, *options)
        self._options += ("--tls-port", str(self.port))

    def answers(self) -> bool:
        return Server.answers(self)  # what `RedisServer` asks is not encrypted


def _resp(*words: str) -> bytes:
    """One command in the Redis serialization protocol (redis.io, "RESP protocol")."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


class MongoServer(Server):
    """nx-27017 from PyPI: MongoDB's protocol over SQLite, one file a database in `folder`."""

    program = "nx-27017"

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(folder, port)
        self._program = need(self.program, hint="scripts/test installs it, or pip install .[test]")

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        files = ("--data-dir", "databases", "--pid-file", "pid", "--log-file", "log")
        return [self._program, "--host", "127.0.0.1", "--port", str(self.port), *files]


class SecantusServer(MongoServer):
    """SecantusDB from PyPI: MongoDB's protocol over WiredTiger, which is MongoDB's own storage.

    Against nx-27017 it has the error codes of a mongod, SCRAM, TLS, and it is the primary of a
    replica set named ``secantus``, so that drivers retry writes; it takes three times as long.
    """

    program = "secantusd-py"

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self._options = options

    def command(self) -> list[str]:
        where = ("--host", "127.0.0.1", "--port", str(self.port), "--storage-path", "databases")
        return [self._program, *where, "--cache-size", "64M", *self._options]


def any_mongo_server(folder: Path) -> MongoServer:
    """The one that TEST_MONGODB_SERVER names, or nx-27017, which is the faster one."""
    if os.environ.get("TEST_MONGODB_SERVER") == SecantusServer.program:
        # As the member of a replica set it would name its own port, and a proxy before it would
        # be passed by.
        return SecantusServer(folder, "--standalone")
    return MongoServer(folder)
