"""What a single setting may be: the field types of `services.settings.models`.

Every rule raises `ValueError` with a sentence that says what is expected and never repeats the
value, which may be a secret. pydantic adds the setting's dotted key.
"""

import base64
import re
import string
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from services.origins import DEFAULT_PORTS, Network, url_host
from services.settings.branding import check_colour
from services.settings.mongodb_url import check_url
from services.settings.redis_url import redis_address

NOTICE_PLACEHOLDERS = ("site", "time", "name")
"""What ``notice_fields`` may ask for."""

WEAK_KEY_DISTINCT_BYTES = 8
"""A random 32-byte key has about 30 distinct bytes; one with fewer than this was typed by hand."""

OWN_SECRET_BYTES = 16
"""The least length of a secret that the operator chooses (kiosks, hook, operator)."""

EVENTS_SECRET_PREFIX = "whsec_"

MOST_CODES_AHEAD = 500
"""Codes of an account that a process keeps ready, at most: what 15 s of 33 pages a second need, at
which a day's 100,000 codes last 50 minutes."""


def _whole(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _simulator(value: object) -> object:
    # The environment holds only strings.
    words: dict[object, bool] = {"true": True, "false": False}
    return words.get(value.lower(), value) if isinstance(value, str) else value


def _codes_ahead(value: object) -> object:
    text = str(value).lower()
    if text == "auto":
        return text
    if isinstance(value, bool) or not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError("must be auto or a whole number")
    if int(text) > MOST_CODES_AHEAD:
        raise ValueError(f"must be at most {MOST_CODES_AHEAD}")
    return int(text)


def _split(url: str) -> SplitResult:
    problem = "must be a URL that begins with http:// or https://"
    if not re.fullmatch(r"[!-~]+", url):
        raise ValueError(f"{problem}, without blanks or characters outside ASCII")
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable or parts.scheme not in DEFAULT_PORTS:
        raise ValueError(problem)
    if re.fullmatch(r"[0-9.]+", parts.hostname or "") and not _is_address(parts.hostname or ""):
        raise ValueError("must write an IPv4 address as four numbers, as in 127.0.0.1")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("must hold neither a user name nor a fragment")
    return parts


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _host_and_port(parts: SplitResult) -> str:
    host = url_host(parts.hostname or "")
    plain = parts.port is None or parts.port == DEFAULT_PORTS[parts.scheme]
    return host if plain else f"{host}:{parts.port}"


def _origin(url: str) -> str:
    # As browsers spell it (RFC 6454, section 6.2): lower case, no default port, no slash.
    parts = _split(url)
    if parts.path not in ("", "/") or parts.query:
        raise ValueError("must be scheme://host or scheme://host:port, without a path")
    return f"{parts.scheme}://{_host_and_port(parts)}"


def _base(url: str) -> str:
    parts = _split(url)
    if parts.query:
        raise ValueError("must be a URL without a query")
    return f"{parts.scheme}://{_host_and_port(parts)}{parts.path.rstrip('/')}"


def _colour(value: object) -> object:
    # YAML takes what follows a blank and # for a comment.
    colour = value if isinstance(value, str) else " "
    if colour and not re.fullmatch("#[0-9a-fA-F]{6}", colour):
        raise ValueError('must be a colour in quotes, as in "#0a6b4d"')
    return check_colour(colour.lower()) if colour else ""


def _logo(text: str) -> str:
    return _split(text).geturl() if text.startswith("https://") else text


def _redirect_uri(url: str) -> str:
    # Apps have schemes and loopback addresses of their own (RFC 8252, section 7).
    if not re.fullmatch(r"[!-~]+", url) or not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*:.+", url):
        raise ValueError("must be a URL with a scheme, without blanks or characters outside ASCII")
    parts = urlsplit(url)
    if "#" in url or "@" in parts.netloc:
        raise ValueError("must hold neither a user name nor a fragment")
    if parts.scheme in DEFAULT_PORTS:
        _split(url)
    elif parts.scheme in ("javascript", "data", "file", "blob", "about", "vbscript"):
        raise ValueError("must not be of a scheme that browsers carry out themselves")
    elif "." not in parts.scheme:
        raise ValueError(
            "must begin with https://, http:// or an app's own scheme, as in com.example.app:/"
        )
    return url


def _optional(rule: Callable[[str], str]) -> AfterValidator:
    """Empty, or what `rule` makes of it."""
    return AfterValidator(lambda text: rule(text) if text else "")


def _secret(pattern: str, problem: str) -> AfterValidator:
    """Empty, or a secret that matches `pattern` from end to end."""

    def check(value: SecretStr) -> SecretStr:
        if value and not re.fullmatch(pattern, value.get_secret_value()):
            raise ValueError(problem)
        return value

    return AfterValidator(check)


def _network(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be an address or a network, as in 10.0.0.0/8")
    try:
        return ip_network(value)
    except ValueError:
        raise ValueError(
            "must be an address or a network, as in 10.0.0.0/8 (no bits set behind the slash)"
        ) from None


def _app_id(value: str) -> str:
    if value.startswith("gh_"):
        raise ValueError("is the account's original id; the AppID of the console begins with wx")
    if value and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        raise ValueError("must be the AppID of WeChat's console, letters and digits")
    return value


def _mini_program_page(value: str) -> str:
    if value.startswith("/") or not re.fullmatch(r"[^?\s]{0,128}", value):
        raise ValueError("must be like pages/login/index: no slash before it, no query")
    return value


def _account_code(value: str) -> str:
    if value and not re.fullmatch(r"https?://weixin\.qq\.com/[!-~]{1,200}", value):
        raise ValueError("must be what the account's QR code holds: http://weixin.qq.com/r/...")
    return value


def _aes_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text:
        return value
    if not re.fullmatch(r"[A-Za-z0-9]{43}", text):
        raise ValueError("must be 43 letters or digits, as in WeChat's console")
    if len(set(base64.b64decode(text + "="))) < WEAK_KEY_DISTINCT_BYTES:
        raise ValueError("is too regular to be a key; let WeChat's console make one")
    return value


def _in_an_address(value: SecretStr) -> SecretStr:
    if "%" in value.get_secret_value():
        raise ValueError("must not hold %, which has a meaning of its own in the address of a page")
    return value


def _events_secret(value: SecretStr) -> SecretStr:
    """Empty, or one or two secrets of Standard Webhooks with a space between: ``whsec_`` and the
    base64 of 24 to 64 bytes each."""
    secrets = value.get_secret_value().split()
    for text in secrets:
        try:
            key = base64.b64decode(text.removeprefix(EVENTS_SECRET_PREFIX), validate=True)
        except ValueError:
            key = b""
        if not text.startswith(EVENTS_SECRET_PREFIX) or not 24 <= len(key) <= 64:
            raise ValueError(
                "must be whsec_ and the base64 of 24 to 64 bytes"
                " (echo whsec_$(openssl rand -base64 32) makes one), or two of these with a space"
                " between"
            )
    if len(secrets) > 2:
        raise ValueError("must be one secret, or two while it is being changed")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    redis_address(value.get_secret_value())
    return value


def _mongodb_url(value: SecretStr) -> SecretStr:
    check_url(value.get_secret_value())
    return value


def _verify_files(files: Mapping[str, str]) -> Mapping[str, str]:
    for name in files:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}\.txt", name):
            raise ValueError("each name must be like MP_verify_xxx.txt, without a folder")
    return files


def _notice_fields(fields: Mapping[str, str]) -> Mapping[str, str]:
    known = " ".join(f"{{{name}}}" for name in NOTICE_PLACEHOLDERS)
    for name, text in fields.items():
        if "{{" in text or "}}" in text:
            raise ValueError(f"{name}: braces stand only around placeholders; {known} exist")
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError:
            raise ValueError(f"{name}: a brace is not closed; {known} exist") from None
        for _, placeholder, spec, conversion in parsed:
            if placeholder is None:
                continue
            if placeholder not in NOTICE_PLACEHOLDERS or spec or conversion:
                raise ValueError(f"{name}: unknown placeholder; {known} exist")
    return fields


def distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError("names something twice")
    return values


Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_whole)]
EventsSecret = Annotated[SecretStr, AfterValidator(_events_secret)]
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,31}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""An account's or a kiosk's name. Lower case, because names of variables have no case here."""
Origin = Annotated[str, AfterValidator(_origin)]
OptionalOrigin = Annotated[str, _optional(_origin)]
BaseUrl = Annotated[str, AfterValidator(_base)]
OptionalUrl = Annotated[str, _optional(lambda url: _split(url).geturl())]
Colour = Annotated[str, BeforeValidator(_colour)]
Logo = Annotated[str, AfterValidator(_logo)]
RedirectUri = Annotated[str, AfterValidator(_redirect_uri)]
AddressRange = Annotated[Network, BeforeValidator(_network)]
Simulator = Annotated[Literal["auto", True, False], BeforeValidator(_simulator)]
CodesAhead = Annotated[Literal["auto"] | int, BeforeValidator(_codes_ahead)]
AccountCode = Annotated[str, AfterValidator(_account_code)]
MiniProgramPage = Annotated[str, AfterValidator(_mini_program_page)]
WeChatAppId = Annotated[str, AfterValidator(_app_id)]
AppSecret = Annotated[
    SecretStr,
    _secret(r"[0-9a-fA-F]{32}", "must be 32 hexadecimal characters, as in WeChat's console"),
]
CallbackToken = Annotated[
    SecretStr,
    _secret(r"[A-Za-z0-9]{3,32}", "must be 3 to 32 letters or digits, as in WeChat's console"),
]
EncodingAesKey = Annotated[SecretStr, AfterValidator(_aes_key)]
OwnSecret = Annotated[
    SecretStr,
    _secret(
        rf"[!-~]{{{OWN_SECRET_BYTES},}}",
        f"must be at least {OWN_SECRET_BYTES} characters, ASCII without blanks"
        " (openssl rand -hex 32 makes one)",
    ),
]
KioskSecret = Annotated[OwnSecret, AfterValidator(_in_an_address)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
MongoUrl = Annotated[SecretStr, AfterValidator(_mongodb_url)]
VerifyFiles = Annotated[Mapping[str, str], AfterValidator(_verify_files)]
NoticeFields = Annotated[Mapping[str, str], AfterValidator(_notice_fields)]
RegisterFields = Annotated[tuple[Literal["name", "phone", "email"], ...], AfterValidator(distinct)]
