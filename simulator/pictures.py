"""QR pictures, drawn as PNG."""

import io

import segno


def qr_png(content: str, scale: int = 8) -> bytes:
    """A PNG of the QR code that says `content`, with the quiet zone the standard asks for."""
    picture = io.BytesIO()
    segno.make(content, error="m", micro=False).save(picture, kind="png", scale=scale, border=4)
    return picture.getvalue()
