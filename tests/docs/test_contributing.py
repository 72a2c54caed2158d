"""CONTRIBUTING.md shows the house as it is."""

import re
from pathlib import Path

from tests.docs.pages import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
HOP = re.compile(r"^\| ?(\d*)( ↩)? \| `([\w/]+\.py)` \| (.*) \|$", re.MULTILINE)
"""A row of the tour of a login: its number, whether it leads back, the file, what happens there."""


def modules() -> dict[str, list[Path]]:
    """The product's files by their names."""
    found: dict[str, list[Path]] = {}
    paths = [ROOT / "server.py"]
    paths += [p for folder in ("handlers", "services") for p in (ROOT / folder).rglob("*.*")]
    for path in paths:
        found.setdefault(path.name, []).append(path)
    return found


def test_every_file_that_it_names_exists() -> None:
    """By its path from the top, from services/, or by its bare name."""
    known = modules()
    invented = {"services/scenes/store_postgres.py"}  # of the worked examples
    for name in set(re.findall(r"`([\w./]+\.(?:py|lua))`", PAGE)) - invented:
        paths = known.get(Path(name).name, [])
        named = any(path.as_posix().endswith(f"/{name}") for path in paths)
        assert named or (ROOT / name).exists(), name


def test_the_tour_counts_itself() -> None:
    """Its hops in order, those that lead back, and the files, as the sentence above it says."""
    hops = [(number, bool(back), file) for number, back, file, _ in HOP.findall(PAGE)]
    assert [number for number, _, _ in hops] == ["", *map(str, range(1, len(hops)))]
    seen: set[str] = set()
    for number, back, file in hops:
        assert back == (file in seen), number
        seen.add(file)
    said = re.search(r"hops from file to file: (\d+), of which\s+(\d+).*?; (\d+) files", PAGE, re.S)
    assert said is not None
    leading_back = sum(back for _, back, _ in hops)
    assert [int(n) for n in said.groups()] == [len(hops) - 1, leading_back, len(seen)]


def test_what_the_tour_names_is_in_that_file() -> None:
    """Functions, methods and classes."""
    for _, _, file, text in HOP.findall(PAGE):
        source = (ROOT / file).read_text()
        for name in re.findall(r"`(?:\w+\.)?(\w+)`", text):
            assert re.search(rf"\b(?:def|class) {name}\b", source) or name in source, (file, name)
