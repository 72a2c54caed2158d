"""What was said between each person and each account, as the phone shows it."""

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Literal

from simulator.clock import TurnableClock

Sender = Literal["person", "account", "system"]
KEPT_LINES = 100


@dataclass(frozen=True)
class ChatLine:
    """One bubble. `kind` is text, image, event or notice; `number` grows within the chat."""

    number: int
    at: int
    sender: Sender
    text: str
    kind: str = "text"

    def document(self) -> dict[str, Any]:
        return asdict(self)


class Chats:
    """The chat histories: the newest hundred lines of each."""

    def __init__(self, clock: TurnableClock) -> None:
        self._clock = clock
        self._numbers: dict[tuple[str, str], int] = {}
        self._lines: dict[tuple[str, str], deque[ChatLine]] = {}

    def add(
        self, person: str, app_id: str, sender: Sender, text: str, kind: str = "text"
    ) -> ChatLine:
        key = (person, app_id)
        number = self._numbers[key] = self._numbers.get(key, 0) + 1
        line = ChatLine(number, int(self._clock.now()), sender, text, kind)
        self._lines.setdefault(key, deque(maxlen=KEPT_LINES)).append(line)
        return line

    def lines(self, person: str, app_id: str, after: int = 0) -> list[ChatLine]:
        """The lines with a number over `after`, oldest first."""
        return [line for line in self._lines.get((person, app_id), ()) if line.number > after]
