"""How many processes a run needs, and what each of them does."""

from dataclasses import dataclass

from bench.kit import limits
from bench.kit.job import Job, Load
from bench.kit.wire import Target

INFLIGHT = 256
"""Openings at a time over all processes; a browser crowd is not politer than that."""


class TooMany(Exception):
    """This machine cannot open that many sockets; the text says what would help."""


@dataclass(frozen=True, slots=True)
class Wish(Load):
    """What the user asked for, for all processes together."""

    processes: int

    @property
    def most_at_once(self) -> int:
        """Sockets open at the worst moment; a page that logged in is replaced by a new one."""
        stay = self.hold if self.together else min(self.visit, self.hold)
        return round(self.sockets + self.churn * stay + self.scans * 0.5)


def jobs(wish: Wish, target: Target, simulator: Target | None, address: str) -> list[Job]:
    """The shares of all workers.

    Raises:
        TooMany: towards one remote address there are only so many local ports.
    """
    allowed = limits.allowance(address)
    if not allowed.loopback and wish.most_at_once > allowed.per_source:
        raise TooMany(
            f"{wish.most_at_once:,} sockets towards one address need more than the "
            f"{allowed.per_source:,} local ports of this machine: widen "
            "net.ipv4.ip_local_port_range, or run the kit on several machines"
        )
    needed = max(1, -(-wish.most_at_once // allowed.per_process))
    count = max(needed, wish.processes)
    each = -(-wish.most_at_once // count)
    return [
        Job(
            target=target,
            simulator=simulator,
            sockets=_share(wish.sockets, index, count),
            rate=wish.rate / count,
            hold=wish.hold,
            churn=wish.churn / count,
            visit=wish.visit,
            together=wish.together,
            scans=wish.scans / count if simulator is not None else 0.0,
            person=wish.person,
            people=max(1, wish.people // count),
            scenes_first=wish.scenes_first,
            abort=wish.abort,
            inflight=max(1, INFLIGHT // count),
            timeout=wish.timeout,
            worker=index,
            sources=tuple(limits.sources(index, each, allowed)),
        )
        for index in range(count)
    ]


def _share(total: int, index: int, count: int) -> int:
    return total // count + (index < total % count)
