"""The gate of one account: forged, replayed, downgraded and foreign pushes stay outside."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.wechat import messages
from services.wechat.callback import CallbackGate, CallbackRefused, Forbidden, Malformed
from services.wechat.crypto import Cipher, CryptoError, signature, signature_matches
from services.wechat.messages import Unreadable
from tests.services.wechat import vectors
from tests.services.wechat.vectors import Vector

D = vectors.D
NOW = 1700000000.5


def gate(vector: Vector = D, **changes: Any) -> CallbackGate:
    settings = {
        "app_id": vector.app_id,
        "callback_token": vector.callback_token,
        "encoding_aes_key": vector.encoding_aes_key,
        **changes,
    }
    return CallbackGate(**settings)


def query(vector: Vector = D, **changes: str) -> dict[str, str]:
    """What stands in the address of an encrypted push."""
    return {
        "signature": vector.signature,
        "timestamp": vector.timestamp,
        "nonce": vector.nonce,
        "openid": "oSomebodyElse",
        "encrypt_type": "aes",
        "msg_signature": vector.msg_signature,
        **changes,
    }


def without(full: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in full.items() if key != name}


def envelope(encrypted: str, plain_fields: str = "") -> bytes:
    return (
        f"<xml><ToUserName><![CDATA[gh_97417a04a28d]]></ToUserName>{plain_fields}"
        f"<Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
    ).encode()


def signed(encrypted: str, **changes: str) -> dict[str, str]:
    """A query that signs any ciphertext, as a client with the callback_token could."""
    full = query(**changes)
    parts = (D.callback_token, full["timestamp"], full["nonce"], encrypted)
    return {**full, "msg_signature": signature(*parts)}


def seal(message: bytes, key: str = D.encoding_aes_key, app_id: str = D.app_id) -> str:
    return Cipher(key, app_id).encrypt(message, b"0" * 16)


@pytest.mark.parametrize("mode", ["safe", "compatible"])
@pytest.mark.parametrize("vector", [vectors.C, vectors.D], ids=lambda vector: vector.name)
def test_vectors_open(vector: Vector, mode: str) -> None:
    """WeChat's own encrypted pushes open, and bind no nonce."""
    opened = gate(vector, mode=mode).open(
        query(vector), envelope(vector.encrypted), float(vector.timestamp)
    )
    assert opened.event == messages.parse(vector.message)
    assert opened.cipher is not None
    assert (opened.nonce_key, opened.body_hash) == ("", "")


def test_json_vector_opens() -> None:
    """Vector A, as the console's JSON format sends it, is answered in JSON."""
    body = json.dumps({"ToUserName": "gh_97417a04a28d", "Encrypt": vectors.A.encrypted}).encode()
    opened = gate(vectors.A).open(query(vectors.A), body, 1714112445)
    assert opened.event.event == "debug_demo"
    sealed = json.loads(gate(vectors.A).seal(opened, "好", 1714112446))
    assert sealed["TimeStamp"] == 1714112446
    assert opened.cipher is not None
    assert json.loads(opened.cipher.decrypt(sealed["Encrypt"]))["Content"] == "好"


def test_same_event_encrypted_again() -> None:
    """A retry may carry new ciphertext under the same timestamp and nonce."""
    encrypted = Cipher(D.encoding_aes_key, D.app_id).encrypt(D.message, b"9" * 16)
    assert encrypted != D.encrypted
    opened = gate().open(signed(encrypted), envelope(encrypted), NOW)
    assert opened.event == messages.parse(D.message)


def test_previous_key() -> None:
    """While keys change, both open, and the reply is sealed with the one that did."""
    keys = gate(encoding_aes_key="B" * 43, previous_encoding_aes_key=D.encoding_aes_key)
    opened = keys.open(query(), envelope(D.encrypted), NOW)
    sealed = messages.document(keys.seal(opened, "hi", NOW))
    assert b"hi" in Cipher(D.encoding_aes_key, D.app_id).decrypt(sealed["Encrypt"])


