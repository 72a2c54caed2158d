"""How WeChat signs and encrypts its callbacks, and how replies are sealed.

Pure: no clock, no randomness, no network. Facts: WeChat's pages "Server configuration" (the
signature) and "Message encryption" (AES-256-CBC, PKCS#7 padding in blocks of 32, the appid as
tail), whose published vectors are the tests of this module.
"""

import base64
import binascii
import hashlib
import hmac
import re

from cryptography.hazmat.primitives.ciphers import Cipher as AesCipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from services.errors import ScanpushError

RANDOM_BYTES = 16
"""Random bytes in front of every plain text."""

PADDING_BLOCK = 32
"""WeChat pads to 32 bytes, twice the block of AES itself: a pad of 17 to 32 is ordinary."""

_HEAD = RANDOM_BYTES + 4
_HEX_SHA1 = re.compile(r"[0-9a-f]{40}")
_ENCODING_AES_KEY = re.compile(r"[A-Za-z0-9+/]{43}")


class CryptoError(ScanpushError):
    """A text that cannot be decrypted, or an invalid key.

    One error with one text for every cause, so that a sender does not learn which check failed.
    """

    def __init__(self) -> None:
        super().__init__("not decipherable with this key and app_id")


def signature(*parts: str) -> str:
    """The lower-case hex SHA-1 of `parts`, sorted as strings and joined without a separator.

    Of (callback_token, timestamp, nonce) it is WeChat's `signature`; with the text of `Encrypt`
    as a fourth part it is `msg_signature`. Numbers stay strings: sorting is by bytes.
    """
    return hashlib.sha1(
        "".join(sorted(parts)).encode("utf-8", "surrogatepass"), usedforsecurity=False
    ).hexdigest()


def signature_matches(given: str, *parts: str) -> bool:
    """Whether `given` is the signature of `parts`, compared in constant time.

    Anything but 40 lower-case hexadecimal digits is no signature, however it might compare.
    """
    if _HEX_SHA1.fullmatch(given) is None:
        return False
    return hmac.compare_digest(given.encode("ascii"), signature(*parts).encode("ascii"))


class Cipher:
    """One EncodingAESKey together with the app_id that must stand at the end of every text.

    The AES objects are built once: a decryption then costs about 4 microseconds.

    Raises:
        CryptoError: `encoding_aes_key` is not 43 characters of base64.
    """

    def __init__(self, encoding_aes_key: str, app_id: str) -> None:
        if _ENCODING_AES_KEY.fullmatch(encoding_aes_key) is None:
            raise CryptoError
        # The last character carries two unused bits that WeChat fills at random; Python's
        # decoder ignores them, as it must here.
        key = base64.b64decode(encoding_aes_key + "=")
        self._app_id = app_id.encode()
        self._aes = AesCipher(AES(key), CBC(key[:16]))

    def encrypt(self, text: bytes, random16: bytes) -> str:
        """The base64 text for `Encrypt`. `random16` is 16 bytes that were never used before."""
        if len(random16) != RANDOM_BYTES:
            raise ValueError(f"random16 is {RANDOM_BYTES} bytes")
        plain = random16 + len(text).to_bytes(4, "big") + text + self._app_id
        pad = PADDING_BLOCK - len(plain) % PADDING_BLOCK
        encryptor = self._aes.encryptor()
        sealed = encryptor.update(plain + bytes([pad]) * pad) + encryptor.finalize()
        return base64.b64encode(sealed).decode("ascii")

    def decrypt(self, encrypted: str) -> bytes:
        """The message inside `Encrypt`. Verify `msg_signature` before calling this.

        Raises:
            CryptoError: wrong base64, length, padding or inner length, or another app_id's text.
        """
        try:
            sealed = base64.b64decode(encrypted, validate=True)
        except (binascii.Error, ValueError):
            raise CryptoError from None
        if not sealed or len(sealed) % PADDING_BLOCK:
            raise CryptoError
        decryptor = self._aes.decryptor()
        padded = decryptor.update(sealed) + decryptor.finalize()
        pad = padded[-1]
        if not 1 <= pad <= PADDING_BLOCK or not padded.endswith(bytes([pad]) * pad):
            raise CryptoError
        plain = padded[:-pad]
        end = _HEAD + int.from_bytes(plain[RANDOM_BYTES:_HEAD], "big")
        # A wrong key still passes the padding check now and then: the tail decides.
        if not hmac.compare_digest(plain[end:], self._app_id):
            raise CryptoError
        return plain[_HEAD:end]
