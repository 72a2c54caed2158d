"""A browser's claim in two words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.origins import summary

MOZILLA = "Mozilla/5.0"
KHTML = "AppleWebKit/537.36 (KHTML, like Gecko)"

CLAIMS = {
    f"{MOZILLA} (Windows NT 10.0; Win64; x64) {KHTML} Chrome/126.0.0.0 Safari/537.36": (
        "Chrome, Windows"
    ),
    f"{MOZILLA} (Windows NT 10.0; Win64; x64) {KHTML} Chrome/126.0 Safari/537.36 Edg/126.0": (
        "Edge, Windows"
    ),
    f"{MOZILLA} (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0": "Firefox, Linux",
    f"{MOZILLA} (Macintosh; Intel Mac OS X 14_5) {KHTML} Version/17.5 Safari/605.1.15": (
        "Safari, macOS"
    ),
    f"{MOZILLA} (iPhone; CPU iPhone OS 17_5 like Mac OS X) {KHTML} Version/17.5 Mobile/15E148"
    " Safari/604.1": "Safari, iPhone",
    f"{MOZILLA} (iPad; CPU OS 16_6 like Mac OS X) {KHTML} CriOS/126.0 Safari/604.1": "Chrome, iPad",
    f"{MOZILLA} (Linux; Android 14; Pixel 8) {KHTML} Chrome/126.0 Mobile Safari/537.36": (
        "Chrome, Android"
    ),
    f"{MOZILLA} (X11; CrOS x86_64 14541.0.0) {KHTML} Chrome/126.0 Safari/537.36": (
        "Chrome, ChromeOS"
    ),
    f"{MOZILLA} (Windows NT 10.0) {KHTML} Chrome/126.0 Safari/537.36 OPR/112.0": "Opera, Windows",
    f"{MOZILLA} (iPhone; CPU iPhone OS 17_5 like Mac OS X) {KHTML} Mobile/15E148"
    " MicroMessenger/8.0.49": "WeChat, iPhone",
    "curl/8.5.0": "",
    "": "",
    "Windows": "Windows",
    "Firefox/1": "Firefox",
}


@pytest.mark.parametrize(("user_agent", "words"), CLAIMS.items(), ids=range(len(CLAIMS)))
def test_known_browsers_are_named(user_agent: str, words: str) -> None:
    """Browser, then system; what is not recognised is left out."""
    assert summary(user_agent) == words


@given(st.text(max_size=256) | st.from_regex(r"(Version/[\d.]+ .*){0,9}(Chrome/|iPhone|\n1)*"))
def test_a_hostile_claim_brings_in_no_words_of_its_own(user_agent: str) -> None:
    """Whatever is sent, the person only ever reads names from the tables."""
    names = {"WeChat", "Edge", "Opera", "Firefox", "Chrome", "Safari"} | {
        *("iPhone", "iPad", "Android", "Windows", "macOS", "ChromeOS", "Linux", ""),
    }
    assert set(summary(user_agent).split(", ")) <= names
