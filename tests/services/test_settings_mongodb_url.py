"""What mongodb.url may say: options are honoured or refused by name, and nothing is quoted."""

import re
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.settings.mongodb_url import OPTIONS, check_url, check_use
from services.settings.urls import ENCODE
from tests.certificates import Authority


def complaint(url: str, database: str = "people") -> str:
    """The one sentence with which `url` is refused; a warning of a library fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError) as refused:
            check_url(url)
            check_use(url, database)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://127.0.0.1",
        "mongodb://127.0.0.1:27017/",
        "mongodb://user:p%40ss%2Fword@a.example,b.example:27018/?replicaSet=rs0",
        "mongodb://[fd00::1]:27017/?directConnection=true",
        "mongodb://%2Frun%2Fmongodb-27017.sock/",
        "mongodb+srv://user:word@cluster0.example.net/?retryWrites=true&w=majority&appName=login",
        "mongodb://a/?retryWrites=false&RETRYREADS=false&journal=true&w=2&wTimeoutMS=900",
        "mongodb://a/?readPreference=primary&readConcernLevel=majority&compressors=zlib",
        "mongodb://a/?connectTimeoutMS=900&socketTimeoutMS=0&serverSelectionTimeoutMS=30000",
        "mongodb://user:word@a/?authSource=users&authMechanism=SCRAM-SHA-256&tls=true",
        "mongodb://a/?authMechanism=MONGODB-X509&tls=true&tlsAllowInvalidHostnames=true",
        "mongodb://a/?minPoolSize=80&maxIdleTimeMS=60000&compressors=snappy,zlib",
        "mongodb://user:word@a/people",
        "mongodb://user:word@a/admin",
        "mongodb://user:word@a/admin?authSource=admin",
    ],
)
def test_what_drivers_take_is_taken(url: str) -> None:
    """Hosts, sockets, SRV, and every kind of option; a database where it is the same, or admin."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_url(url)
        check_use(url, "people")


