"""services.settings.outgoing: proxies and certificates, as the environment names them."""

from pathlib import Path

import certifi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import SettingsError
from services.settings.models import AccountSettings, LoginSettings, Settings, WeChatSettings
from services.settings.outgoing import Outgoing, Proxy, drop_key_log, load_outgoing

REAL = Settings(wechat=WeChatSettings(accounts={"a": AccountSettings(app_id="wx0123456789abcdef")}))
SIMULATED = Settings()
API = "https://api.weixin.qq.com/cgi-bin/token"


def mistake(**environ: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_outgoing(REAL, environ)
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("socks5://Kranich7:Elbe4@127.0.0.1:7890", "SOCKS"),
        ("socks5h://127.0.0.1:7890", "SOCKS"),
        ("socks4://127.0.0.1:7890", "SOCKS"),
        ("socks://127.0.0.1:7890", "SOCKS"),
        ("SOCKS5://127.0.0.1:7890", "SOCKS"),
        ("ftp://Kranich7@127.0.0.1:21", "must begin with http:// or https://"),
        ("file:///Kranich7", "must begin with"),
        ("://127.0.0.1:7890", "must begin with"),
        (":7890", "port"),
        ("http://", "must name one host"),
        ("http://:7890", "port"),
        ("http://Kranich7:port", "port"),
        ("http://127.0.0.1:0", "port"),
        ("http://127.0.0.1:65536", "port"),
        ("http://127.0.0.1:7890\n", "line feeds"),
        ("http://127.0.0.1:7890 ", "blanks"),
        ("  ", "blanks"),
        ("http://127.0.0.1,127.0.0.2:7890", "must name one host"),
        ("http://[::1:7890", "brackets"),
        ("http://[Kranich7]:7890", "brackets"),
        ("http://::1:7890", "brackets"),
        ("http://ex..ample:7890", "neither a name nor an address"),
        ("http://u:Kranich7#Elbe4@127.0.0.1:7890", "percent-encode"),
        ("http://u:Kranich7/Elbe4@127.0.0.1:7890", "percent-encode"),
        ("http://u:Kranich7@Elbe4@127.0.0.1:7890", "percent-encode"),
        ("u:Kranich7?Elbe4@127.0.0.1:7890", "percent-encode"),
        ("http://u:Kranich7%zz@127.0.0.1:7890", "percent-encode"),
        ("http://u:Kranich7%ff@127.0.0.1:7890", "from UTF-8"),
        ("http://u%3av:Kranich7@127.0.0.1:7890", "no colon in its user name"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_told(variable: str, address: str, problem: str) -> None:
    """One line names the variable as it is spelt, and quotes nothing of its value."""
    error = mistake(**{variable: address})
    assert error.key == variable and problem in error.problem
    assert "Kranich7" not in str(error) and "Elbe4" not in str(error)


@pytest.mark.parametrize(
    ("address", "proxy"),
    [
        ("http://127.0.0.1:7890", Proxy("http", "127.0.0.1", 7890)),
        ("127.0.0.1:7890", Proxy("http", "127.0.0.1", 7890)),
        ("HTTP://Proxy.Test", Proxy("http", "Proxy.Test", 80)),
        ("https://proxy.test/", Proxy("https", "proxy.test", 443)),
        ("http://[fd00::1]:3128", Proxy("http", "fd00::1", 3128)),
        ("http://u:p%40ss%2Fw@proxy_1:1", Proxy("http", "proxy_1", 1, "u", "p@ss/w")),
        ("u:Elbe4@proxy.test:1", Proxy("http", "proxy.test", 1, "u", "Elbe4")),
        ("http://token@proxy.test", Proxy("http", "proxy.test", 80, "token")),
    ],
)
def test_a_proxy_is_taken_apart(address: str, proxy: Proxy) -> None:
    """Without a scheme it is http; user name and password are decoded."""
    assert load_outgoing(REAL, {"HTTPS_PROXY": address}).proxies.of(API) == proxy
    assert proxy.password == "" or proxy.password not in repr(proxy)


@given(st.one_of(st.text(max_size=60), st.text("http:/@[]%.#?,x1 \n", max_size=40)))
def test_any_text_is_a_proxy_or_one_line(address: str) -> None:
    """No library sees it before it is known to be usable, and none raises here."""
    try:
        proxy = load_outgoing(REAL, {"ALL_PROXY": address}).proxies.of(API)
    except SettingsError as error:
        assert error.key == "ALL_PROXY" and str(error).isprintable()
    else:
        assert proxy is None if not address else proxy is not None


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        ({"HTTPS_PROXY": "p:1"}, 1),
        ({"HTTP_PROXY": "p:1"}, None),
        ({"ALL_PROXY": "p:1"}, 1),
        ({"ALL_PROXY": "p:1", "HTTPS_PROXY": "p:2"}, 2),
        ({"HTTPS_PROXY": "p:1", "https_proxy": "p:2"}, 2),
        ({"HTTPS_PROXY": "p:1", "https_proxy": ""}, None),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "example.com", "no_proxy": "qq.com"}, None),
        # What no request takes is not looked at: laptops often set all three.
        ({"HTTPS_PROXY": "p:1", "HTTP_PROXY": "p:2", "ALL_PROXY": "socks5://p"}, 1),
        ({"ALL_PROXY": "socks5://p", "NO_PROXY": "*"}, None),
    ],
)
def test_which_variable_decides(environ: dict[str, str], port: int | None) -> None:
    """The one of the scheme before ALL_PROXY, lower case before capitals, as in curl."""
    proxy = load_outgoing(REAL, environ).proxies.of(API)
    assert (proxy.port if proxy else None) == port


