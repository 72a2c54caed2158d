"""docs/norms.md names a test for what it claims, and leaves no requirement out."""

import re

import pytest

from tests.docs.pages import ROOT, spans, tables

NORMS = ROOT / "docs" / "norms.md"

STATES = {"met", "not met", "operator", "not applicable"}

SECTIONS = {
    "4.4": 4,
    **{"6.1": 3, "6.2": 12, "6.3": 8, "6.4": 6, "6.5": 8, "6.6": 4, "6.7": 2, "6.8": 3},
    **{"7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 3, "7.6": 2},
    **{"9.1": 3, "9.2": 4},
    **{"10.1": 2, "10.2": 3, "10.3": 5, "10.4": 16, "10.5": 5, "10.6": 2, "10.7": 3},
    **{"13.1": 4, "13.2": 6, "13.3": 4, "13.4": 7},
    **{"16.1": 1, "16.2": 5, "16.3": 4, "16.4": 3, "16.5": 4},
}
"""How many requirements each section of the chapters has (OWASP ASVS 5.0.0)."""

PROXIMITY_TO_BINDING = [f"6.1.{number}" for number in range(1, 18)]
"""The practical mitigations of RFC 10027, in its order."""


def rows() -> list[list[str]]:
    """All rows of requirements: the first cell names them, the last the test."""
    return [row for rows in tables(NORMS) for row in rows]


def named_tests() -> list[str]:
    return sorted({name for row in rows() for name in spans(row[-1])})


@pytest.mark.parametrize("name", named_tests())
def test_every_test_that_is_named_exists(name: str) -> None:
    """As a file, and a function in it where one is named."""
    file, _, function = name.partition("::")
    source = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"def {function}\(" if function else r"def test_", source), name


def test_every_row_has_a_state_and_a_reason() -> None:
    """What is met is shown by a test, or there is nothing to show; all else says why."""
    for row in rows():
        *_, state, how, shown = row
        assert state in STATES, row
        assert how or (state == "met" and shown), row


def test_no_requirement_of_asvs_is_left_out() -> None:
    """Each once, alone or in a range."""
    named: list[str] = []
    for first, *_ in (row for row in rows() if len(row) == 6):
        numbers = re.findall(r"\d+\.\d+\.\d+", first)
        section, _, low = numbers[0].rpartition(".")
        high = numbers[-1].rpartition(".")[2]
        named += [f"{section}.{number}" for number in range(int(low), int(high) + 1)]
    wanted = [
        f"{section}.{number}" for section, most in SECTIONS.items() for number in range(1, most + 1)
    ]
    assert named == wanted


def test_no_mitigation_of_rfc_10027_is_left_out() -> None:
    """The practical mitigations, each once and in order."""
    named = [row[0] for row in rows() if len(row) == 5 and row[0].startswith("6.1.")]
    assert named == PROXIMITY_TO_BINDING
