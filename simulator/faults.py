"""Faults that a test sets for one path, and how often each path was called."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal


@dataclass
class Fault:
    """What goes wrong at `path` for the next `times` calls (0: until cleared).

    `host` limits it to ``api``, ``mp`` or ``open``. `delay` seconds come before everything else
    and may stand alone. One of the others decides the answer: an `errcode`, an HTTP `status`,
    `drop` (the connection is cut), `cut` (half of an answer, then the connection is cut),
    `garbage` (HTML with status 200) or `body` (exactly this text). `content_type` replaces the
    header of an otherwise good answer. With `when` "after" the call takes effect first, and only
    its answer is spoilt.
    """

    path: str
    host: str = ""
    errcode: int | None = None
    status: int | None = None
    delay: float = 0.0
    drop: bool = False
    cut: bool = False
    garbage: bool = False
    body: str | None = None
    content_type: str = ""
    when: Literal["before", "after"] = "before"
    times: int = 1

    @property
    def spoils(self) -> bool:
        """Whether the call gets another answer than its own."""
        return (
            self.errcode is not None
            or self.status is not None
            or self.body is not None
            or self.drop
            or self.cut
            or self.garbage
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Fault":
        """The fault that a control request describes.

        Raises:
            ValueError: an unknown field, or no path.
        """
        known = {field.name for field in fields(cls)}
        if unknown := set(document) - known:
            raise ValueError(f"unknown field {sorted(unknown)[0]}")
        if not isinstance(document.get("path"), str):
            raise ValueError("path is missing")
        return cls(**document)


class Faults:
    """The faults in force, in the order they were given."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self.calls: Counter[str] = Counter()

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()

    def called(self, host: str, path: str) -> Fault | None:
        """Count one call. Gives the fault that applies to it, if any, and uses it up."""
        # Counted also without a fault: tests ask how often an interface was called.
        self.calls[path] += 1
        for fault in self._faults:
            if fault.path == path and fault.host in ("", host):
                # A fault with `times` 0 stays until it is cleared.
                if fault.times:
                    fault.times -= 1
                    if not fault.times:
                        self._faults.remove(fault)
                return fault
        return None