@pytest.mark.parametrize(
    ("no_proxy", "url", "exempt"),
    [
        ("[2001:db9::1]", "https://[2001:db9::1]/", True),
        ("2001:db9::1", "https://[2001:db9::1]:8080/", True),
        ("2001:db9::/32", "https://[2001:db9:5::1]/", True),
        ("[2001:db9::]/32", "https://[2001:db9:5::1]/", True),
        ("[2001:db9::1]:8080", "https://[2001:db9::1]:8080/", True),
        ("[2001:db9::1]:8080", "https://[2001:db9::1]/", False),
        ("8.8.0.0/16", "https://8.8.4.4/", True),
        ("8.8.4.4/16", "https://8.8.8.8/", True),
        ("8.8.0.0/16", "https://9.8.4.4/", False),
        ("8.8.4.4:443", "https://8.8.4.4/", True),
        ("8.8.*", "https://8.8.4.4/", True),
        ("example.com", "https://example.com/", True),
        ("Example.com", "https://www.EXAMPLE.com./", True),
        ("example.com", "https://wwwexample.com/", False),
        (".example.com", "https://www.example.com/", True),
        ("*.example.com", "https://www.example.com/", True),
        ("*.example.com", "https://example.com/", False),
        ("example.com:444", "https://example.com/", False),
        ("example.com:443", "https://example.com/", True),
        (" a.test , example.com,, ", "https://example.com/", True),
        ("a.test example.com", "https://example.com/", True),
        ("bad/entry,example.com", "https://example.com/", True),
        # These need no entry.
        ("", "http://127.0.0.1/", True),
        ("", "http://localhost/", True),
        ("", "http://[::1]:9/", True),
        ("", "http://10.1.2.3/", True),
        ("", "https://[fd00::5]/", True),
        ("", "http://8.8.8.8/", False),
        ("", "http://[::ffff:8.8.8.8]/", False),
    ],
)
def test_what_no_proxy_exempts(no_proxy: str, url: str, exempt: bool) -> None:
    """Names with those below them, addresses, networks and ports; one bad entry spoils no other."""
    environ = {"ALL_PROXY": "http://proxy.test:1", "NO_PROXY": no_proxy}
    assert (load_outgoing(REAL, environ).proxies.of(url) is None) is exempt


