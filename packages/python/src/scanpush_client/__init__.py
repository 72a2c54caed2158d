"""Logins of scanpush in your own server: verify, refresh, revoke.

from scanpush_client import Scanpush, InvalidToken

scanpush = Scanpush("https://login.example.com")
claims = scanpush.verify(token)
claims.sub    # the user's id

For asyncio there is `AsyncScanpush`. Adapters, each imported by itself: `scanpush_client.fastapi`,
`scanpush_client.django`, `scanpush_client.flask`, `scanpush_client.tornado`.
"""

from scanpush_client.client import AsyncScanpush, Login, Scanpush
from scanpush_client.tokens import (
    AccessClaims,
    Algorithm,
    ExpiredToken,
    InvalidToken,
    LoginClaims,
    Refused,
    ScanpushError,
    Unavailable,
)

__all__ = [
    "AccessClaims",
    "Algorithm",
    "AsyncScanpush",
    "ExpiredToken",
    "InvalidToken",
    "Login",
    "LoginClaims",
    "Refused",
    "Scanpush",
    "ScanpushError",
    "Unavailable",
]
