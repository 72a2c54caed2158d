"""Memory and CPU of the server under load, read from /proc when it runs on this machine."""

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LISTEN = "0A"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Resident memory in bytes and CPU time in seconds, of all processes together."""

    rss_bytes: int
    cpu_seconds: float


def listener_pids(port: int) -> list[int]:
    """The processes that listen on a TCP port of this machine; empty where that cannot be seen."""
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (PROC / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return sorted(pid for pid in _pids() if inodes and _holds(pid, inodes))


def _pids() -> list[int]:
    try:
        return [int(entry) for entry in os.listdir(PROC) if entry.isdigit()]
    except OSError:
        return []


def _holds(pid: int, inodes: set[str]) -> bool:
    try:
        for entry in os.scandir(PROC / str(pid) / "fd"):
            if os.readlink(entry.path) in inodes:
                return True
    except OSError:
        return False  # Another user's process, or one that has just ended.
    return False


def usage(pids: list[int]) -> Usage | None:
    """What `pids` use together; None when none of them can be read."""
    rss, cpu, seen = 0, 0.0, False
    for pid in pids:
        try:
            rss += int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE_BYTES
            cpu += _cpu_seconds(pid)
        except (OSError, IndexError, ValueError):
            continue  # It has ended.
        seen = True
    return Usage(rss, cpu) if seen else None


def _cpu_seconds(pid: int) -> float:
    """Of all threads, exact to nanoseconds where the kernel keeps schedstat, else to ticks."""
    try:
        tasks = list((PROC / str(pid) / "task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except OSError:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
