"""Values on a command line; what cannot be used is refused in plain words."""

import argparse
import operator
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.kit.job import FIGURES, Stage

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


SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
LONGEST_STAGE = 7 * 86_400.0


def stages(text: str) -> tuple[Stage, ...]:
    """DURATION:PAGES, several with commas between them, as k6 takes them: `2m:1000,1m30s:0`."""
    found = []
    for part in text.split(","):
        length, _, pages = part.strip().partition(":")
        pieces = DURATION.findall(length)
        whole = "".join(number + unit for number, unit in pieces) == length and bool(pieces)
        seconds = sum(float(number) * SECONDS[unit] for number, unit in pieces)
        if not (whole or length == "0") or not pages.isdigit() or seconds > LONGEST_STAGE:
            raise argparse.ArgumentTypeError(
                f"must be like 2m:1000,30s:0 (a time, and the pages at its end), not {text!r}"
            )
        found.append(Stage(seconds, _whole(pages, 0)))
    if not any(stage.pages for stage in found):
        raise argparse.ArgumentTypeError(f"must open a page in some stage, not {text!r}")
    return tuple(found)


STATISTICS = ("p50", "p90", "p99", "p999", "max", "rate")
COUNTS = ("lost", "duplicates", "failed")
SIGNS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
LIMIT = re.compile(r"(\w+)(?:\.(\w+))?\s*([<>]=?)\s*(\d+(?:\.\d+)?)\s*(us|ms|s|/s)?")


@dataclass(frozen=True, slots=True)
class FailIf:
    """A limit of a figure; latencies in milliseconds, rates a second."""

    text: str
    figure: str
    statistic: str
    sign: str
    value: float

    @property
    def unit(self) -> str:
        """After a value of the figure."""
        return {"": "", "rate": "/s"}.get(self.statistic, " ms")

    def holds(self, value: float) -> bool:
        """Whether the run has failed with that value."""
        return SIGNS[self.sign](value, self.value)


def fail_if(text: str) -> FailIf:
    """`FIGURE.STATISTIC > VALUE`, or `COUNT > VALUE`."""
    found = LIMIT.fullmatch(text.strip())
    figure, statistic, sign, number, unit = found.groups() if found else ("",) * 5
    value = float(number or 0)
    if figure in COUNTS and not statistic and not unit:
        return FailIf(text, figure, "", sign, value)
    if figure in FIGURES and statistic == "rate" and unit in (None, "/s"):
        return FailIf(text, figure, statistic, sign, value)
    if figure in FIGURES and statistic in STATISTICS[:-1] and unit in ("us", "ms", "s"):
        return FailIf(
            text, figure, statistic, sign, value * {"us": 0.001, "ms": 1, "s": 1000}[unit]
        )
    raise argparse.ArgumentTypeError(
        f"must be like 'scan_to_token.p99 > 50ms', 'begin.rate < 100' or 'lost > 0' (of "
        f"{', '.join(FIGURES)} with {', '.join(STATISTICS)}; {', '.join(COUNTS)}), not {text!r}"
    )


def origin(text: str) -> str:
    """scheme://host[:port]."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1)
    except ValueError:
        good = False
    if not good or f"{parts.scheme}://{parts.netloc}" != text or not text.isascii():
        raise argparse.ArgumentTypeError(f"must look like https://www.example.com, not {text!r}")
    return text


def address(text: str) -> tuple[str, int]:
    """HOST:PORT; an IPv6 address in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65_536:
        raise argparse.ArgumentTypeError(f"must be HOST:PORT, not {text!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def port(text: str) -> tuple[str, int]:
    """PORT on 127.0.0.1, or HOST:PORT."""
    return address(text if ":" in text else f"127.0.0.1:{text}")


def checkout(text: str) -> Path:
    """A directory with a `server.py`."""
    tree = Path(text).resolve()
    if not (tree / "server.py").is_file():
        raise argparse.ArgumentTypeError(f"must be a checkout of scanpush, not {text!r}")
    return tree
