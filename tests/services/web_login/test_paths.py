"""Where a browser may go on to: paths of the server's own site only (C24)."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import ApiError
from services.web_login.oauth import own_path

SITE = "https://login.example.test"

FINE = ["/", "/members", "/a/b.html?x=1&u=https://elsewhere.test/#top", "/%E7%99%BB", "/a?b=//c"]

EVIL = [
    "//evil.test",
    "///evil.test",
    "/\\evil.test",
    "\\\\evil.test",
    "https://evil.test",
    "http:/evil.test",
    "javascript:alert(1)",
    "evil.test",
    "@evil.test",
    "/%2fevil.test",
    "/%2Fevil.test",
    "/%252fevil.test",
    "/%25252fevil.test",
    "/%5cevil.test",
    "/a/%2e%2e//evil.test",
    "/..//evil.test",
    "/.//evil.test",
    "/\t/evil.test",
    "/\n/evil.test",
    "/%09/evil.test",
    "/%0d%0aLocation:%20https://evil.test",
    " //evil.test",
    "/a\r\nSet-Cookie: x=1",
    "／／evil.test",
    "/\u2215/evil.test",
    "https://login.example.test@evil.test",
    "https://login.example.test.evil.test",
    "https://xn--login-example.test",
    "/" + "a" * 600,
    "?next=1",
    "#top",
    "a",
]


@pytest.mark.parametrize("path", FINE)
def test_own_paths_are_kept_as_they_are(path: str) -> None:
    """With query and fragment."""
    assert own_path(path) == path


def test_nothing_is_nowhere() -> None:
    """No `next`: the page says that the login is done."""
    assert own_path(None) == own_path("") == ""


@pytest.mark.parametrize("path", EVIL, ids=ascii)
def test_whatever_may_lead_elsewhere_is_refused(path: str) -> None:
    """Also what only a second decoding would turn."""
    with pytest.raises(ApiError) as caught:
        own_path(path)
    assert (caught.value.code, caught.value.field) == ("bad_request", "next")


@given(st.text(alphabet="/\\%25cf.:@a?#\t\r\n ", max_size=12) | st.text(max_size=20))
def test_no_text_leads_off_the_site(text: str) -> None:
    """Whatever is accepted stays, as Python's resolver and a browser's habits see it."""
    try:
        path = own_path(text)
    except ApiError:
        return
    for tried in (path, path.replace("\\", "/")):
        assert urlsplit(urljoin(SITE, tried)).netloc == "login.example.test"
