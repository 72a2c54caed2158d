"""The gate of one account: verifies and opens what is sent to its callback, and seals the replies.

A callback that passes was sent by WeChat, recently, to this account. In plaintext mode the
signature covers the query only, so the caller must bind each signed query to one body (see
`Opened.nonce_key`); in safe and compatible mode `msg_signature` covers the ciphertext.

Facts: WeChat's pages "Server configuration" and "Message encryption".
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Literal, NamedTuple

from services.errors import ScanpushError
from services.wechat import messages, replies
from services.wechat.crypto import RANDOM_BYTES, Cipher, CryptoError, signature_matches
from services.wechat.messages import Event, EventError

Mode = Literal["safe", "compatible", "plaintext"]

_MAX_ARGUMENT = 256
# No leading zero: the signature joins its parts without a separator, so "0" + "17..." must not
# be another spelling of the same moment.
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}")


class CallbackRefused(ScanpushError):
    """A callback that changes nothing. `reason` is one of a few fixed words, for log and metric."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Forbidden(CallbackRefused):
    """Nothing shows that WeChat sent it: 403, without a detail."""


class Malformed(CallbackRefused):
    """Without what is needed to verify it: 400. A verified callback is never refused for its text:
    WeChat suspends the callbacks of an account whose server does that (MarkFail)."""


class Opened(NamedTuple):
    """A verified callback."""

    event: Event
    nonce: str
    cipher: Cipher | None = None
    """The key that opened it, which also seals the reply; None in plaintext mode."""
    nonce_key: str = ""
    """Plaintext mode only: names the signed query. Its first `body_hash` must stay its only one."""
    body_hash: str = ""
    as_json: bool = False
    """The console's data format is JSON, so the reply is too."""


class CallbackGate:
    """Verifies, decrypts and reads what is sent to one account, and seals the replies.

    Args:
        previous_encoding_aes_key: the key before the last change, or empty; tried second.
        mode: the account's mode at WeChat's console. Anything weaker is refused.
        timestamp_window_seconds: how far a callback's timestamp may be from now, either way.

    Raises:
        CryptoError: a key that is none.
        ValueError: an empty `callback_token`, with which any sender could sign.
    """

    def __init__(
        self,
        *,
        app_id: str,
        callback_token: str,
        encoding_aes_key: str = "",
        previous_encoding_aes_key: str = "",
        mode: Mode = "safe",
        timestamp_window_seconds: float = 600,
    ) -> None:
        if not callback_token:
            raise ValueError("callback_token is empty")
        self.timestamp_window_seconds = timestamp_window_seconds
        self._callback_token = callback_token
        self._ciphers: tuple[Cipher, ...] = ()
        if mode != "plaintext":
            keys = (encoding_aes_key, *filter(None, [previous_encoding_aes_key]))
            self._ciphers = tuple(Cipher(key, app_id) for key in keys)

    def check_configuration(self, query: Mapping[str, str]) -> bytes:
        """The body that answers WeChat's check of the server address (GET), in every mode.

        There is no window for the timestamp: nothing is changed by a repeat.

        Raises:
            Malformed: an argument is missing.
            Forbidden: it is not signed with `callback_token`.
        """
        echo = _argument(query, "echostr")
        self._check_signature(query)
        return echo.encode()

    def is_signed(self, query: Mapping[str, str]) -> bool:
        """Whether WeChat signed the query, for whatever address and at any time."""
        try:
            self._check_signature(query)
        except CallbackRefused:
            return False
        return True

    def open(self, query: Mapping[str, str], body: bytes, now: float) -> Opened:
        """The event in a POST, once it is certain that WeChat sent it, and recently.

        Raises:
            Forbidden: wrong signature, stale timestamp, weaker mode, another key or app_id.
            Malformed: an argument or, where the mode encrypts, the ciphertext is missing.
        """
        if self._ciphers:
            return self._open_encrypted(query, body, now)
        timestamp, nonce = self._check_signature(query)
        self._check_fresh(timestamp, now)
        return Opened(
            event=messages.parse(body, int(timestamp)),
            nonce=nonce,
            nonce_key=f"{timestamp}|{nonce}",
            body_hash=hashlib.sha256(body).hexdigest(),
            as_json=messages.is_json(body),
        )

    def seal(self, opened: Opened, reply_text: str, now: float) -> bytes:
        """The body that shows `reply_text` in the chat, encrypted if the callback was."""
        reply = replies.text_reply(opened.event, reply_text, now, as_json=opened.as_json)
        if opened.cipher is None:
            return reply
        return replies.sealed_reply(
            reply,
            opened.cipher,
            self._callback_token,
            opened.nonce,
            now,
            secrets.token_bytes(RANDOM_BYTES),
            as_json=opened.as_json,
        )

    def _open_encrypted(self, query: Mapping[str, str], body: bytes, now: float) -> Opened:
        timestamp, nonce = _timestamp(query), _argument(query, "nonce")
        if query.get("encrypt_type") != "aes" or "msg_signature" not in query:
            raise self._unencrypted(query)
        # Only this one field is read before the signature is known to be right, and in
        # compatible mode the plain fields beside it are never read at all.
        hostile = False
        try:
            encrypted = messages.text(messages.document(body), "Encrypt")
        except EventError:
            encrypted = messages.encrypted_text(body)
            if not encrypted:
                raise Malformed("body") from None
            hostile = b"<!DOCTYPE" in body
        if not encrypted:
            raise self._unencrypted(query)
        if not signature_matches(
            query["msg_signature"], self._callback_token, timestamp, nonce, encrypted
        ):
            raise Forbidden("signature")
        self._check_fresh(timestamp, now)
        for cipher in self._ciphers:
            try:
                plain = cipher.decrypt(encrypted)
            except CryptoError:
                continue  # with the key before the last change
            return Opened(
                # WeChat never declares a type: what does is not read further than it must be.
                event=(
                    messages.unreadable(plain, int(timestamp), "a document type around it")
                    if hostile
                    else messages.parse(plain, int(timestamp))
                ),
                nonce=nonce,
                cipher=cipher,
                as_json=messages.is_json(body),
            )
        raise Forbidden("decryption")

    def _unencrypted(self, query: Mapping[str, str]) -> Forbidden:
        """What is refused for coming in the clear. Only where WeChat signed the query is that the
        mode of the console; anybody else must not be able to tell the operator so."""
        return Forbidden("downgrade" if self.is_signed(query) else "signature")

    def _check_signature(self, query: Mapping[str, str]) -> tuple[str, str]:
        timestamp, nonce = _timestamp(query), _argument(query, "nonce")
        given = _argument(query, "signature")
        if not signature_matches(given, self._callback_token, timestamp, nonce):
            raise Forbidden("signature")
        return timestamp, nonce

    def _check_fresh(self, timestamp: str, now: float) -> None:
        if abs(now - int(timestamp)) > self.timestamp_window_seconds:
            raise Forbidden("stale")


def _argument(query: Mapping[str, str], name: str) -> str:
    value = query.get(name, "")
    if not value or len(value) > _MAX_ARGUMENT:
        raise Malformed("query")
    return value


def _timestamp(query: Mapping[str, str]) -> str:
    value = _argument(query, "timestamp")
    if _TIMESTAMP.fullmatch(value) is None:
        raise Malformed("query")
    return value
