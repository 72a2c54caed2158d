"""Origins are compared exactly, as browsers write them."""

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.origins import Origins, is_host, origin_of, request_scheme
from services.settings.models import ServerSettings

OPEN = Origins("", ["https://shop.example"])
PUBLIC = Origins("https://login.example", [])


@pytest.mark.parametrize(
    ("origin", "foreign"),
    [
        (None, False),
        ("http://here:8888", False),
        ("https://shop.example", False),
        ("https://here:8888", True),
        ("http://here", True),
        ("http://HERE:8888", True),
        ("http://here:8888/", True),
        ("https://shop.example.evil", True),
        ("null", True),
        ("", True),
    ],
)
def test_without_public_url_the_requests_own_address_counts(
    origin: str | None, foreign: bool
) -> None:
    """Scheme, host and port; and whatever the operator allowed."""
    assert OPEN.is_foreign(origin, "http", "here:8888") is foreign


def test_with_public_url_the_host_header_counts_for_nothing() -> None:
    """A client writes that header."""
    assert not PUBLIC.is_foreign("https://login.example", "http", "elsewhere")
    assert PUBLIC.is_foreign("http://elsewhere", "http", "elsewhere")


@pytest.mark.parametrize(
    ("origin", "scheme", "host", "foreign"),
    [
        ("https://here", "https", "here:443", False),
        ("http://here", "http", "here:80", False),
        ("https://[::1]", "https", "[::1]:443", False),
        ("https://here", "https", "here:80", True),
        ("https://here", "https", "here:8443", True),
        ("https://here:8443", "https", "here:443", True),
        ("https://here:443", "https", "here:443", True),
    ],
)
def test_the_default_port_of_a_scheme_is_none(
    origin: str, scheme: str, host: str, foreign: bool
) -> None:
    """Proxies name it in the Host, browsers leave it out of the Origin (RFC 6454, section 4)."""
    assert OPEN.is_foreign(origin, scheme, host) is foreign


@pytest.mark.parametrize(
    ("origin", "host", "differs"),
    [
        ("https://here", "here:443", True),
        ("https://here:8443", "here:8443", True),
        ("https://here", "here", True),
        ("https://here", "here:8443", False),
        ("https://there", "here:443", False),
        ("wss://here", "here", False),
    ],
)
def test_another_scheme_has_another_default_port(origin: str, host: str, differs: bool) -> None:
    """A proxy that says where it listens, and not by which scheme, is told."""
    assert OPEN.differs_in_scheme(origin, "http", host) is differs


def test_only_allowed_origins_share() -> None:
    """Our own pages need no CORS, and strangers get none."""
    assert OPEN.shared_with("https://shop.example")
    for origin in (None, "null", "http://here:8888", "https://evil.example"):
        assert not OPEN.shared_with(origin)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.example:443/x?y", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:8080/", "http://a.example:8080"),
        ("http://[2001:db8::1]:81", "http://[2001:db8::1]:81"),
    ],
)
def test_origins_are_written_as_browsers_do(url: str, origin: str) -> None:
    """Default ports are left out, brackets stay (RFC 6454, section 6.2)."""
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("peer", "header", "scheme"),
    [
        ("127.0.0.1", "https", "https"),
        ("127.0.0.1", " HTTPS ", "https"),
        ("127.0.0.1", "http", "http"),
        ("127.0.0.1", "", "http"),
        ("127.0.0.1", "javascript", "http"),
        ("127.0.0.1", "https, http", "http"),
        ("192.0.2.1", "https", "http"),
        ("nonsense", "https", "http"),
    ],
)
def test_the_scheme_is_a_listed_proxys_word(peer: str, header: str, scheme: str) -> None:
    """And plain HTTP otherwise."""
    proxies = ServerSettings(trusted_proxies=("127.0.0.0/8",)).trusted_proxies
    assert request_scheme(peer, header, proxies) == scheme


@given(st.text(st.sampled_from("ab1:.[]-_%@, /\\?#é\x7f") | st.characters(max_codepoint=255)))
@example("[::1]:65535")
@example("[::ffff:1.2.3.4]")
@example("a:65536")
@example("[1.2.3.4]")
@example("%")
@example(":80")
def test_a_host_makes_an_address(text: str) -> None:
    """Whatever is taken for one, URLs made of it have that host and a port, and nothing else."""
    if not is_host(text):
        return
    parts = urlsplit(f"http://{text}/x")
    assert (parts.path, parts.query, parts.fragment, parts.username) == ("/x", "", "", None)
    assert parts.hostname and (parts.port is None or parts.port < 65536)


@pytest.mark.parametrize(
    ("header", "scheme"),
    [
        ("wss", "https"),
        ("WSS", "https"),
        ("ws", "http"),
        ("https,https", "https"),
        ("https , wss", "https"),
        ("http, ws", "http"),
        ("https,", "http"),
        (",", "http"),
        ("https https", "http"),
        ("https;http", "http"),
        ("on", "http"),
    ],
)
def test_proxies_agree_on_a_scheme(header: str, scheme: str) -> None:
    """WebSocket's schemes are HTTP's; where values differ none counts."""
    proxies = ServerSettings(trusted_proxies=("127.0.0.0/8",)).trusted_proxies
    assert request_scheme("127.0.0.1", header, proxies) == scheme
