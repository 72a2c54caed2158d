"""The WebSocket protocol of one parked socket, without I/O.

A `SocketProtocol` lives only while a socket is in the middle of something: a partial frame, a
message that is carried out, a close. Frames are parsed and written by the sans-I/O protocol of
websockets (its documentation: "Sans-I/O", `Protocol` with ``state=OPEN``), which enforces RFC 6455,
sections 5 and 7: masking, reserved bits, opcodes, fragmentation, control frames, close codes.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache

from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol, State
from websockets.streams import StreamReader

from services.push.close_codes import CloseCode
from services.scenes.numbers import is_number

MAX_MESSAGE_BYTES = 4096
"""A longer message from a page ends in 1009 (docs/reference.md: messages are at most 4 KiB)."""

MAX_SEQ = 2**31
"""No scene changes that often: a larger `seq` in an ack belongs to no scene."""

_LAST_TEXT = b"\x81"
"""How a text frame begins that is the last, or only one, of its message."""

EMPTY_PING = Frame(Opcode.PING, b"").serialize(mask=False)

# websockets logs each connection's end at INFO; the push service has its own line for that.
_quiet = logging.getLogger("scanpush.push.frames")
_quiet.setLevel(logging.WARNING)


def text_frame(payload: bytes) -> bytes:
    """One text message to a page; `payload` is UTF-8."""
    return _text_header(len(payload)) + payload


@lru_cache(maxsize=1024)
def _text_header(length: int) -> bytes:
    """What stands before the payload of an unmasked frame depends on its length alone."""
    whole = Frame(Opcode.TEXT, bytes(length)).serialize(mask=False)
    return whole[: len(whole) - length]


@cache
def close_frame(code: CloseCode) -> bytes:
    """A close frame without a reason: the code says it all (docs/reference.md, close codes)."""
    return Frame(Opcode.CLOSE, code.to_bytes(2)).serialize(mask=False)


@dataclass(frozen=True, slots=True)
class Ack:
    """The page has the status with this `seq`."""

    seq: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """The page gives the scene up."""


@dataclass(frozen=True, slots=True)
class Number:
    """What was typed on the page, for the status with this `seq` (``login.confirm: number``)."""

    seq: int
    number: str


ClientMessage = Ack | Cancel | Number


class _Frames(Protocol):
    """The protocol of websockets, but for a close frame between the fragments of a message.

    RFC 6455, section 5.4, lets control frames come there, and after a close no data may follow:
    the message is given up, and the close is answered with its own code (Autobahn's case 7.1.5).
    websockets fails the connection with 1002.
    """

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class Phase(Enum):
    """What is left to do once everything outgoing is written."""

    OPEN = "open"
    """Nothing: the socket lives on."""
    CLOSING = "closing"
    """The server asked to close; the peer has not answered yet."""
    DONE = "done"
    """Both close frames are exchanged: the TCP connection may be closed."""
    FAILED = "failed"
    """The peer broke the rules; it may still be sending, so go on reading for a moment."""


class BadMessage(Exception):
    """A message that is neither an ack nor a cancel nor a number."""


def parse(text: str) -> ClientMessage | None:
    """Read one message of ``scanpush.v1``.

    Returns None for a `seq` that no scene can have: such a message is ignored, like any other wrong
    `seq`. Raises `BadMessage` for everything that is not of the contract.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadMessage from error
    if not isinstance(message, dict):
        raise BadMessage
    if message.get("type") == "cancel":
        return Cancel()
    kind, seq = message.get("type"), message.get("seq")
    if kind not in ("ack", "number") or type(seq) is not int:
        raise BadMessage
    if kind == "number" and not is_number(message.get("number")):
        raise BadMessage
    if not 0 < seq < MAX_SEQ:
        return None
    return Ack(seq) if kind == "ack" else Number(seq, message["number"])


class SocketProtocol:
    """One socket's side of the protocol, from its first byte of a frame to the end of it.

    After `receive`, in this order: carry out `messages`, write `outgoing()`, then do what `phase`
    says. In that order an ack is stored before the close behind it is answered.

    Args:
        closing: the code of a close frame that was already sent on this socket.
        now: when it began, for `began`.
    """

    __slots__ = (
        "_closing",
        "_frames",
        "_message",
        "_pending",
        "began",
        "busy",
        "failure",
        "messages",
        "paused",
    )

    def __init__(self, closing: CloseCode | None, now: float) -> None:
        self._closing = closing
        self._frames: Protocol | None = None
        """The frame parser, once it is needed: most pages send one message in one frame."""
        self._message: bytearray | None = None
        """The fragments so far of a message that is not complete."""
        self._pending = 0
        """Bytes received that do not make a whole frame yet."""
        self.began = now
        self.messages: list[ClientMessage] = []
        """Complete messages in their order, not carried out yet."""
        self.busy = False
        """A message is being carried out; the owner must not read on."""
        self.paused = False
        """The poller was told to leave this descriptor alone."""
        self.failure: CloseCode | None = None
        """Why the server failed the connection, if it did."""

    @property
    def _parser(self) -> Protocol:
        if self._frames is None:
            self._frames = _Frames(SERVER, max_size=MAX_MESSAGE_BYTES, logger=_quiet)
            if self._closing is not None:
                self._frames.send_close(self._closing)
                self._frames.data_to_send()
        return self._frames

    def receive(
        self, data: bytes, pongs_due: int, message: Callable[[], bool], fragment: Callable[[], bool]
    ) -> None:
        """Take in bytes as they came from the socket.

        Args:
            pongs_due: how many pings are unanswered; further pongs count as messages.
            message: counts a message, False when it is one too many (4429).
            fragment: counts a continuation frame, likewise.
        """
        plain = self._frames is None and self._closing is None
        if plain and (text := _whole_text(data)) is not None:
            if message():
                self._complete(text)
            else:
                self._fail(CloseCode.FLOOD)
            return
        self._parser.receive_data(data)
        self._pending += len(data)
        for event in self._parser.events_received():
            if self.failure is not None:
                return
            if not isinstance(event, Frame):
                continue  # Never: a protocol that is past its handshake yields frames only.
            self._pending -= _wire_bytes(len(event.data))
            if event.opcode is Opcode.PONG and pongs_due:
                pongs_due -= 1
            elif event.opcode is Opcode.CONT and not fragment():
                self._fail(CloseCode.FLOOD)
            elif event.opcode not in (Opcode.CONT, Opcode.CLOSE) and not message():
                self._fail(CloseCode.FLOOD)
            else:
                self._frame(event)
        self._note_protocol_failure()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self._message = None
        elif frame.opcode is Opcode.BINARY:
            self._fail(CloseCode.BAD_MESSAGE)
        elif frame.opcode is Opcode.TEXT:
            self._message = bytearray(frame.data)
        elif frame.opcode is Opcode.CONT and self._message is not None:
            self._message += frame.data
        else:
            return
        if frame.fin and self._message is not None:
            message, self._message = self._message, None
            self._complete(message)

    def _complete(self, message: bytes | bytearray) -> None:
        try:
            parsed = parse(message.decode())
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_TEXT)
        except BadMessage:
            self._fail(CloseCode.BAD_MESSAGE)
        else:
            if parsed is not None:
                self.messages.append(parsed)

    def _fail(self, code: CloseCode) -> None:
        self._message = None
        self.failure = code
        self._parser.fail(code)

    def _note_protocol_failure(self) -> None:
        if self.failure is None and self._parser.parser_exc is not None:
            sent = self._parser.close_sent
            # The protocol fails with 1002, 1007, 1009 or 1011, unless a close was sent before.
            self.failure = CloseCode(sent.code) if sent is not None else CloseCode.PROTOCOL

    def close(self, code: CloseCode) -> bytes:
        """Ask to close, or, if the peer already did, take its answer out: the bytes to write."""
        if self._frames is None and self._closing is None:
            self._closing = code
            return close_frame(code)
        if self._frames is None:
            return b""
        if self._frames.state is State.OPEN:
            self._frames.send_close(code)
        return self.outgoing()

    def outgoing(self) -> bytes:
        """What the protocol wants written now: pongs and close frames."""
        return b"" if self._frames is None else b"".join(self._frames.data_to_send())

    @property
    def phase(self) -> Phase:
        if self.failure is not None:
            return Phase.FAILED
        if self._frames is None:
            return Phase.OPEN if self._closing is None else Phase.CLOSING
        if self._frames.close_rcvd is not None:
            return Phase.DONE
        return Phase.OPEN if self._frames.state is State.OPEN else Phase.CLOSING

    @property
    def idle(self) -> bool:
        """Whether nothing of a message or frame is pending, so that nothing need be kept."""
        return self._message is None and not self._pending and not self.messages and not self.busy


def _whole_text(data: bytes) -> bytes | None:
    """The payload of a message in one frame, if `data` is just that.

    None for everything else, mistakes included: the frame parser decides what follows from those.

    A fast path for nearly every message of a page, which costs a frame but no protocol object.
    """
    if not data.startswith(_LAST_TEXT):
        return None
    reader = StreamReader()
    reader.feed_data(data)
    try:
        next(Frame.parse(reader.read_exact, mask=True, max_size=MAX_MESSAGE_BYTES))
    except StopIteration as parsed:
        payload: bytes = parsed.value.data
        return payload if len(data) == _wire_bytes(len(payload)) else None
    except WebSocketException:
        return None
    return None


def _wire_bytes(payload: int) -> int:
    """The length of a masked frame on the wire (RFC 6455, section 5.2)."""
    return payload + (6 if payload < 126 else 8)
