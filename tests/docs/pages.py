"""Reads the documents as their readers do: tables, links, names in code spans."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
TRANSLATED = tuple(sorted((ROOT / "docs" / "zh-CN").glob("*.md")))
TRANSLATIONS = (READMES, *((ROOT / "docs" / page.name, page) for page in TRANSLATED))
"""Each English page with its Chinese one."""

REFERENCES = (ROOT / "docs" / "reference.md", ROOT / "docs" / "zh-CN" / "reference.md")
PAGES = (
    *READMES,
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)

_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def spans(text: str) -> list[str]:
    """What stands in backticks."""
    return _SPAN.findall(text)


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def headings(page: Path) -> list[str]:
    """Its headings, with the marks that give their levels."""
    return re.findall(r"^#+ .+$", prose(page), re.MULTILINE)


def blocks(page: Path) -> list[str]:
    """Its blocks of code."""
    return _FENCE.findall(page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Where its links and pictures lead."""
    return _LINK.findall(prose(page))


def tables(page: Path) -> Iterator[list[list[str]]]:
    """The rows of each table, without its head."""
    rows: list[list[str]] = []
    for line in [*prose(page).splitlines(), ""]:
        if line.startswith("|"):
            cells = line.strip().removeprefix("|").removesuffix("|")
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", cells)])
        elif rows:
            yield rows[2:]
            rows = []


def table(page: Path, first: str) -> list[list[str]]:
    """The table whose first cell of the first row begins with `first`."""
    return next(rows for rows in tables(page) if rows[0][0].startswith(first))


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives to the page's headings."""
    titles = (heading.lstrip("#").strip() for heading in headings(page))
    plain = (re.sub(r"[^\w\s-]", "", title.lower()) for title in titles)
    return {title.strip().replace(" ", "-") for title in plain}
