"""WeChat's signatures and encryption, by its published vectors."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.wechat.crypto import Cipher, CryptoError, signature, signature_matches
from tests.services.wechat import vectors
from tests.services.wechat.vectors import Vector

every_vector = pytest.mark.parametrize("vector", vectors.ALL, ids=lambda vector: vector.name)


def _cipher(vector: Vector = vectors.D) -> Cipher:
    return Cipher(vector.encoding_aes_key, vector.app_id)


def _seal(padded: bytes) -> str:
    """Encrypt raw blocks under D's key, bypassing everything `Cipher.encrypt` does right."""
    encryptor = _cipher()._aes.encryptor()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


def test_signature_of_the_configuration_check() -> None:
    """WeChat's published example of the GET check."""
    expected = "f464b24fc39322e44b38aa78f5edd27bd1441696"
    assert signature("AAAAA", "1714036504", "1514711492") == expected


def test_signature_of_a_plain_post() -> None:
    """WeChat's published example of a plaintext POST."""
    expected = "899cf89e464efb63f54ddac96b0a0a235f53aa78"
    assert signature("AAAAA", "1714037059", "486452656") == expected


@pytest.mark.parametrize("vector", vectors.SIGNED, ids=lambda vector: vector.name)
def test_plain_signature_of_safe_mode(vector: Vector) -> None:
    """In safe mode the plain signature is sent too, over three parts."""
    assert signature_matches(
        vector.signature, vector.callback_token, vector.timestamp, vector.nonce
    )


@pytest.mark.parametrize("vector", vectors.ALL[:4], ids=lambda vector: vector.name)
def test_msg_signature_covers_the_ciphertext(vector: Vector) -> None:
    """The four-part signature is over the base64 text exactly as sent."""
    parts = (vector.callback_token, vector.timestamp, vector.nonce)
    assert signature_matches(vector.msg_signature, *parts, vector.encrypted)
    assert not signature_matches(vector.msg_signature, *parts, vector.encrypted + "=")


def test_parts_are_sorted_as_strings() -> None:
    """ "9" sorts after "10", as strings do and numbers do not."""
    assert signature("9", "10") == signature("10", "9") != signature("910")


@pytest.mark.parametrize(
    "given_signature",
    ["", "F464B24FC39322E44B38AA78F5EDD27BD1441696", "f" * 39, "f" * 40 + "\n", "é" * 40, "\ud800"],
)
def test_what_is_no_sha1_is_no_signature(given_signature: str) -> None:
    """Upper case, odd lengths, line feeds and foreign letters are refused, never an exception."""
    assert not signature_matches(given_signature, "AAAAA", "1714036504", "1514711492")


@every_vector
def test_decrypt(vector: Vector) -> None:
    """Each vector opens to its message."""
    assert _cipher(vector).decrypt(vector.encrypted) == vector.message


@every_vector
def test_encrypt(vector: Vector) -> None:
    """With the vector's random bytes the very same base64 comes out."""
    assert _cipher(vector).encrypt(vector.message, vector.random16) == vector.encrypted


@given(st.binary(max_size=200), st.binary(min_size=16, max_size=16))
def test_round_trip(text: bytes, random16: bytes) -> None:
    """Whatever is sealed opens again, at every length of padding."""
    assert _cipher().decrypt(_cipher().encrypt(text, random16)) == text


def test_length_counts_bytes() -> None:
    """Chinese text keeps all its bytes."""
    text = "登录成功".encode()
    assert _cipher().decrypt(_cipher().encrypt(text, b"r" * 16)) == text


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda b: base64.b64encode(b).decode()))
def test_rubbish_is_one_error(encrypted: str) -> None:
    """No input brings anything but `CryptoError`, always with the same text."""
    with pytest.raises(CryptoError) as caught:
        _cipher().decrypt(encrypted)
    assert str(caught.value) == str(CryptoError())


@pytest.mark.parametrize(
    "padded",
    [
        pytest.param(b"r" * 16 + b"\0\0\0\x01" + b"x" + b"wx1234567890abcdef" + b"\0" * 25, id="0"),
        pytest.param(b"r" * 31 + b"\x21", id="pad over the block"),
        pytest.param(b"r" * 30 + b"\x01\x03", id="pad bytes differ"),
        pytest.param(b"\x20" * 32, id="nothing but padding"),
        pytest.param(b"r" * 16 + b"\xff\xff\xff\xff" + b"\x0c" * 12, id="inner length too long"),
        pytest.param(b"r" * 12 + b"\x14" * 20, id="shorter than its head"),
    ],
)
def test_wrong_blocks(padded: bytes) -> None:
    """Padding and inner length are checked in full."""
    with pytest.raises(CryptoError):
        _cipher().decrypt(_seal(padded))


@pytest.mark.parametrize(
    "app_id", ["wx1234567890abcdee", "wx1234567890abcde", "x1234567890abcdef", ""]
)
def test_text_of_another_app_id(app_id: str) -> None:
    """Valid ciphertext that ends in another app_id is refused."""
    foreign = Cipher(vectors.D.encoding_aes_key, app_id).encrypt(b"<xml/>", b"r" * 16)
    with pytest.raises(CryptoError):
        _cipher().decrypt(foreign)


def test_text_of_another_key() -> None:
    """The previous key does not open what the current one sealed."""
    with pytest.raises(CryptoError):
        Cipher("B" * 43, vectors.D.app_id).decrypt(vectors.D.encrypted)


@pytest.mark.parametrize("key", ["", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "\n", "é" * 43])
def test_what_is_no_key(key: str) -> None:
    """An EncodingAESKey is 43 characters of base64."""
    with pytest.raises(CryptoError):
        Cipher(key, "wx1234567890abcdef")


def test_random_bytes_are_sixteen() -> None:
    """A caller that brings another number of random bytes is told at once."""
    with pytest.raises(ValueError, match="16"):
        _cipher().encrypt(b"", b"short")
