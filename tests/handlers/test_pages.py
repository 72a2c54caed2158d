"""Pages and files as they are sent: languages, policy, codings, what browsers may keep."""

import gzip
import re
import shutil
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import brotli
import httpx
import pytest

from handlers.assets import PAGES, STATIC, Assets, accepted_coding, policy_hash, static_assets
from services.scenes.history import BY_TIME, DUPLICATE
from services.scenes.states import State
from services.scenes.status import FAILURES
from services.settings import branding
from services.wechat.reply_texts import LANGUAGES
from tests.handlers.answers import error_of
from tests.handlers.running import Running
from tests.stack import Stack

PATHS = {"index": "/", "kiosk": "/kiosk", "operator": "/operator"}
FACTS = {
    "simulated": "false",
    "site": "Tea",
    "phone": "",
    "kinds": "official_account",
    "client": "Wiki",
    "authorize": "x",
    "logo": "",
    "colours": "",
    "terms": "",
    "privacy": "",
    "account_name": "",
    "account_qr": "",
}
LASTING = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with an operator's page."""
    folder = tmp_path_factory.mktemp("server")
    running = Running(lambda: Stack(folder, operator={"token": "a-token-of-the-operator-alone"}))
    yield running
    running.close()


def heading(answer: httpx.Response) -> str:
    found = re.search(r"<h1[^>]*>([^<]+)</h1>", answer.text)
    assert found
    return found[1]


# Languages.


@pytest.mark.parametrize(
    ("accepted", "query", "cookie", "lang"),
    [
        ("zh-CN,zh;q=0.9", "", "", "zh-CN"),
        ("zh-Hant-HK", "", "", "zh-TW"),
        ("fr-FR, ja;q=0.8, en;q=0.9", "", "", "en"),
        ("fr", "", "", "en"),
        ("", "", "", "en"),
        ("en;q=0, ja;q=0.1", "", "", "ja"),
        ("en;q=much, , ;;", "", "", "en"),
        # Not more than any browser has: a full head of them would take 12 ms.
        ("fr," * 31 + "ja", "", "", "ja"),
        ("fr," * 32 + "ja", "", "", "en"),
        ("en", "?lang=zh-CN", "", "zh-CN"),
        ("en", "", "lang=ja", "ja"),
        ("en", "?lang=zh-TW", "lang=ja", "zh-TW"),
        ("zh", "?lang=xx", "", "en"),
    ],
)
def test_a_page_comes_in_the_visitors_language(
    server: Running, accepted: str, query: str, cookie: str, lang: str
) -> None:
    """That of the address, of the choice made on a page, or of the browser, in this order; a cache
    is told what it depends on, and the words can be read without a script."""
    headers = {"Accept-Language": accepted, **({"Cookie": cookie} if cookie else {})}
    answer = server.http.get(f"/{query}", headers=headers)
    words = static_assets().words(f"i18n/pages/{lang}.js")
    assert f'<html lang="{lang}">' in answer.text
    assert answer.headers["Content-Language"] == lang
    assert heading(answer) == words["heading"]
    assert all(f"<li>{step}</li>" in answer.text for step in words["steps"])
    vary = set(answer.headers["Vary"].split(", "))
    assert vary >= {"Accept-Language", "Accept-Encoding", "Cookie"}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_failure_has_words(lang: str) -> None:
    """A page says why a login failed: a title and a sentence, its own for each reason."""
    words = static_assets().words(f"i18n/{lang}.js")
    reasons = [tuple(words[f"failed {code}"]) for code in FAILURES]
    assert all(len(said) == 2 and all(said) for said in reasons)
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_operator_reads_every_step_of_a_login_in_words(lang: str) -> None:
    """A timeline tells states, and what else happens to a scene, in the page's language."""
    words = static_assets().words(f"i18n/pages/{lang}.js")["operator"]
    events = {*map(str, State), "made", "shown", "delivered", "callback"}
    notes = {"socket", "acked", "exchanged", "new person", "known person", BY_TIME, DUPLICATE}
    assert events == words["event"].keys()
    assert notes <= words["note"].keys()
    english = static_assets().words("i18n/pages/en.js")["operator"]
    assert words["note"].keys() == english["note"].keys()


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_put_together_in_every_language(page: str, lang: str) -> None:
    """Its heading has words, no word is left out, and nothing of it is a file of its own but the
    icon."""
    text = static_assets().page(page, lang, FACTS).body.decode()
    assert re.search(r"<h1[^>]*>[^<]+</h1>", text)
    assert not re.search(r'<[a-z]\w*[^<>]* data-t="\w+"[^<>]*></', text)
    assert re.findall(r'(?:src|href)="(/[^"]*)"', text) == [
        f"/static/{static_assets().digest}/icon.svg"
    ]


SOURCES = (".html", ".js", ".css", ".ts", ".svg")


