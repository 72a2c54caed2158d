"""The keys that sign tokens: what a key is, and the file that holds them.

The file is a JSON Web Key Set (RFC 7517) with the private parts, newest key first, mode 0600. All
of its keys are published and verify. Of each algorithm that is in use (jwt.algorithm, and those of
the ID tokens of oidc.clients, RS256 for most) the newest key signs, once it has been published for
jwt.publish_ahead_seconds; until then the one before it does. To rotate, without stopping anything
for longer than a restart (with --algorithm RS256 for the key of the ID tokens):

    .venv/bin/python -m services.tokens.keys add data/jwt-keys.json    # then restart every node
    .venv/bin/python -m services.tokens.keys list data/jwt-keys.json
    .venv/bin/python -m services.tokens.keys remove data/jwt-keys.json KID    # then restart again

Remove the old key when the new one signs (the log says so) and jwt.ttl_seconds have passed since.

A key belongs to exactly one algorithm, which follows from its type and never from a token
(RFC 8725, section 3.1). Its name, the ``kid``, is its thumbprint (RFC 7638), so that two nodes
cannot give one name to two keys.
"""

import argparse
import fcntl
import hashlib
import json
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from services.errors import SettingsError
from services.ids import base64url
from services.settings.models import JwtSettings

log = logging.getLogger("scanpush.tokens")

SETTING = "jwt.key_file"

PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey
PublicKey = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey

SECRET_KID = "secret"
"""The name of the key of HS256 within a server. Its tokens carry no ``kid``: the thumbprint of a
secret would let others try guesses (RFC 7638, section 7)."""

RSA_BITS = 2048
"""The least that RFC 7518, section 3.3, allows for RS256, and the size of new keys."""

ALGORITHMS: Mapping[tuple[str, str | None], str] = MappingProxyType(
    {("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA", ("RSA", None): "RS256"}
)
"""The algorithm of each kind of key, by ``kty`` and ``crv``."""

PUBLIC_MEMBERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
)
"""What makes up a public key, in the order its thumbprint takes (RFC 7638, section 3.2)."""


class KeyProblem(ValueError):
    """A JSON Web Key that cannot be used. The text holds nothing of the key."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key ready for use: building it for each token would cost more than signing.

    `private` is None for another node's key; both are bytes for HS256.
    """

    kid: str
    algorithm: str
    private: PrivateKey | bytes | None
    public: PublicKey | bytes
    jwk: Mapping[str, str]
    """The public spelling, for the JWKS; empty for HS256, which has none."""


def generate(algorithm: str) -> Key:
    """A new key pair for ES256, EdDSA or RS256."""
    match algorithm:
        case "ES256":
            return _of_private(generate_private_key(SECP256R1()))
        case "EdDSA":
            return _of_private(Ed25519PrivateKey.generate())
        case "RS256":
            return _of_private(generate_rsa(public_exponent=65537, key_size=RSA_BITS))
    raise KeyProblem(f"no key pair can be made for {algorithm}")


def shared_secret(secret: bytes) -> Key:
    """The key of HS256."""
    return Key(SECRET_KID, "HS256", secret, secret, MappingProxyType({}))


def private_jwk(key: Key) -> dict[str, str]:
    """The whole key as a JSON Web Key: a secret."""
    return {"kid": key.kid, "alg": key.algorithm, "use": "sig"} | _members(key.private)


def read_private(jwk: object) -> Key:
    """The key of a private JSON Web Key.

    The public half is derived from the private one, whatever the text says it is.

    Raises:
        KeyProblem: it is not one, or not for a supported algorithm.
    """
    key = _parse_jwk(jwk)
    if not isinstance(key, PrivateKey):
        raise KeyProblem("has no private part")
    return _of_private(key)


def read_public(jwk: object) -> Key:
    """The key of a public JSON Web Key, as another node publishes it.

    Raises:
        KeyProblem: it is not one, or not for a supported algorithm, or holds a private part.
    """
    key = _parse_jwk(jwk)
    if not isinstance(key, PublicKey):
        raise KeyProblem("has a private part")
    return _of_public(key)