@pytest.mark.parametrize(
    ("no_proxy", "entries"),
    [
        ("[::1],fd00::/8,::1/128,[::1]:8080,10.0.0.0/8,*.a.test,.b.test,c:80", ""),
        ("a.test,fd00::/200", "2 of 2"),
        ("[::1", "1 of 1"),
        ("10.0.0.0/33,b,http://c", "1, 3 of 3"),
        ("a:0,b:99999,c:x", "1, 2, 3 of 3"),
        ("\u4f8b.test", "1 of 1"),
        ("1.2.3.400", "1 of 1"),
        ("<local>", "1 of 1"),
        ("a..b,/,:,@", "1, 2, 3, 4 of 4"),
    ],
)
def test_entries_that_say_nothing_are_skipped_with_one_warning(no_proxy: str, entries: str) -> None:
    """It counts them and quotes none; without a proxy there is nothing to warn about."""
    outgoing = load_outgoing(REAL, {"HTTPS_PROXY": "p:1", "no_proxy": no_proxy})
    assert len(outgoing.warnings) == bool(entries)
    for warning in outgoing.warnings:
        assert warning.startswith(f"no_proxy: entry {entries} ") and "local" not in warning
    assert not load_outgoing(REAL, {"no_proxy": no_proxy}).warnings


@given(st.text(max_size=60), st.text("[]:/.*,1f x", max_size=40))
def test_no_text_of_no_proxy_stops_anything(text: str, other: str) -> None:
    """Whatever stands there, an address is asked directly or through the proxy."""
    outgoing = load_outgoing(REAL, {"HTTPS_PROXY": "p:1", "NO_PROXY": f"{text},{other}"})
    assert outgoing.proxies.of(API) in (None, Proxy("http", "p", 1))


BAD = {
    "HTTP_PROXY": "ftp://x",
    "ALL_PROXY": "socks5://x",
    "SSL_CERT_FILE": "/nonexistent.pem",
    "SSL_CERT_DIR": "/nonexistent",
}


def test_where_nothing_leaves_the_machine_none_of_it_matters() -> None:
    """The first try on a laptop: WeChat is simulated, or a simulator stands beside the server."""
    near = REAL.wechat.model_copy(update={"api_base": "http://127.0.0.1:8889"})
    for settings in (SIMULATED, REAL.model_copy(update={"wechat": near})):
        assert load_outgoing(settings, BAD) == Outgoing()


def test_a_hook_on_https_needs_certificates_although_wechat_is_simulated() -> None:
    """It is asked over TLS; proxies do not matter to it."""
    login = LoginSettings(hook_url="https://hook.example.com/")
    with pytest.raises(SettingsError, match="^SSL_CERT_FILE: "):
        load_outgoing(Settings(login=login), BAD)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("what", ["nothing", "folder", "empty", "text", "cut", "below a file"])
def test_certificates_that_cannot_be_used_are_told(
    tmp_path: Path, variable: str, what: str
) -> None:
    """One line names the variable."""
    path = tmp_path / "x"
    if what == "folder":
        path.mkdir()
        (path / "ca.pem").write_text(Path(certifi.where()).read_text())  # not under its hash
    elif what == "below a file":
        path.write_text("")
        path = path / "y"
    elif what != "nothing":
        beginning = "-----BEGIN CERTIFICATE-----\nMIIB"
        path.write_text({"empty": "", "text": "no certificate", "cut": beginning}[what])
    assert mistake(**{variable: str(path)}).key == variable


def test_certificates_that_can_be_used_are(tmp_path: Path) -> None:
    """A file in PEM, before a folder with hashed names; neither: those of the library."""
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "0a1b2c3d.0").write_text("")
    for environ in (
        {"SSL_CERT_FILE": certifi.where(), "SSL_CERT_DIR": "/nonexistent"},
        {"SSL_CERT_DIR": f"/nonexistent:{folder}"},
    ):
        assert load_outgoing(REAL, environ).trusted is not None
    assert load_outgoing(REAL, {"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}).trusted is None


def test_a_key_log_that_cannot_be_written_is_dropped(tmp_path: Path) -> None:
    """With a warning: it is an aid, and nothing needs it."""
    dangling, circle = tmp_path / "dangling", tmp_path / "circle"
    dangling.symlink_to("/nonexistent/keys")
    circle.symlink_to(circle)
    for path in ("/nonexistent/keys", str(tmp_path), str(dangling), str(circle)):
        environ = {"SSLKEYLOGFILE": path}
        [warning] = drop_key_log(environ)
        assert warning.startswith("SSLKEYLOGFILE: ") and not environ
    environ = {"SSLKEYLOGFILE": str(tmp_path / "keys")}
    assert not drop_key_log(environ) and environ