def test_what_is_sent_can_be_read() -> None:
    """The sources of static/ have lines of at most 120 characters: what is sent is made small by
    its coding, not by its writing. Bundles of other people are as they came."""
    long = [
        f"static/{path.relative_to(STATIC)}:{number}"
        for path in sorted(STATIC.rglob("*"))
        if path.suffix in SOURCES and "vendor" not in path.parts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 120
    ]
    assert not long


# Policy.


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_the_policy_allows_what_is_inline_by_hash_alone(server: Running, path: str) -> None:
    """Every inline script and style is named by its hash, and nothing else inline may run."""
    answer = server.http.get(path)
    policy = dict(
        (part.split()[0], part.split()[1:])
        for part in answer.headers["Content-Security-Policy"].split(";")
    )
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        hashes = {
            f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in inside
        }
        # Older browsers have the element's style inline, in its shadow.
        if tag == "style" and "<scan-login" in answer.text:
            hashes |= {policy_hash(text).strip() for text in static_assets().element_styles()}
        assert inside and set(policy[directive]) == {"'self'", *hashes}
        assert len(re.findall(rf"<{tag}\b", answer.text)) == len(inside)
    assert not re.search(r'\sstyle="|\son\w+="', answer.text)
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


# The operator's brand.

BRAND = {
    "name": "Tea & House",
    "logo": "https://example.com/logo.png",
    "colour": "#8a1c3b",
    "links": {"terms": "https://example.com/terms?a=1&b=2", "privacy": ""},
}


@pytest.fixture(scope="module")
def branded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose operator has a name, a logo, a colour and terms."""
    folder = tmp_path_factory.mktemp("branded")
    running = Running(lambda: Stack(folder, pages=BRAND))
    yield running
    running.close()


@pytest.mark.parametrize("path", ["/", "/kiosk", "/oauth/wechat/callback?code=x&state=y"])
def test_pages_show_whose_they_are(branded: Running, path: str) -> None:
    """The login page, kiosks and the small pages: name, logo and colour, and the policy allows
    the colour by its hash."""
    answer = branded.http.get(path, headers={"Accept-Language": "en"})
    assert "Tea &amp; House" in answer.text and BRAND["logo"] in answer.text
    styles = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert any(style.endswith(branding.style("#8a1c3b")) for style in styles)
    for style in styles:
        hashed = b64encode(sha256(style.encode()).digest()).decode()
        assert f"'sha256-{hashed}'" in answer.headers["Content-Security-Policy"]
    links = re.findall(r'<a href="(https://example.com/[^"]*)"[^>]*>([^<]*)</a>', answer.text)
    terms = [("https://example.com/terms?a=1&amp;b=2", "Terms of service")]
    assert links == ([] if path == "/kiosk" else terms)


# Codings, and what has not changed.


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("GZIP", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("br; q=0.0,gzip ; q=0", ""),
        ("br;q=0.001", "br"),
        ("identity", ""),
        ("*", ""),
        ("", ""),
        (";q=1,,br", "br"),
    ],
)
def test_the_best_coding_that_is_accepted_is_sent(accepted: str, coding: str) -> None:
    """Brotli before gzip, and none that is not named or that is refused."""
    assert accepted_coding(accepted) == coding


TEXTS = ["/", "/kiosk", "/static/scan-login.js", "/static/base.css", "/static/icon.svg"]
DECODERS = {"br": brotli.decompress, "gzip": gzip.decompress, "": bytes}


def raw(server: Running, path: str, **headers: str) -> tuple[httpx.Headers, int, bytes]:
    """The answer with its body as it was sent."""
    asked = {"Accept-Encoding": "identity", **headers}
    with server.http.stream("GET", path, headers=asked) as answer:
        return answer.headers, answer.status_code, b"".join(answer.iter_raw())


@pytest.mark.parametrize("path", TEXTS)
def test_codings_of_one_text(server: Running, path: str) -> None:
    """Each decodes to the same and has a validator of its own; HEAD tells the same of each."""
    texts, etags, vary = set(), [], set()
    for coding, decode in DECODERS.items():
        headers, _, body = raw(server, path, **{"Accept-Encoding": coding or "identity"})
        coded = coding if len(body) > 200 and "icon" not in path else ""
        assert headers.get("Content-Encoding", "") == coded
        assert int(headers["Content-Length"]) == len(body)
        texts.add(decode(body) if coded else body)
        etags.append(headers["Etag"])
        vary.add(headers["Vary"])
        head = server.http.head(path, headers={"Accept-Encoding": coding or "identity"})
        told = ("Content-Length", "Content-Encoding", "Content-Type", "Etag", "Vary")
        assert [head.headers.get(name) for name in told] == [headers.get(name) for name in told]
        assert head.content == b""
    assert len(texts) == 1
    assert "icon" in path or len(set(etags)) == 3
    assert all("Accept-Encoding" in line for line in vary)


@pytest.mark.parametrize("path", TEXTS[:-1])
def test_what_a_browser_has_is_not_sent_again(server: Running, path: str) -> None:
    """304 to the validator of the very coding that would be sent, and to no other's."""
    headers, _, _ = raw(server, path, **{"Accept-Encoding": "br"})
    asked = {"Accept-Encoding": "br", "If-None-Match": headers["Etag"]}
    again, status, body = raw(server, path, **asked)
    assert (status, body) == (304, b"")
    kept = ("Etag", "Vary", "Cache-Control")
    assert [again[name] for name in kept] == [headers[name] for name in kept]
    weak = {**asked, "If-None-Match": f'"x", W/{headers["Etag"]}'}
    assert raw(server, path, **weak)[1] == 304
    assert raw(server, path, **{**asked, "Accept-Encoding": "gzip"})[1] == 200