def _parse_jwk(jwk: object) -> PrivateKey | PublicKey:
    if not isinstance(jwk, Mapping):
        raise KeyProblem("is not a JSON object")
    curve = jwk.get("crv")
    algorithm = ALGORITHMS.get((str(jwk.get("kty")), None if curve is None else str(curve)))
    if algorithm is None or jwk.get("alg", algorithm) != algorithm:
        raise KeyProblem("is not a key for ES256, EdDSA or RS256")
    try:
        key = jwt.PyJWK(dict(jwk), algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        raise KeyProblem(f"is not a valid key for {algorithm}") from None
    if isinstance(key, RSAPrivateKey | RSAPublicKey) and key.key_size < RSA_BITS:
        raise KeyProblem(f"has fewer than {RSA_BITS} bits")
    if not isinstance(key, PrivateKey | PublicKey):
        raise KeyProblem(f"is not a valid key for {algorithm}")
    return key


def _of_private(private: PrivateKey) -> Key:
    public = _of_public(private.public_key())
    return Key(public.kid, public.algorithm, private, public.public, public.jwk)


def _of_public(public: PublicKey) -> Key:
    members = _members(public)
    names = PUBLIC_MEMBERS[members["kty"]]
    plain = {name: members[name] for name in names}
    algorithm = ALGORITHMS[members["kty"], members.get("crv")]
    # The thumbprint, RFC 7638, section 3: SHA-256 of the needed members, sorted, without blanks.
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).digest()
    kid = base64url(digest)
    jwk = MappingProxyType({"kid": kid, "alg": algorithm, "use": "sig"} | plain)
    return Key(kid, algorithm, None, public, jwk)


def _members(key: PrivateKey | PublicKey | bytes | None) -> dict[str, str]:
    members: dict[str, Any]
    match key:
        case EllipticCurvePrivateKey() | EllipticCurvePublicKey():
            members = ECAlgorithm.to_jwk(key, as_dict=True)
        case Ed25519PrivateKey() | Ed25519PublicKey():
            members = OKPAlgorithm.to_jwk(key, as_dict=True)
        case RSAPrivateKey() | RSAPublicKey():
            members = RSAAlgorithm.to_jwk(key, as_dict=True)
        case _:
            raise KeyProblem("a shared secret has no JSON Web Key")
    return {name: value for name, value in members.items() if isinstance(value, str)}


@dataclass(frozen=True, slots=True)
class KeySet:
    """This node's keys, newest first. Each of `keys` verifies; `signing` is the newest one of the
    configured algorithm, which signs in the end. `others`: the further algorithms in use."""

    signing: Key
    keys: tuple[Key, ...]
    others: tuple[str, ...] = ()

    @property
    def algorithms(self) -> tuple[str, ...]:
        """All that are in use, the configured one first."""
        return (self.signing.algorithm, *self.others)

    def able_to_sign(self, algorithm: str) -> tuple[Key, ...]:
        """Every key of that algorithm, newest first."""
        return tuple(key for key in self.keys if key.algorithm == algorithm)

    def public_jwks(self) -> list[dict[str, str]]:
        """The public keys as JSON Web Keys; empty with HS256, which has none."""
        return [dict(key.jwk) for key in self.keys if key.jwk]


def open_keys(settings: JwtSettings, others: Iterable[str] = ()) -> KeySet:
    """The keys of `settings`; a missing file, or one without a key of the algorithm, gets one.

    Any number of processes may start at once: they end up with the same keys.

    Args:
        others: further algorithms that sign, each with a key of its own in the same file.

    Raises:
        SettingsError: ``jwt.key_file`` cannot be read, made or understood.
    """
    if settings.algorithm == "HS256":
        key = shared_secret(settings.secret.get_secret_value().encode())
        return KeySet(key, (key,))
    path = settings.key_file
    algorithms = tuple(dict.fromkeys((settings.algorithm, *sorted(others))))
    keys = _read(path)
    if _lacking(keys, algorithms):
        with _alone_in(path.parent):
            # Read again under the lock: another process may just have made them.
            keys = _read(path)
            if made := tuple(generate(algorithm) for algorithm in _lacking(keys, algorithms)):
                keys = (*made, *keys)
                _write(path, keys)
                for key in made:
                    about = {"kid": key.kid, "algorithm": key.algorithm}
                    log.info("made a signing key", extra=about)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        # Only a warning: secrets mounted into a container often are open, to no other user there.
        log.warning(
            "the signing keys are open to others than the owner",
            extra={"path": str(path), "mode": f"{mode:04o}"},
        )
    signing = next(key for key in keys if key.algorithm == settings.algorithm)
    return KeySet(signing, keys, algorithms[1:])


