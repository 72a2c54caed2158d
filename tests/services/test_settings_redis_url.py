"""redis.url: every part is honoured, or refused in words that quote nothing of it."""

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from services.settings.redis_url import redis_address


@pytest.mark.parametrize(
    ("url", "servers", "database"),
    [
        ("redis://127.0.0.1", (("127.0.0.1", 6379),), 0),
        ("redis://127.0.0.1/", (("127.0.0.1", 6379),), 0),
        ("REDIS://h:7000/3", (("h", 7000),), 3),
        ("redis://h?db=3", (("h", 6379),), 3),
        ("redis://h/3?db=3", (("h", 6379),), 3),
        ("redis://[fd00::1]:7000/0", (("fd00::1", 7000),), 0),
        ("redis://a:7000,b,c:7002/0", (("a", 7000), ("b", 6379), ("c", 7002)), 0),
        ("redis:///2", (("localhost", 6379),), 2),
        ("rediss://h", (("h", 6379),), 0),
        ("redis+sentinel://a,b:7000/main", (("a", 26379), ("b", 7000)), 0),
        ("rediss+sentinel://a/main/4", (("a", 26379),), 4),
    ],
)
def test_servers_and_database_are_read(
    url: str, servers: tuple[tuple[str, int], ...], database: int
) -> None:
    """Ports and database have the usual defaults."""
    address = redis_address(url)
    assert (address.servers, address.database) == (servers, database)
    assert (address.tls is not None) == url.startswith("rediss")
    assert address.master == ("main" if "sentinel" in url else "")


def test_a_socket_is_named_by_its_path() -> None:
    """Its database is an option."""
    address = redis_address("unix://push:pw@/run/redis.sock?db=2")
    assert (address.servers, address.socket_path, address.database) == ((), "/run/redis.sock", 2)
    assert (address.username, address.password) == ("push", "pw")


def test_the_options_are_honoured() -> None:
    """User, password, name, protocol, and what the Sentinels want."""
    address = redis_address(
        "redis+sentinel://s/main?username=push&password=Elbe%264&client_name=scan&protocol=2"
        "&sentinel_username=watch&sentinel_password=Ufer9"
    )
    assert (address.username, address.password) == ("push", "Elbe&4")
    assert (address.sentinel_username, address.sentinel_password) == ("watch", "Ufer9")
    assert (address.client_name, address.protocol) == ("scan", 2)
    assert "Elbe" not in repr(address) and "Ufer9" not in repr(address)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h", "must begin with"),
        ("sentinel://h/main", "must begin with"),
        ("redis://%2Frun%2Fredis.sock", "must be unix:///"),
        ("redis://h/x", "number"),
        ("redis://h/0/1", "number"),
        ("redis://h/-1", "number"),
        ("redis://h/1.5", "number"),
        ("redis://h/0%2F1", "number"),
        ("redis://h/99999999999999999999", "number"),
        ("redis://h/1?db=2", "two databases"),
        ("redis://h?db=x", "number"),
        ("redis://h?socket_timeout=5", "does not exist"),
        ("redis://h?retry_on_timeout=true", "does not exist"),
        ("redis://h?password=Kranich7&Elbe4", "%26"),
        ("redis://h?password=Kranich7#Elbe4", "percent-encode"),
        ("redis://:Kranich7#Elbe4@h/0", "percent-encode"),
        ("redis://:Kranich7@Elbe4/Ufer9@h/0", "percent-encode"),
        ("redis://u:Kranich7@h?password=Elbe4", "keep one"),
        ("redis://h?db=1&db=2", "twice"),
        ("redis://h?db=", "without a value"),
        ("redis://h?protocol=4", "2 or 3"),
        ("redis://h?client_name=a%20b", "client_name"),
        ("redis://h?ssl_cert_reqs=none", "needs rediss://"),
        ("redis://h?ssl_ca_certs=/etc/ca.pem", "needs rediss://"),
        ("redis://h?sentinel_password=Kranich7", "needs redis\\+sentinel://"),
        ("rediss://h?ssl_cert_reqs=maybe", "required or none"),
        ("rediss://h?ssl_check_hostname=perhaps", "true or false"),
        ("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=true", "ssl_cert_reqs=required"),
        ("rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/etc/ca.pem", "keep one"),
        ("rediss://h?ssl_keyfile=/etc/key.pem", "ssl_certfile"),
        ("rediss://h?ssl_ca_certs=/nonexistent.pem", "ssl_ca_certs .*No such file"),
        ("rediss://h?ssl_ca_certs=/tmp", "ssl_ca_certs .*directory"),
        ("rediss://h?ssl_ca_certs=/a%00b", "ssl_ca_certs"),
        ("rediss://h?ssl_certfile=/nonexistent.pem", "ssl_certfile .*No such file"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix:///", "three slashes"),
        ("redis+sentinel://a,b", "watch"),
        ("redis+sentinel://a,b/0/main", "number"),
        ("redis+sentinel:///main", "watch"),
        ("redis+sentinel://a/main/x", "number"),
    ],
)
def test_what_cannot_be_honoured_is_refused(url: str, words: str) -> None:
    """One sentence, without a part of a password or of what may be one."""
    with pytest.raises(ValueError, match=words) as refused:
        redis_address(url)
    text = str(refused.value)
    assert "\n" not in text
    assert not any(part in text for part in ("Kranich7", "Elbe4", "Ufer9", "socket_timeout"))


def write_certificate(folder: Path, passphrase: bytes = b"") -> tuple[Path, Path]:
    """A certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    start = datetime.datetime(2026, 1, 1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    sealed: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        sealed = serialization.BestAvailableEncryption(passphrase)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(pem))
    paths[1].write_bytes(key.private_bytes(pem, pkcs8, sealed))
    return paths


def test_certificates_are_passed_on(tmp_path: Path) -> None:
    """What OpenSSL takes goes to the connection as it is."""
    certificate, key = write_certificate(tmp_path)
    url = f"rediss://h?ssl_ca_certs={certificate}&ssl_certfile={certificate}&ssl_keyfile={key}"
    assert redis_address(f"{url}&ssl_check_hostname=no").tls == {
        "ssl_ca_certs": str(certificate),
        "ssl_certfile": str(certificate),
        "ssl_keyfile": str(key),
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": False,
    }


def test_files_that_hold_no_certificate_are_refused(tmp_path: Path) -> None:
    """No PEM, an empty file, a key that is missing or has a passphrase: OpenSSL is asked at once,
    and never asks at the terminal."""
    certificate, key = write_certificate(tmp_path, b"Kranich7")
    for name, text in (("rubbish.pem", "rubbish"), ("empty.pem", "")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match="ssl_ca_certs must name a PEM"):
            redis_address(f"rediss://h?ssl_ca_certs={tmp_path / name}")
    for more in ("", f"&ssl_keyfile={key}", f"&ssl_keyfile={tmp_path / 'rubbish.pem'}"):
        with pytest.raises(ValueError, match="ssl_certfile and ssl_keyfile must name PEM"):
            redis_address(f"rediss://h?ssl_certfile={certificate}{more}")


@given(st.text(st.characters(codec="ascii"), max_size=40), st.text(st.characters(codec="ascii")))
def test_any_text_behind_the_server_is_read_or_refused(path: str, query: str) -> None:
    """No database, option or value ends in another error, and what is read is in range."""
    try:
        address = redis_address(f"redis://h/{path}?{query}")
    except ValueError as refused:
        assert "\n" not in str(refused)
    else:
        assert address.servers == (("h", 6379),) and 0 <= address.database < 10**9