def test_a_page_is_another_one_in_another_language(server: Running) -> None:
    """The validator of one language is none of the other's."""
    english, _, _ = raw(server, "/", **{"Accept-Language": "en"})
    asked = {"If-None-Match": english["Etag"], "Accept-Language": "ja"}
    assert raw(server, "/", **asked)[1] == 200


# Names that last.


def test_a_file_below_the_digest_is_kept_for_ever(server: Running) -> None:
    """The same bytes under the plain name are asked for each time: a version may change them."""
    assets = static_assets()
    for name in ("scan-login.js", "scan-login-form.js", "i18n/en.js", "icon.svg"):
        lasting = server.http.get(f"/static/{assets.digest}/{name}")
        plain = server.http.get(f"/static/{name}")
        assert lasting.headers["Cache-Control"] == LASTING
        assert plain.headers["Cache-Control"] == "no-cache"
        assert lasting.content == plain.content
        for answer in (lasting, plain):
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_digest_of_another_version_gives_what_there_is(server: Running) -> None:
    """While nodes of two versions serve one page; it is not kept under that name."""
    answer = server.http.get("/static/0123456789abcdef/scan-login-form.js")
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-cache"
    for path in ("0123456789abcdef/nothing.js", "0123/base.css", "0123456789abcdef/"):
        assert error_of(server.http.get(f"/static/{path}"))["code"] == "not_found"


def test_the_digest_is_another_one_when_a_file_is(tmp_path: Path) -> None:
    """Of everything that is sent."""
    shutil.copytree(STATIC, tmp_path / "static")
    before = Assets(tmp_path / "static").digest
    assert before == static_assets().digest
    with (tmp_path / "static" / "qr.js").open("a") as file:
        file.write("\n// Changed.\n")
    assert Assets(tmp_path / "static").digest != before


# Parts.


@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=5-99999999", 206, slice(5, None)),
        ("bytes=-99999999", 206, slice(0, None)),
        ("bytes=99999999-", 416, slice(0, 0)),
        ("bytes=-0", 416, slice(0, 0)),
        ("bytes=9-5", 200, slice(0, None)),
        ("bytes=0-1,4-5", 200, slice(0, None)),
        ("bytes=-", 200, slice(0, None)),
        ("lines=1-2", 200, slice(0, None)),
        ("bytes=" + "9" * 5000 + "-", 200, slice(0, None)),
    ],
)
def test_a_part_of_a_file(server: Running, wanted: str, status: int, part: slice) -> None:
    """One range of the file as it is; the whole where that is no range or more than one."""
    asset, _ = static_assets().find("qr.js")
    assert asset is not None
    headers, got, body = raw(server, "/static/qr.js", Range=wanted, **{"Accept-Encoding": "br"})
    assert got == status and body == asset.body[part]
    size = len(asset.body)
    if status == 206:
        first = size - len(body) if body == asset.body[-len(body) :] else part.start
        assert headers["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/{size}"
    assert (status != 416) or headers["Content-Range"] == f"bytes */{size}"


def test_a_part_of_another_version_is_not_sent(server: Running) -> None:
    """``If-Range`` names what the client has: only of the same is a part of any use."""
    etag = raw(server, "/static/qr.js")[0]["Etag"]
    assert raw(server, "/static/qr.js", Range="bytes=0-9", **{"If-Range": etag})[1] == 206
    assert raw(server, "/static/qr.js", Range="bytes=0-9", **{"If-Range": '"other"'})[1] == 200
    assert raw(server, "/static/qr.js", Range="bytes=0-9", **{"If-None-Match": etag})[1] == 304


# How they are put together.


def test_a_script_that_cannot_be_put_into_a_page_stops_the_start(tmp_path: Path) -> None:
    """With the line that is not known."""
    shutil.copytree(STATIC, tmp_path / "static")
    script = tmp_path / "static" / "scan-client.js"
    script.write_text(script.read_text() + '\nexport * from "./qr.js";\n')
    with pytest.raises(ValueError, match=r"scan-client\.js.*export \* from"):
        Assets(tmp_path / "static")


def test_the_element_is_one_file_that_exports_what_it_did() -> None:
    """It imports nothing before it runs."""
    asset, _ = static_assets().find("scan-login.js")
    assert asset is not None
    text = asset.body.decode()
    assert not re.search(r"^import\b(?!\()|\bimport\{", text, re.MULTILINE)
    assert "export{ScanLogin};" in text
    assert "export const language=" in text