def _lacking(keys: Sequence[Key], algorithms: Sequence[str]) -> list[str]:
    present = {key.algorithm for key in keys}
    return [algorithm for algorithm in algorithms if algorithm not in present]


def add_key(path: Path, algorithm: str) -> Key:
    """Put a new key before the others: the next start publishes it, and it signs later."""
    key = generate(algorithm)
    with _alone_in(path.parent):
        _write(path, (key, *_read(path)))
    return key


def remove_key(path: Path, kid: str) -> None:
    """Forget a key: tokens it signed are refused from the next start on.

    Raises:
        SettingsError: there is no such file, or no such key in it.
    """
    _read(path, must_exist=True)  # before the lock, which makes a missing folder
    with _alone_in(path.parent):
        keys = _read(path)
        kept = tuple(key for key in keys if key.kid != kid)
        if len(kept) == len(keys):
            raise SettingsError(SETTING, f"{path} has no key {kid}")
        _write(path, kept)


def _read(path: Path, *, must_exist: bool = False) -> tuple[Key, ...]:
    """The keys of the file, newest first; none when there is no file yet, if that may be.

    A link to nothing is no missing file: the keys that it names were moved, or are not mounted.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        for place in (path, *path.parents):
            if place.is_symlink() and not place.exists():
                problem = f"{place} is a link to {os.readlink(place)}, which is not there"
                raise SettingsError(SETTING, problem) from None
        if must_exist:
            raise SettingsError(SETTING, f"there is no file {path}") from None
        return ()
    except OSError as error:
        raise SettingsError(SETTING, f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise SettingsError(SETTING, f"{path} is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise SettingsError(SETTING, f'{path} is not a key set: {{"keys": [...]}}')
    keys = []
    for number, entry in enumerate(entries, 1):
        try:
            keys.append(read_private(entry))
        except KeyProblem as error:
            raise SettingsError(SETTING, f"key {number} of {path} {error}") from None
    return tuple(keys)


def _write(path: Path, keys: Sequence[Key]) -> None:
    """Replace the file atomically: a reader sees the old keys or the new ones."""
    path = path.resolve()  # A link stays, and what it names is replaced.
    text = json.dumps({"keys": [private_jwk(key) for key in keys]}, indent=2) + "\n"
    try:
        # mkstemp opens with O_EXCL and mode 0600.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise SettingsError(SETTING, f"cannot write {path}: {error.strerror}") from None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Make `folder` if need be, and keep other processes of scanpush from writing in it.

    The lock is on the folder itself, leaves nothing behind and ends with the process.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise SettingsError(SETTING, f"cannot use the folder {folder}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _parser() -> argparse.ArgumentParser:
    program = ".venv/bin/python -m services.tokens.keys"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(dest="action", required=True)
    on_file = argparse.ArgumentParser(add_help=False)
    on_file.add_argument("file", type=Path)
    add = actions.add_parser(
        "add", parents=[on_file], help="make a key: the next start publishes it, and it signs later"
    )
    add.add_argument("--algorithm", choices=("ES256", "EdDSA", "RS256"), default="ES256")
    actions.add_parser("list", parents=[on_file], help="name the keys, newest first")
    remove = actions.add_parser("remove", parents=[on_file], help="forget a key")
    # REMAINDER because one thumbprint in 64 starts with "-", which else means an option.
    remove.add_argument("kid", nargs=argparse.REMAINDER, metavar="KID", help="the key to remove")
    return parser


def main(arguments: Sequence[str]) -> int:
    """``add``, ``list`` or ``remove`` keys; returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.action == "remove" and len(given.kid) != 1:
        parser.error("remove takes one KID")
    try:
        if given.action == "add":
            add_key(given.file, given.algorithm)
        elif given.action == "remove":
            remove_key(given.file, given.kid[0])
        for key in _read(given.file, must_exist=True):
            print(key.kid, key.algorithm)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
