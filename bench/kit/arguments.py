"""Values on a command line; what cannot be used is refused in plain words."""

import argparse
from pathlib import Path

LARGEST = 1_000_000_000


def count(text: str) -> int:
    """A whole number of 1 or more."""
    return _whole(text, 1)


def count_or_zero(text: str) -> int:
    """A whole number of 0 or more."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= LARGEST:
        raise argparse.ArgumentTypeError(
            f"must be a whole number from {least} to {LARGEST:,}, not {text!r}"
        )
    return value


def amount(text: str) -> float:
    """A number of 0 or more."""
    return _number(text, 0)


def one_or_more(text: str) -> float:
    """A number of 1 or more."""
    return _number(text, 1)


def _number(text: str, least: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = least - 1.0
    if not least <= value <= LARGEST:
        raise argparse.ArgumentTypeError(
            f"must be a number from {least} to {LARGEST:,}, not {text!r}"
        )
    return value


def setting(text: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, not {text!r}")
    return name, value


def checkout(text: str) -> Path:
    """A directory with a `server.py`."""
    tree = Path(text).resolve()
    if not (tree / "server.py").is_file():
        raise argparse.ArgumentTypeError(f"must be a checkout of scanpush, not {text!r}")
    return tree
