"""The simulator accepts exactly the replies that WeChat accepts."""

from dataclasses import replace

import pytest

from services.wechat.crypto import Cipher, signature
from simulator import SimulatorConfig
from simulator.messages import IllegalReply, Reply, read_reply, xml_document

ACCOUNT = SimulatorConfig.generated("").accounts[0]
PLAIN = replace(ACCOUNT, mode="plaintext")
FIELDS: dict[str, str | int] = {
    "ToUserName": "oPerson",
    "FromUserName": ACCOUNT.original_id,
    "CreateTime": 1_700_000_000,
    "MsgType": "text",
    "Content": "hello",
}


def envelope(**changes: str) -> bytes:
    """An encrypted reply, with parts of it replaced."""
    cipher = Cipher(ACCOUNT.encoding_aes_key, ACCOUNT.app_id)
    encrypt = changes.get("Encrypt") or cipher.encrypt(xml_document(FIELDS).encode(), b"r" * 16)
    signed = signature(ACCOUNT.callback_token, "1700000000", "7", encrypt)
    fields: dict[str, str | int] = {
        "Encrypt": encrypt,
        "MsgSignature": changes.get("MsgSignature") or signed,
        "TimeStamp": 1_700_000_000,
        "Nonce": "7",
    }
    return xml_document(fields).encode()


@pytest.mark.parametrize("body", [b"", b"success"])
def test_nothing_to_say(body: bytes) -> None:
    """Empty and "success" are accepted in every mode and say nothing."""
    assert read_reply(body, ACCOUNT, "oPerson") == Reply()


def test_encrypted_text() -> None:
    """A well sealed reply is read in safe mode."""
    assert read_reply(envelope(), ACCOUNT, "oPerson") == Reply("hello", "text", True)


def test_plain_text_and_json() -> None:
    """In plaintext mode XML and JSON are read."""
    assert read_reply(xml_document(FIELDS).encode(), PLAIN, "oPerson").text == "hello"
    json = b'{"ToUserName":"oPerson","FromUserName":"%s",' % ACCOUNT.original_id.encode()
    json += b'"CreateTime":1,"MsgType":"text","Content":"hi"}'
    assert read_reply(json, PLAIN, "oPerson").text == "hi"


@pytest.mark.parametrize(
    "changes",
    [
        {"ToUserName": "oOther"},
        {"FromUserName": "gh_other"},
        {"CreateTime": "today"},
        {"MsgType": "image"},
        {"Content": ""},
        {"Content": "长" * 700},
    ],
)
def test_wrong_fields(changes: dict[str, str | int]) -> None:
    """A wrong addressee, sender, time, type or length is illegal."""
    with pytest.raises(IllegalReply):
        read_reply(xml_document(FIELDS | changes).encode(), PLAIN, "oPerson")


@pytest.mark.parametrize("body", [b"ok", b"<xml/>", b"<a><b></a>", b"[1]", b"{", b"\xff\xfe", b" "])
def test_rubbish(body: bytes) -> None:
    """What is no reply document is illegal, whatever it is."""
    with pytest.raises(IllegalReply):
        read_reply(body, PLAIN, "oPerson")


@pytest.mark.parametrize(
    "changes", [{"MsgSignature": "0" * 40}, {"Encrypt": "AAAA"}, {"Encrypt": "A" * 64}]
)
def test_wrong_seal(changes: dict[str, str]) -> None:
    """A wrong signature, and a ciphertext that cannot be decrypted, are illegal."""
    with pytest.raises(IllegalReply):
        read_reply(envelope(**changes), ACCOUNT, "oPerson")
