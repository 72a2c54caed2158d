"""What the doctor found, as lines for people in their language and as JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from doctor.texts import MARKS, PLACES, TEXTS, Said

Language = Literal["zh", "en"]


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    """Logins work, but not for everybody or not for long."""
    BAD = "bad"
    """To be mended."""
    SKIPPED = "skipped"
    """Could not be looked at; the text says why."""


@dataclass(frozen=True)
class Finding:
    """One line.

    Args:
        check: what was looked at.
        text: a key of `TEXTS`.
        values: for its placeholders; a `Said` is put in by its language. Never a secret.
        account: the name that the line begins with, where several accounts are examined.
    """

    check: str
    state: State
    text: str
    values: Mapping[str, object] = field(default_factory=dict)
    account: str = ""
    advice: Said | None = None
    """In place of the text's own remedy."""

    def what(self, language: Language, console: str = "") -> str:
        what = self._said(TEXTS[self.text].what, language, console)
        return f"{self.account}: {what}" if self.account else what

    def remedy(self, language: Language, console: str = "") -> str:
        """What to do; empty where there is nothing to be done."""
        return self._said(self.advice or TEXTS[self.text].remedy, language, console)

    def _said(self, said: Said, language: Language, console: str) -> str:
        places = {name: console or getattr(place, language) for name, place in PLACES.items()}
        values = {
            name: getattr(value, language) if isinstance(value, Said) else value
            for name, value in self.values.items()
        }
        text: str = getattr(said, language).format(**places | values)
        # One line each, whatever a peer has answered.
        return " ".join(text.split())

    def line(self, language: Language, console: str = "") -> str:
        """For people: the mark, what was looked at, what was found, and the remedy."""
        mark = getattr(MARKS[self.state.value], language)
        told = f"{mark}  {self.check}: {self.what(language, console)}"
        remedy = self.remedy(language, console)
        return f"{told} → {remedy}" if remedy else told


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether there is nothing that has to be mended."""
    return all(finding.state is not State.BAD for finding in findings)


def document(findings: Iterable[Finding], language: Language, console: str) -> dict[str, Any]:
    """``{"ok", "findings": [{"check", "state", "what", "remedy"}]}``."""
    kept = list(findings)
    return {
        "ok": is_well(kept),
        "findings": [
            {
                "check": finding.check,
                "state": finding.state.value,
                "what": finding.what(language, console),
                "remedy": finding.remedy(language, console),
            }
            for finding in kept
        ],
    }


def language_of(asked: str, environ: Mapping[str, str], accounts: Iterable[str]) -> Language:
    """The operator's language: what was asked for, else the locale's, else Chinese where an account
    speaks it, else English.

    Args:
        asked: ``--lang``, or empty.
        environ: its locale is that of LC_ALL, LC_MESSAGES or LANG, the first that is set (POSIX,
            "Environment Variables"); C and POSIX mean English, in which programs are written.
        accounts: the languages of the accounts.
    """
    locale = next(
        (value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := environ.get(name))), ""
    )
    named = asked or locale
    if not named:
        named = "zh" if any(language.startswith("zh") for language in accounts) else "en"
    return "zh" if named.lower().startswith("zh") else "en"
