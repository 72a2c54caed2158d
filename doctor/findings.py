"""What the doctor found, as lines for people in their language and as JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from doctor.texts import HINDRANCES, MARKS, NEXT, PLACES, TEXTS, UNSEEN, Said

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
    because: str = ""
    """The check whose mistake explains this: the placeholder ``root``."""

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
            for name, value in {"root": self.because, **self.values}.items()
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


@dataclass(frozen=True)
class Next:
    """What to mend first."""

    finding: Finding
    why: Said
    """What it keeps from working."""
    explained: tuple[str, ...]
    """The checks that wait for it."""

    def line(self, language: Language, console: str) -> str:
        """For people, as the last line."""
        finding, check = self.finding, self.finding.check
        values = {
            "check": f"{finding.account}: {check}" if finding.account else check,
            "why": getattr(self.why, language),
            "explained": ", ".join(self.explained),
            "remedy": finding.remedy(language, console),
        }
        said = NEXT["explains" if self.explained else "first"]
        return str(getattr(said, language).format(**values))

    def document(self, language: Language, console: str) -> dict[str, Any]:
        return {
            "check": self.finding.check,
            "account": self.finding.account,
            "why": getattr(self.why, language),
            "remedy": self.finding.remedy(language, console),
            "explains": list(self.explained),
        }


def first_to_mend(findings: Iterable[Finding]) -> Next | None:
    """Of what is bad, that which stands most in the way of a login, whatever was looked at first;
    where nothing is bad, what keeps the rest from being looked at. None where all is well."""
    kept = list(findings)
    order = list(HINDRANCES)

    def key(finding: Finding) -> str:
        return finding.text if finding.text in HINDRANCES else finding.check

    first = min(
        (one for one in kept if not one.because and (one.state is State.BAD or one.text in UNSEEN)),
        key=lambda one: order.index(key(one)),
        default=None,
    )
    if first is None:
        return None
    explained = (
        one.check
        for one in kept
        if one.because == first.check and first.account in ("", one.account)
    )
    return Next(first, HINDRANCES[key(first)], tuple(dict.fromkeys(explained)))


def next_line(findings: Iterable[Finding], language: Language, console: str) -> str:
    """What to do now, for people."""
    first = first_to_mend(findings)
    return first.line(language, console) if first else str(getattr(NEXT["nothing"], language))


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether there is nothing that has to be mended."""
    return all(finding.state is not State.BAD for finding in findings)


def document(findings: Iterable[Finding], language: Language, console: str) -> dict[str, Any]:
    """``{"ok", "next", "findings": [{"check", "state", "what", "remedy"}]}``.

    ``next`` is a `Next.document`, or None.
    """
    kept = list(findings)
    first = first_to_mend(kept)
    return {
        "ok": is_well(kept),
        "next": first and first.document(language, console),
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
