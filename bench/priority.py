"""Real-time priority for what is measured, so that other processes of the machine do not count.

An ordinary process waits while a system call of another one runs, however long, and whatever their
nice values; a real-time one does not (sched(7)). On the machine of docs/performance.md the first
process looks at every open descriptor each three seconds: 30 ms at a time with 24,000 of them.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.servers import Running

LOOP, OTHERS = 1, 2
"""A server's other threads have a higher priority than its event loop: on one CPU they would
otherwise wait until the loop is idle, whereas threads of ordinary priority take turns with it."""


@contextlib.contextmanager
def undisturbed(*servers: Running, wanted: bool = True, also: Sequence[int] = ()) -> Iterator[bool]:
    """Put servers, this process and the processes `also` before all others until the block ends.

    Yields whether that was allowed; it takes Linux and root, or CAP_SYS_NICE.
    """
    if not wanted or not hasattr(os, "SCHED_FIFO"):
        yield False
        return
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(LOOP))
    except PermissionError:
        yield False
        return
    processes = [*(running.process.pid for running in servers), *also]
    for process in processes:
        for thread in _threads(process):
            _schedule(thread, os.SCHED_FIFO, LOOP if thread == process else OTHERS)
    try:
        yield True
    finally:
        for thread in (0, *(thread for process in processes for thread in _threads(process))):
            _schedule(thread, os.SCHED_OTHER, 0)


def step_back(niceness: int) -> None:
    """Make this process, which `undisturbed` may have started, an ordinary and nice one."""
    if hasattr(os, "SCHED_OTHER"):
        _schedule(0, os.SCHED_OTHER, 0)
    os.nice(niceness)


def _threads(process: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()]
    return []


def _schedule(thread: int, policy: int, priority: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
        os.sched_setscheduler(thread, policy, os.sched_param(priority))
