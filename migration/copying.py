"""Brings a destination to what a source holds, one page at a time.

Nothing notes how far a copy came: each run compares all, and writes only what differs. So a run may
end anywhere, by ``kill -9`` too, and the next one goes on; what changed in the source meanwhile is
a difference like any other. To compare is several times quicker than to write.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Records = Mapping[str, Any]
"""By key, in the form in which the destination keeps them."""

PAGE = 200
"""Records read, compared and written at a time: what a run that is killed has to do again."""


class Part(Protocol):
    """One sort of records, with its source and its destination.

    To copy a further table or collection, write one of these (`sessions.py` has one for records
    that are alike on both sides) and name it in `command.py`.
    """

    name: str

    async def count(self) -> int:
        """How many units of a page the source holds about, for the progress."""

    async def page(self, after: str) -> tuple[str, int, Records]:
        """What the destination should hold, from the units of the source after the cursor `after`.

        The next cursor, how many units of the source these are, and the records. No units: the end.
        """

    async def kept(self, keys: Collection[str]) -> Records:
        """What the destination holds at these keys."""

    async def write(self, records: Records) -> None:
        """Put these in place of what the destination holds at their keys."""

    async def kept_keys(self, after: str) -> list[str]:
        """The next page of the destination's keys after that one, in an order of its own."""

    async def wanted(self, keys: Collection[str]) -> Collection[str]:
        """Those of these keys for which the source has a record."""

    async def remove(self, keys: Collection[str]) -> None:
        """Forget these in the destination."""


@dataclass
class Difference:
    """What a comparison found; where it was applied, what was done."""

    compared: int = 0
    changed: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)


Progress = Callable[[str, int, int], None]
"""Told after each page: what is being done, the units done, and how many there are. An exception
ends the run."""


async def bring(part: Part, progress: Progress, *, apply: bool) -> Difference:
    """Compare source and destination and, with `apply`, make the destination equal.

    Raises:
        StoreUnavailable: a store does not answer. What was written stays.
    """
    found = Difference()
    total, done, cursor = await part.count(), 0, ""
    while True:
        cursor, units, records = await part.page(cursor)
        if not units:
            break
        kept = await part.kept(records.keys())
        changed = {key: one for key, one in records.items() if kept.get(key) != one}
        if changed and apply:
            await part.write(changed)
        found.compared += len(records)
        found.changed += len(changed)
        done += units
        progress(part.name, done, max(total, done))
    # What has ended or was joined in the source since an earlier run must not come back to life.
    last, looked_at = "", 0
    while keys := await part.kept_keys(last):
        last = keys[-1]
        gone = set(keys).difference(await part.wanted(keys))
        if gone and apply:
            await part.remove(gone)
        found.removed += len(gone)
        looked_at += len(keys)
        progress(f"{part.name}, ended since", looked_at, max(found.compared, looked_at))
    return found
