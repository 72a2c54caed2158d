"""The port to WeChat's API as an Official Account uses it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from services.ids import OpenId, UnionId


@dataclass(frozen=True, slots=True)
class QrCode:
    """A temporary parametric code.

    Neither field is a secret, and neither is ever accepted as a key.
    """

    ticket: str
    url: str
    """What the picture holds."""


@dataclass(frozen=True, slots=True)
class Follower:
    """What WeChat says about a person. Names and pictures are not told since 2021-12-27."""

    openid: OpenId
    subscribed: bool
    unionid: UnionId | None = None
    """Only where the account is bound to an Open Platform account."""


class WeChatAPI(Protocol):
    """What we ask of WeChat for one account.

    Every method raises `errors.WeChatUnavailable` or `errors.WeChatRefused` within the configured
    time-out, or `errors.StoreUnavailable` where the credential cannot be had from the store of all
    nodes, and only those. Their texts hold no secret.
    """

    async def create_qr_code(self, scene_str: str, expire_seconds: int) -> QrCode:
        """A temporary QR_STR_SCENE code. Each one counts against 100,000 a day."""

    async def user_info(self, openid: OpenId) -> Follower:
        """Whether the person follows, and their unionid."""

    async def send_template(
        self,
        openid: OpenId,
        template_id: str,
        data: Mapping[str, str],
        client_msg_id: str,
    ) -> str:
        """Send a template message and return its msgid: accepted, not yet delivered.

        The same `client_msg_id` to the same person is sent once within ten minutes.
        """


def show_qr_url(mp_base: str, ticket: str) -> str:
    """Where WeChat itself draws the code. Tickets hold ``=``, ``+`` and ``/``: all are escaped."""
    return f"{mp_base.rstrip('/')}/cgi-bin/showqrcode?ticket={quote(ticket, safe='')}"
