"""Addresses with a password are taken apart before a library sees them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.settings.urls import ENCODE, ServerUrl, take_apart

SCHEMES = ("redis", "rediss", "unix")


def test_every_part_is_decoded() -> None:
    """User, password, servers, path and options come out as they were meant."""
    url = "rediss://push:Elbe%404%2F@a.example:6380,[fd00::1]/2?ssl_ca_certs=%2Fca.pem&x=1&x=2"
    assert take_apart(url, SCHEMES) == ServerUrl(
        scheme="rediss",
        username="push",
        password="Elbe@4/",
        hosts=(("a.example", 6380), ("fd00::1", None)),
        path="/2",
        options=(("ssl_ca_certs", "/ca.pem"), ("x", "1"), ("x", "2")),
    )


def test_an_address_without_servers_has_a_path() -> None:
    """A Unix socket is named by its path alone."""
    parts = take_apart("unix:///run/redis.sock?db=1", SCHEMES)
    assert (parts.hosts, parts.path) == ((), "/run/redis.sock")


@pytest.mark.parametrize("character", "#/?@[]%")
def test_a_password_that_is_not_encoded_is_refused_in_words_that_hold_none_of_it(
    character: str,
) -> None:
    """Each character that ends or changes a part of an address asks for percent-encoding."""
    for text in (f"Kranich7{character}Elbe4", f"Kranich7@Elbe4{character}Ufer9", character):
        with pytest.raises(ValueError) as refused:
            take_apart(f"redis://push:{text}@127.0.0.1/0", SCHEMES)
        assert str(refused.value).endswith(ENCODE)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1", "redis://, rediss:// or unix://"),
        ("redis:127.0.0.1", "must begin"),
        ("", "must begin"),
        ("redis://a b", "without blanks"),
        ("redis://host\n", "without blanks"),
        ("redis://höst/", "ASCII"),
        ("redis://host:0/", "port"),
        ("redis://host:/", "port"),
        ("redis://host:65536/", "port"),
        ("redis://host:x/", "port"),
        ("redis://:6379/", "host"),
        ("redis://a,,b/", "host"),
        ("redis://[::1/", "brackets"),
        ("redis://fd00::1/", "brackets"),
        ("redis://host/%zz", "%"),
        (f"redis://{'a' * 64}/", "neither a name nor an address"),
        (f"redis://{'a.' * 128}a/", "neither a name nor an address"),
        ("redis://a..b/", "neither a name nor an address"),
        ("redis://.a/", "neither a name nor an address"),
        ("redis://a%00b/", "neither a name nor an address"),
        ("redis://a%0ab/", "neither a name nor an address"),
        ("redis://a;b/", "neither a name nor an address"),
        ("redis://%2frun%00x/", "neither a name nor an address"),
        ("redis://[:::::]/", "neither a name nor an address"),
        ("redis://[1.2.3.4]/", "neither a name nor an address"),
    ],
)
def test_what_is_no_address_is_refused_in_one_line(url: str, words: str) -> None:
    """The sentence says what is expected."""
    with pytest.raises(ValueError, match=words) as refused:
        take_apart(url, SCHEMES)
    assert "\n" not in str(refused.value)


@given(st.text(st.characters(codec="ascii"), min_size=6).filter(lambda text: text not in ENCODE))
def test_whatever_a_password_is_it_is_read_whole_or_refused_unquoted(password: str) -> None:
    """No character of a password lets a part of it pass for a host or get into the refusal."""
    try:
        parts = take_apart(f"redis://:{password}@127.0.0.1:6379/0", SCHEMES)
    except ValueError as refused:
        assert password not in str(refused)
    else:
        assert parts.hosts == (("127.0.0.1", 6379),)