def test_current_key_beside_a_previous() -> None:
    """The current key still comes first."""
    keys = gate(previous_encoding_aes_key="B" * 43)
    assert keys.open(query(), envelope(D.encrypted), NOW).event.scene is not None


def test_sealed_reply_is_signed() -> None:
    """The reply carries its own time, the push's nonce, and a right signature."""
    opened = gate().open(query(), envelope(D.encrypted), NOW)
    sealed = messages.document(gate().seal(opened, "hi", NOW + 1))
    assert (sealed["TimeStamp"], sealed["Nonce"]) == ("1700000001", D.nonce)
    parts = (D.callback_token, sealed["TimeStamp"], sealed["Nonce"], sealed["Encrypt"])
    assert signature_matches(sealed["MsgSignature"], *parts)


@pytest.mark.parametrize("mode", ["safe", "compatible"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"msg_signature": "0" * 40}, "signature"),
        ({"msg_signature": ""}, "signature"),
        ({"msg_signature": D.signature}, "signature"),
        ({"msg_signature": "é" * 40}, "signature"),
        ({"msg_signature": D.msg_signature.upper()}, "signature"),
        ({"nonce": "1320562133"}, "signature"),
        ({"timestamp": "1700000001"}, "signature"),
        ({"encrypt_type": "raw"}, "downgrade"),
        ({"encrypt_type": ""}, "downgrade"),
    ],
    ids=str,
)
def test_forged_query(mode: str, change: dict[str, str], reason: str) -> None:
    """Any change of the signed query is refused."""
    with pytest.raises(Forbidden) as caught:
        gate(mode=mode).open(query(**change), envelope(D.encrypted), NOW)
    assert caught.value.reason == reason


@pytest.mark.parametrize("mode", ["safe", "compatible"])
@pytest.mark.parametrize("name", ["msg_signature", "encrypt_type"])
def test_downgrade_by_query(mode: str, name: str) -> None:
    """A rightly signed plain push is no push to an account that encrypts."""
    with pytest.raises(Forbidden):
        gate(mode=mode).open(without(query(), name), envelope(D.encrypted), NOW)


@pytest.mark.parametrize("mode", ["safe", "compatible"])
def test_downgrade_by_body(mode: str) -> None:
    """A body without Encrypt is refused whatever its query says; only where WeChat signed that one
    is it told as a downgrade, for which the operator has a setting."""
    for signed_by, reason in ((D.signature, "downgrade"), ("0" * 40, "signature")):
        for asked in (query(signature=signed_by), query(signature=signed_by, encrypt_type="raw")):
            with pytest.raises(Forbidden) as caught:
                gate(mode=mode).open(asked, D.message, NOW)
            assert caught.value.reason == reason


def test_other_ciphertext() -> None:
    """The signature is over this ciphertext and no other."""
    other = seal(D.message.replace(b"oFakeUser", b"oEvilUser"))
    with pytest.raises(Forbidden):
        gate().open(query(), envelope(other), NOW)


def test_plain_fields_of_compatible_mode_are_never_read() -> None:
    """The forged sender beside a genuine Encrypt is ignored."""
    fields = "<FromUserName>oEvil</FromUserName><Event>SCAN</Event><MsgType>event</MsgType>"
    opened = gate(mode="compatible").open(query(), envelope(D.encrypted, fields), NOW)
    assert opened.event.openid == "oFakeUser0000000000000000001"


def _unpadded() -> str:
    encryptor = Cipher(D.encoding_aes_key, D.app_id)._aes.encryptor()
    return base64.b64encode(encryptor.update(b"\0" * 64) + encryptor.finalize()).decode()