@pytest.mark.parametrize(
    "text",
    [
        *("Kranich7@Elbe4/Ufer9", "Kranich7/Elbe4", "Kranich7:Elbe4", "Kranich7%Elbe4"),
        *("Kranich7?Elbe4", "Kranich7#Elbe4", "Kranich7@Elbe4", "Kranich7[Elbe4]", "Kranich7%zz"),
        *("Kranich7@Elbe4?Ufer9=1", "Kranich7/?w=0&Elbe4", "@@", "%", "/@/"),
    ],
)
def test_a_password_that_is_not_encoded_is_not_quoted(text: str) -> None:
    """The sentence says what to do; no part of the password stands in it."""
    for scheme in ("mongodb", "mongodb+srv"):
        assert ENCODE in complaint(f"{scheme}://u:{text}@127.0.0.1/")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://a", "must begin with mongodb:// or mongodb[+]srv://"),
        ("MONGODB://a", "small letters"),
        ("mongodb://", "no host"),
        ("mongodb:///people", "no host"),
        ("mongodb://@a", "no user name"),
        ("mongodb://:word@a", "no user name"),
        ("mongodb://user@a", "user name without a password"),
        ("mongodb://a:port", "port from 1 to 65535"),
        ("mongodb://a:0", "port from 1 to 65535"),
        ("mongodb+srv://a.example.net:27017", "one host"),
        ("mongodb+srv://a.example.net,b.example.net", "one host"),
        ("mongodb+srv://10.0.0.1", "by its name"),
        ("mongodb://a/?retryWrite=false", "no. 1 is none .* did you mean retryWrites"),
        ("mongodb://a/?w=1&tlsCaFil=x", "no. 2 is none .* did you mean tlsCAFile"),
        ("mongodb://a/?zzz=1", "no. 1 is none that scanpush knows$"),
        ("mongodb://a/?w", "w has no value"),
        ("mongodb://a/?w=1&W=2", "w twice"),
        ("mongodb://a/?w=1;journal=true", "separate its options by &"),
        ("mongodb://a/?retryWrites=no", "retryWrites has a value"),
        ("mongodb://a/?maxPoolSize=many", "maxPoolSize has a value"),
        ("mongodb://a/?minPoolSize=101", "minPoolSize has a value"),
        ("mongodb://a/?serverSelectionTimeoutMS=-1", "serverSelectionTimeoutMS has a value"),
        ("mongodb://a/?zlibCompressionLevel=10", "zlibCompressionLevel has a value"),
        ("mongodb://a/?authMechanism=NONE", "authMechanism has a value"),
        ("mongodb://a/?authMechanismProperties=X:Kranich7", "authMechanismProperties has a value"),
        ("mongodb://a/?compressors=brotli", "compressors"),
        ("mongodb://a/?w=0", "w=0"),
        ("mongodb://a/?w=-1", "w has a value"),
        ("mongodb://a/?readPreference=secondary", "readPreference must be primary"),
        ("mongodb://a/?readPreference=nearest&readPreferenceTags=dc:a", "readPreference"),
        ("mongodb://a/?maxStalenessSeconds=120", "primary"),
        ("mongodb://a/?readConcernLevel=available", "readConcernLevel must be one of local"),
        ("mongodb://a/?tls=true&ssl=false", "tls and ssl contradict"),
        ("mongodb://a/?tlsInsecure=true&tlsAllowInvalidHostnames=true", "contradict"),
        ("mongodb://a/?loadBalanced=true&replicaSet=rs0", "contradict"),
        ("mongodb://a,b/?directConnection=true", "directConnection does not go with"),
        ("mongodb://a/?authMechanism=SCRAM-SHA-256", "authMechanism does not go with"),
        ("mongodb://a/?srvServiceName=x", "only with mongodb[+]srv"),
        ("mongodb://a/other", "another database than mongodb.database"),
        ("mongodb://a/admin", "another database"),
        ("mongodb://u:w@a/other?authSource=admin", "another database"),
        ("mongodb://u:w@a/admin?authSource=people", "another database"),
        ("mongodb://a/people.users", "another database"),
        ("mongodb://a/?tlsCAFile=/nonexistent.pem", "tlsCAFile names a file: No such file"),
        ("mongodb://a/?tlsCAFile=/", "tlsCAFile names a file"),
        ("mongodb://a/?tlsCertificateKeyFile=/nonexistent.pem", "tlsCertificateKeyFile names"),
        ("mongodb://a/?tlsCRLFile=/nonexistent.pem", "tlsCRLFile names a file"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(url: str, words: str) -> None:
    """The option, and what is expected; no value."""
    assert re.search(words, found := complaint(url)) and "Kranich7" not in found


def test_files_that_are_no_certificates_are_named_by_their_option(tmp_path: Path) -> None:
    """No PEM, a key without its certificate, a key that needs a password."""
    text, key = tmp_path / "text.pem", Authority(tmp_path).sign("client").read_text()
    text.write_text("no certificate")
    for option in ("tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile"):
        assert complaint(f"mongodb://a/?{option}={text}").startswith(f"{option} names a file that")
    text.write_text(key[key.index("-----BEGIN PRIVATE") :])
    assert complaint(f"mongodb://a/?tlsCertificateKeyFile={text}").startswith("tlsCertificateKey")


def test_certificates_that_are_good_are_taken(tmp_path: Path) -> None:
    """An authority, and a client's certificate with its key."""
    authority = Authority(tmp_path)
    files = f"tlsCAFile={authority.file}&tlsCertificateKeyFile={authority.sign('client')}"
    check_use(f"mongodb://a/?tls=true&{files}", "people")


ANY_TEXT = st.text(st.characters(codec="ascii"))


@given(st.sampled_from(OPTIONS), ANY_TEXT | ANY_TEXT.map("Kranich7{}".format))
def test_an_option_of_any_value_is_taken_or_refused_in_one_line(name: str, value: str) -> None:
    """No value ends in another error or in a warning, and none is quoted."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            check_url(f"mongodb://a/?{name}={value}")
        except ValueError as refused:
            assert "\n" not in str(refused) and "Kranich7" not in str(refused)
