"""The two signals that end a program of the bench early: Ctrl-C, and SIGTERM as CI sends it."""

import signal
from types import FrameType

EARLY = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where Ctrl-C would raise KeyboardInterrupt."""


def heed_sigterm() -> None:
    """From now on SIGTERM raises `Terminated`, so that servers are stopped on the way out.

    Only the first one does: timeout(1) sends two, and the second would interrupt that stopping.
    """
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def ignore_both() -> None:
    """From now on neither ends this process."""
    for number in EARLY:
        signal.signal(number, signal.SIG_IGN)


def exit_code(ended: KeyboardInterrupt | int) -> int:
    """The exit code of a program that this exception, or this signal, has ended: 130 or 143."""
    if isinstance(ended, KeyboardInterrupt):
        ended = signal.SIGTERM if isinstance(ended, Terminated) else signal.SIGINT
    return 128 + ended