@pytest.mark.parametrize(
    "encrypted",
    [
        pytest.param(seal(D.message, app_id="wx0000000000000000"), id="other app_id"),
        pytest.param(seal(D.message, key="B" * 43), id="other key"),
        pytest.param(_unpadded(), id="bad padding"),
        pytest.param("AAAA", id="short"),
        pytest.param("not base64!", id="not base64"),
    ],
)
def test_signed_but_not_for_us(encrypted: str) -> None:
    """Whatever is wrong inside, the refusal is one and the same."""
    with pytest.raises(Forbidden) as caught:
        gate().open(signed(encrypted), envelope(encrypted), NOW)
    assert caught.value.reason == "decryption"


@pytest.mark.parametrize("mode", ["safe", "plaintext"])
@pytest.mark.parametrize("skew", [-601, 601])
def test_stale(mode: str, skew: float) -> None:
    """Beyond the window on either side nothing is accepted."""
    body = D.message if mode == "plaintext" else envelope(D.encrypted)
    with pytest.raises(Forbidden) as caught:
        gate(mode=mode).open(query(), body, 1700000000 + skew)
    assert caught.value.reason == "stale"


@pytest.mark.parametrize("skew", [-600, 600])
def test_edge_of_the_window(skew: float) -> None:
    """The window itself is still fresh."""
    assert gate().open(query(), envelope(D.encrypted), 1700000000 + skew).event.scene


@pytest.mark.parametrize("mode", ["safe", "compatible", "plaintext"])
@pytest.mark.parametrize("name", ["timestamp", "nonce"])
@pytest.mark.parametrize("value", [None, "", "x" * 257])
def test_missing_arguments(mode: str, name: str, value: str | None) -> None:
    """Without them nothing can be checked: 400."""
    asked = without(query(), name) if value is None else query(**{name: value})
    with pytest.raises(Malformed):
        gate(mode=mode).open(asked, envelope(D.encrypted), NOW)


@pytest.mark.parametrize("timestamp", ["01700000000", "-1", "1e9", "１７", "1700000000 ", "0"])
def test_odd_timestamps(timestamp: str) -> None:
    """One moment has one spelling."""
    with pytest.raises(Malformed):
        gate().open(query(timestamp=timestamp), envelope(D.encrypted), NOW)


@pytest.mark.parametrize(
    "body", [b"", b"success", b"<xml>", b"<!DOCTYPE x><xml><Encrypt>a</Encrypt></xml>", b"{"]
)
def test_malformed_envelope(body: bytes) -> None:
    """What holds no ciphertext cannot be verified, so it is 400; a plain body was verified."""
    for mode in ("safe", "compatible"):
        with pytest.raises(Malformed):
            gate(mode=mode).open(query(), body, NOW)
    assert isinstance(gate(mode="plaintext").open(query(), body, NOW).event, Unreadable)


@pytest.mark.parametrize("message", [b"", b"<xml/>", b"<!DOCTYPE x><xml/>", b"<xml><a>1</a></xml>"])
def test_malformed_inside(message: bytes) -> None:
    """The decrypted body was verified: it is unreadable and no error."""
    encrypted = seal(message)
    assert isinstance(gate().open(signed(encrypted), envelope(encrypted), NOW).event, Unreadable)


SPOILT = [
    b"</b>",
    b"<Content><![CDATA[]]>&nbsp;<b>]]></Content>",
    b"<Content>\x02\xe6\xb8</Content>",
    b"<Encrypt>AAAA</Encrypt>",
    b"<Encrypt>" + b"A" * 64 + b"</Encrypt>",
    b"<!-- " + b"<a>" * 3000,
]


@pytest.mark.parametrize("spoilt", SPOILT)
def test_spoilt_envelope(spoilt: bytes) -> None:
    """The fields beside Encrypt are not signed and decide nothing, whatever they look like."""
    body = envelope(D.encrypted).replace(b"<Encrypt>", spoilt + b"<Encrypt>", 1)
    opened = gate(mode="compatible").open(query(), body, NOW)
    assert opened.event == messages.parse(D.message)
    with pytest.raises(Forbidden):
        gate(mode="compatible").open(query(msg_signature="0" * 40), body, NOW)


