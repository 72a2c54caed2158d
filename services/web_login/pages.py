"""What the browser shows at the end of a web login: an outcome in words, or the question."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from services.web_login.texts import OUTCOMES, QUESTION

STATUS: Mapping[str, int] = MappingProxyType(
    {
        "done": 200,
        "done_here": 200,
        "register_ask": 200,
        "denied": 200,
        "bad_request": 400,
        "stale_link": 400,
        "code_refused": 400,
        "not_registered": 403,
        "banned": 403,
        "snapshot": 403,
        "already_used": 409,
        "wrong_door": 409,
        "expired": 410,
        "unavailable": 503,
    }
)
"""The HTTP status of each outcome."""


@dataclass(frozen=True, slots=True)
class Question:
    """Whether the person allows that screen to be logged in. `value` is valid once, and only in
    the browser that was asked; the rest is what the page names."""

    value: str
    browser: str
    screen: str
    time: str
    person: str


@dataclass(frozen=True, slots=True)
class Landing:
    """The page at the end.

    `onward` is a path of this site to which the browser is redirected instead; `closes` says that
    the page may close itself, because it is a popup; `reference` is what a person can tell the
    operator of a login that failed.
    """

    outcome: str
    lang: str
    onward: str = ""
    closes: bool = False
    question: Question | None = None
    http_status: int = 0
    reference: str = ""

    @property
    def status(self) -> int:
        return self.http_status or STATUS.get(self.outcome, 200)

    @property
    def good(self) -> bool:
        return self.outcome in ("done", "done_here", "register_ask")

    @property
    def words(self) -> tuple[str, str]:
        """Title and sentence of the outcome."""
        return OUTCOMES[self.outcome][self.lang]

    @property
    def labels(self) -> Mapping[str, str]:
        return QUESTION[self.lang]
