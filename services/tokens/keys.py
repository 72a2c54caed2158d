"""The key set: the file that holds the signing keys, and what is published of it.

The file is a JSON Web Key Set with the private parts, newest key first, mode 0600. The newest key
of the configured algorithm signs; all of them verify. To rotate, without stopping anything for
longer than a restart:

    .venv/bin/python -m services.tokens.keys add data/jwt-keys.json    # then restart every node
    .venv/bin/python -m services.tokens.keys list data/jwt-keys.json
    .venv/bin/python -m services.tokens.keys remove data/jwt-keys.json KID  # after jwt.ttl_seconds
"""

import argparse
import fcntl
import json
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.errors import SettingsError
from services.settings import JwtSettings
from services.tokens.jwk import (
    Key,
    KeyProblem,
    generate,
    private_jwk,
    read_private,
    shared_secret,
)

log = logging.getLogger("scanpush.tokens")

SETTING = "jwt.key_file"


@dataclass(frozen=True, slots=True)
class KeySet:
    """This node's keys. `signing` signs, each of `keys` verifies."""

    signing: Key
    keys: tuple[Key, ...]

    def public_jwks(self) -> list[dict[str, str]]:
        """The public keys as JSON Web Keys; empty with HS256, which has none."""
        return [dict(key.jwk) for key in self.keys if key.jwk]


def open_keys(settings: JwtSettings) -> KeySet:
    """The keys of `settings`; a missing file, or one without a key of the algorithm, gets one.

    Any number of processes may start at once: they end up with the same keys.

    Raises:
        SettingsError: ``jwt.key_file`` cannot be read, made or understood.
    """
    if settings.algorithm == "HS256":
        key = shared_secret(settings.secret.get_secret_value().encode())
        return KeySet(key, (key,))
    path = settings.key_file
    keys = _read(path)
    if not any(key.algorithm == settings.algorithm for key in keys):
        keys = _ensure(path, settings.algorithm)
    _warn_if_readable_by_others(path)
    signing = next(key for key in keys if key.algorithm == settings.algorithm)
    return KeySet(signing, keys)


def add_key(path: Path, algorithm: str) -> Key:
    """Put a new key before the others, so that it signs from the next start on."""
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


def _ensure(path: Path, algorithm: str) -> tuple[Key, ...]:
    """Add a key of `algorithm`, unless another process has just done so."""
    with _alone_in(path.parent):
        keys = _read(path)
        if not any(key.algorithm == algorithm for key in keys):
            keys = (generate(algorithm), *keys)
            _write(path, keys)
            log.info("made a signing key", extra={"kid": keys[0].kid, "algorithm": algorithm})
        return keys


def _read(path: Path, *, must_exist: bool = False) -> tuple[Key, ...]:
    """The keys of the file, newest first; none when there is no file yet, if that may be."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
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
    """Replace the file at one stroke: whoever reads it sees the old keys or the new ones."""
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
    """Make `folder` if need be, and keep other processes of ours from writing in it.

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


def _warn_if_readable_by_others(path: Path) -> None:
    """Only warn: secrets mounted into a container often are, and nobody else is in there."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        log.warning(
            "the signing keys are open to others than the owner",
            extra={"path": str(path), "mode": f"{mode:04o}"},
        )


def _parser() -> argparse.ArgumentParser:
    program = ".venv/bin/python -m services.tokens.keys"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(dest="action", required=True)
    on_file = argparse.ArgumentParser(add_help=False)
    on_file.add_argument("file", type=Path)
    add = actions.add_parser(
        "add", parents=[on_file], help="make a key that signs from the next start on"
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