def test_spoilt_json_envelope() -> None:
    """So it is in JSON."""
    body = b'{"Content":"a"b\x02","Encrypt":"' + vectors.A.encrypted.encode() + b'"}'
    opened = gate(vectors.A).open(query(vectors.A), body, 1714112445)
    assert opened.event.event == "debug_demo" and opened.as_json


def test_envelope_with_a_document_type() -> None:
    """WeChat sends none: the push is verified and answered, and not read."""
    body = b"<!DOCTYPE xml>" + envelope(D.encrypted)
    opened = gate().open(query(), body, NOW)
    assert isinstance(opened.event, Unreadable)
    assert opened.event.openid == "oFakeUser0000000000000000001"


def test_plaintext() -> None:
    """A plain push names its signed query and the hash of its one body."""
    opened = gate(mode="plaintext").open(query(), D.message, NOW)
    assert opened.cipher is None
    assert opened.nonce_key == "1700000000|1320562132"
    assert opened.body_hash == hashlib.sha256(D.message).hexdigest()
    assert gate(mode="plaintext").seal(opened, "hi", NOW).startswith(b"<xml><ToUserName>")


def test_plaintext_verifies_before_it_parses() -> None:
    """A hostile body with a wrong signature is 403, not 400: it was not parsed."""
    with pytest.raises(Forbidden):
        gate(mode="plaintext").open(query(signature="0" * 40), b"<!DOCTYPE x><xml/>", NOW)


def test_plaintext_without_signature() -> None:
    """A missing argument is 400."""
    with pytest.raises(Malformed):
        gate(mode="plaintext").open(without(query(), "signature"), D.message, NOW)


CHECK = {
    "signature": "f464b24fc39322e44b38aa78f5edd27bd1441696",
    "timestamp": "1714036504",
    "nonce": "1514711492",
    "echostr": "4375120948345356249",
}


@pytest.mark.parametrize("mode", ["safe", "compatible", "plaintext"])
def test_configuration_check(mode: str) -> None:
    """WeChat's published example is echoed exactly, however long ago it was signed."""
    assert gate(vectors.A, mode=mode).check_configuration(CHECK) == b"4375120948345356249"


def test_configuration_check_forged() -> None:
    """Nothing is echoed to a client without the callback token."""
    with pytest.raises(Forbidden):
        gate().check_configuration(CHECK)


@pytest.mark.parametrize("name", CHECK)
def test_configuration_check_incomplete(name: str) -> None:
    """Each of the four arguments is needed."""
    with pytest.raises(Malformed):
        gate(vectors.A).check_configuration(without(CHECK, name))


def test_no_callback_token() -> None:
    """An empty token is a token that everybody knows."""
    with pytest.raises(ValueError, match="callback_token"):
        gate(callback_token="")


@pytest.mark.parametrize("name", ["encoding_aes_key", "previous_encoding_aes_key"])
def test_wrong_key(name: str) -> None:
    """A key that is none is told at the start."""
    with pytest.raises(CryptoError):
        gate(**{name: "short"})


def test_safe_mode_needs_a_key() -> None:
    """Without a key safe mode cannot start, rather than fall back to plaintext."""
    with pytest.raises(CryptoError):
        gate(encoding_aes_key="")


@given(
    st.dictionaries(st.sampled_from(list(query())), st.text(max_size=50)),
    st.binary(max_size=300),
    st.sampled_from(["safe", "compatible", "plaintext"]),
)
def test_nothing_else_escapes(changes: dict[str, str], body: bytes, mode: str) -> None:
    """Whatever is sent without the callback token, the answer is one of the two refusals."""
    asked = {**query(signature="0" * 40), **changes}
    for candidate in (body, D.message, envelope(D.encrypted + "A")):
        with pytest.raises(CallbackRefused) as caught:
            gate(mode=mode).open(asked, candidate, NOW)
        assert len(str(caught.value)) < 20
