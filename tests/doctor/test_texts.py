"""Every sentence is there in both languages and says the same."""

import re
import string
from itertools import chain
from pathlib import Path

import pytest

import doctor
from doctor.errcodes import CHECKS, ERRCODES
from doctor.findings import Finding, State, document, first_to_mend, is_well, language_of, next_line
from doctor.texts import (
    ADVICE,
    APP_KEYS,
    HINDRANCES,
    MARKS,
    NEXT,
    NOTHING,
    PLACES,
    SENTENCES,
    TEXTS,
    WHY,
    Said,
)
from tests.docs.pages import ROOT, table

SOURCES = "".join(
    path.read_text() for path in Path(doctor.__file__).parent.glob("*.py") if path.stem != "texts"
)


def every_sentence() -> list[Said]:
    texts = chain.from_iterable(TEXTS.values())
    tables = (ADVICE, APP_KEYS, HINDRANCES, MARKS, NEXT, PLACES, SENTENCES, WHY)
    others = (table.values() for table in tables)
    return [*texts, *chain.from_iterable(others)]


def test_both_languages_say_the_same() -> None:
    """The same placeholders in both, and Chinese characters in the Chinese one."""
    for said in every_sentence():
        names = [
            {name for _, name, _, _ in string.Formatter().parse(half) if name} for half in said
        ]
        assert names[0] == names[1], said.en
        assert bool(said.en) == bool(said.zh)
        words = re.sub(r"{\w+}", "", said.zh)
        assert not words.strip("：；") or re.search(r"[\u4e00-\u9fff]", words), said.zh


def test_every_text_is_used_and_every_used_one_is_there() -> None:
    """The keys in the checks are those of the table."""
    for key in (*TEXTS, *SENTENCES):
        assert f'"{key}"' in SOURCES, key
    for key in re.findall(r'State\.\w+, "(\w+)"', SOURCES):
        assert key in TEXTS, key


def test_what_is_bad_has_a_remedy() -> None:
    """Every finding says what to do."""
    for key in re.findall(r'State\.BAD, "(\w+)"', SOURCES):
        assert key == "errcode" or TEXTS[key].remedy != NOTHING, key
    assert {group for group, _ in ERRCODES.values()} == set(ADVICE)
    for check in {*re.findall(r'Finding\(\s*"(\w+)", State.BAD', SOURCES), *CHECKS.values()}:
        assert check in HINDRANCES, check


def test_what_hinders_a_login_most_is_next() -> None:
    """Whatever was looked at first; a template never before the AppSecret."""
    left = [Finding(check, State.BAD, "app_none") for check in reversed(HINDRANCES)]
    for check in HINDRANCES:
        first = first_to_mend(left)
        assert first and first.finding.check == check
        left.remove(first.finding)
    assert first_to_mend([Finding("clock", State.WARN, "clock_off")]) is None
    assert "open the login page" in next_line([], "en", "")


def test_the_last_line_says_why_and_what_follows() -> None:
    """In both languages, and as JSON; what only follows is never first."""
    found = [
        Finding("clock", State.BAD, "clock_off", {"seconds": 90, "side": "", "window": 60}),
        Finding("credentials", State.BAD, "app_none", {}, "second", Said("Compare.", "核对。")),
        Finding("unionid", State.SKIPPED, "no_token", {}, "second", because="credentials"),
        Finding("unionid", State.OK, "unionid", {}, "default"),
    ]
    assert next_line(found, "en", "") == (
        "next: second: credentials first: without it no page gets a code (waiting for it: unionid) "
        "→ Compare."
    )
    assert next_line(found, "zh", "").startswith("下一步：先解决 second: credentials：")
    assert document(found, "en", "")["next"] == {
        "check": "credentials",
        "account": "second",
        "why": "without it no page gets a code",
        "remedy": "Compare.",
        "explains": ["unionid"],
    }


def test_chinese_meanings_are_those_of_the_page() -> None:
    """As docs/zh-CN/errors.md has them."""
    rows = table(ROOT / "docs" / "zh-CN" / "errors.md", "-1")
    assert {int(row[0]): row[1] for row in rows} == {
        errcode: meaning for errcode, (_, meaning) in ERRCODES.items() if errcode != 76022
    }


def test_a_finding_is_one_line_and_one_object() -> None:
    """Whatever a peer put into it; a simulated console stands for WeChat's pages."""
    finding = Finding("ip_list", State.BAD, "ip_refused", {"problem": "a\nb", "address": "1.2.3.4"})
    line = finding.line("en", "http://127.0.0.1:8889/console")
    assert "\n" not in line and line.startswith("BAD      ip_list: a b; the address is 1.2.3.4 → ")
    assert "at http://127.0.0.1:8889/console" in line
    assert "开发密钥" in finding.line("zh")
    told = document([finding], "zh", "")
    assert told["ok"] is False and list(told["findings"][0]) == ["check", "state", "what", "remedy"]
    assert told["findings"][0]["state"] == "bad"
    assert is_well([Finding("ip_list", State.WARN, "ip_list")])


@pytest.mark.parametrize(
    ("asked", "environ", "accounts", "expected"),
    [
        ("zh", {"LANG": "en_US.UTF-8"}, ["en"], "zh"),
        ("en", {"LANG": "zh_CN.UTF-8"}, ["zh-CN"], "en"),
        ("", {"LANG": "zh_CN.UTF-8"}, ["en"], "zh"),
        ("", {"LANG": "zh_CN.UTF-8", "LC_ALL": "en_GB.UTF-8"}, ["zh-CN"], "en"),
        ("", {"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_TW"}, [], "zh"),
        ("", {"LANG": "de_DE.UTF-8"}, ["zh-CN"], "en"),
        ("", {"LANG": "C.UTF-8"}, ["zh-CN"], "en"),
        ("", {"LANG": "C"}, ["zh-CN"], "en"),
        ("", {"LC_ALL": "POSIX", "LANG": "zh_CN"}, ["zh-CN"], "en"),
        ("", {"LC_ALL": "C", "LANG": "zh_CN"}, ["en"], "en"),
        ("", {}, ["en", "zh-TW"], "zh"),
        ("", {}, ["ja"], "en"),
    ],
)
def test_the_language_is_the_operators(
    asked: str, environ: dict[str, str], accounts: list[str], expected: str
) -> None:
    """What was asked for, the locale, the accounts', in this order."""
    assert language_of(asked, environ, accounts) == expected
