"""Why a socket is closed, grouped by what the page must do about it (docs/reference.md)."""

from enum import IntEnum, StrEnum


class CloseCode(IntEnum):
    """WebSocket close codes of ``/ws/<scene_str>``; 1000 to 1011 are RFC 6455's own."""

    FINISHED = 1000
    """A final state was delivered. The page stops."""
    LEAVING = 1001
    """This node is leaving. The page reconnects with full jitter."""
    PROTOCOL = 1002
    """The peer broke RFC 6455."""
    INVALID_TEXT = 1007
    """A text message was not UTF-8."""
    TOO_LARGE = 1009
    """A message over 4 KiB. The page stops: a bug."""
    SERVER_ERROR = 1011
    """The server failed. The page reconnects with full jitter."""
    BAD_MESSAGE = 4400
    """Neither an ack nor a cancel. The page stops: a bug."""
    EXPIRED = 4408
    """The scene expired. The page begins a new one."""
    REPLACED = 4409
    """A newer socket of the same scene took over. The page stops."""
    SLOW = 4413
    """The peer does not read what it is sent (`Parking.send`), or does not finish a message that it
    began (`Parking.tick`). The page reconnects with full jitter."""
    FLOOD = 4429
    """Too many messages. The page reconnects with full jitter."""


class Ending(StrEnum):
    """How a socket's life ended: the label of metrics and logs. A closed set, unlike the codes
    that peers may send."""

    FINISHED = "finished"
    LEAVING = "leaving"
    PROTOCOL = "protocol"
    INVALID_TEXT = "invalid_text"
    TOO_LARGE = "too_large"
    SERVER_ERROR = "server_error"
    BAD_MESSAGE = "bad_message"
    EXPIRED = "expired"
    REPLACED = "replaced"
    SLOW = "slow"
    FLOOD = "flood"
    CLOSED_BY_PEER = "closed_by_peer"
    """The peer sent a close frame first."""
    GONE = "gone"
    """End of stream or an error, without a close frame."""
    SILENT = "silent"
    """No answer to pings."""


def ending_of(code: CloseCode) -> Ending:
    """The label of a code that this server sends."""
    return Ending[code.name]
