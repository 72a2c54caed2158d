"""What ``pages`` in the settings makes of the pages: colours that can be read, and the logo.

One colour is chosen; the others follow from it, lighter or darker until each can be read on what
it stands on. A colour that could not be read as text itself stops the start. Contrast is WCAG 2.2's
(section 1.4.3 and "relative luminance").
"""

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

READABLE = 4.5
"""The least contrast of text (WCAG 2.2, success criterion 1.4.3)."""

DEEP = 9.0
"""That of white on the stage beside the words: it carries smaller and paler text, too."""

CLEAR = 7.0
"""That of marks and buttons on the stage, and of links on dark paper."""

BASE = Path(__file__).resolve().parents[2] / "static" / "base.css"

WHITE, BLACK = "#ffffff", "#000000"
PAPER, DARK_PAPER = "#f6f5f0", "#101412"
"""``--paper`` of static/base.css, by theme."""

MOST_LOGO_BYTES = 32 * 1024
"""The logo is inside of each page."""

LOGO_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".svg": "image/svg+xml",
        ".png": "image/png",
        ".webp": "image/webp",
        ".jpg": "image/jpeg",
        ".jpeg": "image/jpeg",
    }
)


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (``#rrggbb``), 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def check_colour(colour: str) -> str:
    """The colour, where text of it can be read on paper; raises `ValueError` where not."""
    found = contrast(colour, PAPER)
    if found < READABLE:
        raise ValueError(
            f"must be darker: its contrast with the page is {found:.1f}, and text needs {READABLE}"
        )
    return colour


def style(colour: str) -> str:
    """The style sheet that puts the colour in place of jade; empty for none."""
    if not colour:
        return ""
    deep = _until(colour, BLACK, WHITE, DEEP)
    darker = _mixed(deep, BLACK, 0.25)
    light = {"jade": colour, "on-jade": WHITE, "ring": _mixed(deep, WHITE, 0.3)} | _stage(
        colour, deep
    )
    bright = _until(colour, WHITE, DARK_PAPER, CLEAR)
    dark = {"jade": bright, "on-jade": _mixed(colour, BLACK, 0.8)} | _stage(colour, darker)
    return _rule(":root", light) + _rule(':root[data-theme="dark"]', dark)


def shared_style() -> str:
    """The colours and the type of static/base.css, for documents that stand alone and have no
    script: what chooses the dark ones is the system."""
    text = BASE.read_text()

    def inside(selector: str) -> str:
        return text.partition(f"\n{selector} {{\n")[2].partition("\n}")[0]

    light = f":root {{\n{inside(':root')}\n}}\n:root:lang(en) {{\n{inside(':root:lang(en)')}\n}}\n"
    dark = inside(':root[data-theme="dark"]')
    return f"{light}@media screen and (prefers-color-scheme: dark) {{ :root {{\n{dark}\n}} }}\n"


def logo_source(logo: str) -> str:
    """What ``src`` holds for the logo: an address as it is, a file as a ``data:`` URL.

    Raises:
        ValueError: the file cannot be read, is no picture by its name, or too large.
    """
    if not logo or logo.startswith("https://"):
        return logo
    path = Path(logo)
    kind = LOGO_TYPES.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"must be https://... or a file that ends in {', '.join(LOGO_TYPES)}")
    try:
        content = path.read_bytes()
    except OSError:
        raise ValueError("names a file that cannot be read") from None
    if len(content) > MOST_LOGO_BYTES:
        raise ValueError(f"must be a file of at most {MOST_LOGO_BYTES // 1024} KB")
    return f"data:{kind};base64,{b64encode(content).decode()}"


def _stage(colour: str, deep: str) -> dict[str, str]:
    """The colours of the stage that shows the code, and of a kiosk."""
    glow = _until(colour, WHITE, _mixed(deep, WHITE, 0.06), CLEAR)
    return {
        "deep": deep,
        "deep-line": _mixed(deep, WHITE, 0.12),
        "on-deep": WHITE,
        "on-deep-soft": _mixed(WHITE, deep, 0.2),
        "glow": glow,
        "on-glow": _mixed(deep, BLACK, 0.5),
        "stage-plate": _mixed(deep, WHITE, 0.06),
        "stage-line": _mixed(deep, WHITE, 0.25),
    }


def _until(colour: str, towards: str, ground: str, wanted: float) -> str:
    """The colour, mixed as far towards black or white as the contrast with the ground wants."""
    shares = (step / 20 for step in range(21))
    mixed = (_mixed(colour, towards, share) for share in shares)
    return next((found for found in mixed if contrast(found, ground) >= wanted), towards)


def _mixed(colour: str, other: str, share: float) -> str:
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _luminance(colour: str) -> float:
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
        for share in (channel / 255 for channel in _channels(colour))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _channels(colour: str) -> bytes:
    return bytes.fromhex(colour[1:])


def _rule(selector: str, colours: Mapping[str, str]) -> str:
    return f"{selector}{{{''.join(f'--{name}:{value};' for name, value in colours.items())}}}\n"
