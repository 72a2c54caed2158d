"""A browser's claim in two words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.origins import screen_browser, summary

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


@pytest.mark.parametrize(
    "user_agent",
    [
        "TV/1 at 192.168.1.5 asks since 10:04.",
        "TV/1\u00a0at\u00a0192.168.1.5",
        "TV/1\x85at 192.168.1.5",
    ],
)
def test_an_unknown_browser_of_a_screen_tells_no_story(user_agent: str) -> None:
    """The operator compares the address that stands beside it."""
    assert screen_browser(user_agent) == "TV/1"


def test_a_browser_of_a_screen_is_named_briefly() -> None:
    """As what it is known for, or by its first product."""
    assert screen_browser("Mozilla/5.0 (X11; Linux) Chrome/63.0 TV") == "Chrome, Linux"
    assert screen_browser("x" * 500) == "x" * 64 and screen_browser("") == ""
