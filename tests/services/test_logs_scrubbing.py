"""services.scrubbing: secrets are taken out, the rest stays readable (threat C23)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.logs import (
    MAX_URI_CHARACTERS,
    SECRET_FIELDS,
    scrub,
    scrub_field,
    scrub_line,
    scrub_uri,
    short_hash,
)

SECRET = "Zx9-Secret_7q"
OPENID = "oAbCdEfGhIjKlMnOpQrStUvWxYz1"
KEYS = [
    "secret",
    "app_secret",
    "appsecret",
    "access_token",
    "refresh_token",
    "code",
    "js_code",
    "signature",
    "msg_signature",
    "ticket",
    "token",
    "watch_token",
    "registration_token",
    "state",
    "openid",
    "unionid",
    "session_key",
    "password",
    "encoding_aes_key",
    "ACCESS_TOKEN",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "text",
    [
        "GET https://api.test/x?a=1&{key}={secret}&b=2",
        "{key}={secret}",
        "to http%3A%2F%2Fx%3F{key}%3D{secret}%26b%3D2",
        "answer {{'{key}': '{secret}', 'b': 2}}",
        'answer {{"{key}": "{secret}"}}',
    ],
)
def test_a_value_is_masked_by_its_name(key: str, text: str) -> None:
    """In a query, in an encoded address, in a dictionary, in JSON."""
    masked = scrub(text.format(key=key, secret=SECRET))
    assert SECRET not in masked and key in masked


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f"bearer  {SECRET}",
        f"Basic {SECRET}",
        f"redis://:{SECRET}@127.0.0.1:6379/0",
        f"mongodb://user:{SECRET}@host/db",
        f"redis://:pa@ss/{SECRET}#?@127.0.0.1/0 refused",
        f"'http://user:pa ss {SECRET}@proxy:1'",
        f"http://{SECRET}@proxy:1",
        f"Error -2 connecting to ss/{SECRET}@127.0.0.1:6379. Name or service not known.",
        f"getaddrinfo failed: {SECRET}@host",
        "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.Zx9-Secret_7q",
        f"scanpush.v1, watch.{SECRET}0123456789012345",
        f"scan by {OPENID}.",
    ],
)
def test_a_secret_is_masked_by_its_look(text: str) -> None:
    """Credentials that carry no known name."""
    masked = scrub(text)
    assert SECRET not in masked and OPENID not in masked


@pytest.mark.parametrize(
    "text",
    [
        "errcode=40001 errmsg=invalid credential",
        "scene 3f2504e0-4f89-41d3-9a0c-0305e82c3301: moved",
        "GET /api/scenes/3f2504e0-4f89-41d3-9a0c-0305e82c3301?wait=25&seq=1",
        "expires_in=7200 close_code=4409",
        'Traceback (most recent call last):\n  File "x.py", line 3, in f\n    state = self.move()',
        "扫码登录",
        "percent-encode # / ? @ : % [ ] (@ is %40)",
        "Traceback:\n    @property\n    a @ b",
        "http://127.0.0.1:8888/ and [::]:80",
    ],
)
def test_the_rest_stays_as_it_is(text: str) -> None:
    """A log that hides everything is of no use."""
    assert scrub(text) == text


def test_a_person_is_recognised_but_not_named() -> None:
    """The same openid has the same short hash, everywhere."""
    assert scrub(f"by {OPENID}") == f"by openid#{short_hash(OPENID)}"
    assert len(short_hash(OPENID)) == 10


def test_no_stranger_forges_a_line() -> None:
    """Line feeds, carriage returns, escapes and directions of writing are spelt out."""
    line = scrub_line("a\nERROR b\rc\x1b[2Jd\u2028e\u202ef\tg")
    assert line.isprintable()


def test_a_uri_keeps_names_and_harmless_values() -> None:
    """Whatever is not known to be harmless is masked, however its name is written."""
    assert scrub_uri("/x?wait=25&signature=a&%74oken=b&new=c&bare") == (
        "/x?wait=25&signature=***&%74oken=***&new=***&***"
    )


def test_a_uri_without_query_stays() -> None:
    """Nothing is added."""
    assert scrub_uri("/wechat/callback") == "/wechat/callback"
    assert scrub_uri("/x?") == "/x?"


def test_a_long_uri_is_cut() -> None:
    """A log line is no place for 64 KiB."""
    assert len(scrub_uri("/" + "x" * 100_000)) <= MAX_URI_CHARACTERS + 3


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "part",
    ["-eyJ", "eyJ-", "eyJa.", "watch.-", "-oo", "://:", "://a:", "bearer ", "basic  ", "code=%3d"]
    + ["://a:@", "a@", "a @", "://a: @\n", "@a", "a://"]
    + ['"code":\'', "'code' : \"", "%aa=", "a_=", '"token" ', "o" * 28],
)
def test_no_text_takes_long(part: str) -> None:
    """A megabyte of whatever begins a secret is looked through once, not once for each start."""
    assert scrub("=: " + part * (1_000_000 // len(part)))


@given(st.text(max_size=300))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    """Whatever comes from outside."""
    line = scrub_line(text)
    assert "\n" not in line and "\r" not in line and "\x1b" not in line


@given(
    st.text(max_size=20).filter(lambda text: "\n" not in text),
    st.text(max_size=20).filter(lambda text: "\n" not in text),
    st.sampled_from(["redis", "mongodb+srv", "http", "socks5"]),
    st.sampled_from(["", "user", "us.er-1", "用户"]),
)
def test_no_password_of_an_address_survives(
    before: str, after: str, scheme: str, user: str
) -> None:
    """Whatever characters stand in it, encoded or not."""
    address = f"{scheme}://{user}:{before}{SECRET}{after}@127.0.0.1:6379/0"
    for text in (address, f"cannot reach {address}: refused", f"{{'url': '{address}'}}\nnext"):
        assert SECRET not in scrub(text)
        assert "127.0.0.1:6379/0" in scrub(text)


@given(
    st.text(alphabet="abc&?/=%._-", max_size=30),
    st.sampled_from(["token", "code", "openid", "x", "%63ode"]),
)
def test_no_value_of_a_query_survives(prefix: str, key: str) -> None:
    """Only the few names known to be harmless keep theirs."""
    assert SECRET not in scrub_uri(f"/p?{prefix}&{key}={SECRET}")


@pytest.mark.parametrize("name", sorted(SECRET_FIELDS))
def test_a_secret_field_is_masked(name: str) -> None:
    """Structured fields by their names."""
    assert scrub_field(name, SECRET) == "***"


def test_fields_keep_numbers_and_hash_people() -> None:
    """What a dashboard adds up stays a number."""
    assert scrub_field("errcode", 40001) == 40001
    assert scrub_field("moved", True) is True
    assert scrub_field("openid", "short") == short_hash("short")
    assert scrub_field("openid", None) is None
    assert scrub_field("state", "waiting") == "waiting"
    assert scrub_field("what", ["a", "token=b"]) == "['a', 'token=***']"
