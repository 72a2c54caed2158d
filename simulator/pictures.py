"""The pictures of QR codes: JPEG as WeChat sends them, and PNG where it has to be transparent.

The JPEG is baseline and grey (ITU-T T.81, JFIF 1.02). A module of a code is a whole number of
blocks of 8 x 8 pixels, so that every block has one colour: only the first coefficient of a block
is ever sent, and a picture takes a few lines here instead of an image library.
"""

import io
import struct

import segno

BLOCK = 8
QUIET_ZONE = 4
"""Modules of white around a code (ISO/IEC 18004)."""


def qr_png(content: str, side: int, transparent: bool = False) -> bytes:
    """A PNG of the QR code that says `content`, about `side` pixels wide."""
    code = segno.make(content, error="m", micro=False)
    scale = max(1, round(side / code.symbol_size(border=QUIET_ZONE)[0]))
    picture = io.BytesIO()
    light = None if transparent else "#fff"
    code.save(picture, kind="png", scale=scale, border=QUIET_ZONE, light=light)
    return picture.getvalue()


def qr_jpeg(content: str, side: int) -> bytes:
    """A JPEG of the QR code that says `content`, about `side` pixels wide."""
    code = segno.make(content, error="m", micro=False)
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=QUIET_ZONE)]
    blocks = max(1, round(side / len(rows) / BLOCK))
    size = len(rows) * blocks * BLOCK
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xE0, b"JFIF\0\x01\x02\0\0\x01\0\x01\0\0"),
            # One quantisation table: the first coefficient, 8 times the grey level, by 8.
            _segment(0xDB, b"\0" + bytes([8] * 64)),
            # Eight bits of grey in one component, not subsampled, with that table.
            _segment(0xC0, struct.pack(">BHHB", 8, size, size, 1) + b"\x01\x11\0"),
            # First coefficients, as the length of the difference: 0, 8 or 7 bits.
            _segment(0xC4, b"\0" + bytes([1, 1, 1] + [0] * 13) + bytes([0, 8, 7])),
            # All other coefficients: only the end of the block.
            _segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0"),
            _segment(0xDA, b"\x01\x01\0\0\x3f\0"),
            _scan(rows, blocks),
            b"\xff\xd9",
        )
    )


def _segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


# The codes of the tables above, each followed by the bits of the difference and the end of block.
_SAME = "0" + "0"
_FIRST_LIGHT = "110" + "1111111" + "0"
_LIGHTER = "10" + "11111111" + "0"
_DARKER = "10" + "00000000" + "0"


def _scan(rows: list[list[bool]], blocks: int) -> bytes:
    """The blocks, row by row, as differences from the block before: 127 is white, -128 black."""
    bits: list[str] = []
    # The quiet zone makes the first and the last block of every row white.
    for row in rows:
        dark, line = False, []
        for module in row:
            change = _SAME if module == dark else _DARKER if module else _LIGHTER
            line.append(change + _SAME * (blocks - 1))
            dark = module
        bits.extend(["".join(line)] * blocks)
    stream = _FIRST_LIGHT + "".join(bits)[len(_SAME) :]
    stream += "1" * (-len(stream) % 8)
    # A byte of ones would start a marker: it is followed by zero.
    return int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\0")
