"""What tokens and tickets say, apart from how they are signed: plain values."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from services.ids import SceneStr, UserId


class Claims(NamedTuple):
    """What a token will say, fixed once; every delivery signs exactly these."""

    jti: str
    iat: int
    exp: int
    is_new: bool


class Purpose(StrEnum):
    """What a ticket is for. Each purpose has an audience and a ``typ`` of its own, so that none is
    ever taken for another, nor for a login token (RFC 8725, sections 3.9, 3.11 and 3.12)."""

    REGISTER = "register"
    EXCHANGE = "exchange"
    AUTHORIZE = "authorize"


@dataclass(frozen=True, slots=True)
class Ticket:
    """About one state of one scene. Signed, it allows one thing, and the store allows that once."""

    scene_str: SceneStr
    seq: int


@dataclass(frozen=True, slots=True)
class VerifiedClaims:
    """What a token that verified says. Times are unix seconds."""

    subject: UserId
    account: str
    amr: tuple[str, ...]
    jti: str
    iat: int
    exp: int
    sid: str = ""
    """The session; empty where none was begun."""
