"""`pages` in the settings: colours that can be read, and the logo; what pages say of an account."""

import itertools
import re
from pathlib import Path

import pytest

from services.errors import SettingsError
from services.settings import branding
from services.settings.models import load_settings

DARKEST_OF_HUES = [
    "#" + "".join(f"{channel:02x}" for channel in channels)
    for channels in itertools.product((0, 51, 102, 153, 204, 255), repeat=3)
]
READ_ON = [
    ("jade", "on-jade", branding.READABLE),
    ("on-deep", "deep", branding.DEEP),
    ("on-deep-soft", "deep", branding.READABLE),
    ("on-deep", "stage-plate", branding.READABLE),
    ("glow", "stage-plate", branding.READABLE),
    ("glow", "on-glow", branding.READABLE),
]


def written(tmp_path: Path, pages: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(f"pages: {pages}\n", encoding="utf-8")
    return path


def test_every_colour_that_is_accepted_can_be_read() -> None:
    """On paper and on the stage, light and dark: each pair of what is written and its ground."""
    accepted = 0
    for colour in DARKEST_OF_HUES:
        try:
            branding.check_colour(colour)
        except ValueError:
            continue
        accepted += 1
        light, dark = (
            dict(re.findall(r"--([\w-]+):(#\w{6});", rule))
            for rule in branding.style(colour).splitlines()
        )
        for palette, paper in ((light, branding.PAPER), (dark, branding.DARK_PAPER)):
            assert branding.contrast(palette["jade"], paper) >= branding.READABLE, colour
            for text, ground, least in READ_ON:
                assert branding.contrast(palette[text], palette[ground]) >= least, (colour, text)
    assert accepted > 50


def test_contrast_is_that_of_wcag() -> None:
    """Black on white is 21, and the grey that WCAG's readers know as the limit is 4.54."""
    assert branding.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert branding.contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


MISTAKES = {
    "{colour: '#ffcc00'}": "pages.colour: must be darker",
    "{colour: red}": 'pages.colour: must be a colour in quotes, as in "#0a6b4d"',
    "{colour: '#0a6'}": "pages.colour: must be a colour in quotes",
    "{logo: missing.png}": "pages.logo: names a file that cannot be read",
    "{logo: config.yaml}": "pages.logo: must be https://... or a file that ends in .svg",
    "{logo: large.png}": "pages.logo: must be a file of at most 32 KB",
    "{links: {terms: terms.html}}": "pages.links.terms: must be a URL",
    "{links: {imprint: https://example.com}}": "pages.links.imprint: ",
}


@pytest.mark.parametrize(("pages", "said"), MISTAKES.items())
def test_a_mistake_stops_the_start(tmp_path: Path, pages: str, said: str) -> None:
    """With a line that names the setting and says what it may be."""
    (tmp_path / "large.png").write_bytes(b"x" * (32 * 1024 + 1))
    with pytest.raises(SettingsError) as raised:
        load_settings(written(tmp_path, pages), {})
    assert str(raised.value).startswith(said)


def test_a_logo_beside_the_settings_is_put_into_the_pages(tmp_path: Path) -> None:
    """Its path is relative to the settings file; an address stays one."""
    (tmp_path / "logo.svg").write_text("<svg/>")
    settings = load_settings(written(tmp_path, "{logo: logo.svg}"), {})
    assert branding.logo_source(settings.pages.logo) == "data:image/svg+xml;base64,PHN2Zy8+"
    assert branding.logo_source("https://example.com/a.png") == "https://example.com/a.png"


def test_the_name_of_the_pages_is_that_of_the_chat(tmp_path: Path) -> None:
    """`pages.name` before `wechat.site_name`."""
    path = written(tmp_path, "{name: Tea House}")
    assert load_settings(path, {}).site_name == "Tea House"
    assert load_settings(path, {"SCANPUSH_PAGES__NAME": "Teahouse"}).site_name == "Teahouse"
    path.write_text("wechat: {site_name: Old Name}\n")
    assert load_settings(path, {}).site_name == "Old Name"


ACCOUNT = "wechat: {{accounts: {{default: {{name: Tea House, qr: '{}'}}}}}}\n"


def test_the_account_that_a_number_is_sent_to(tmp_path: Path) -> None:
    """Its name, and what its own QR code holds: one of WeChat's addresses, and nothing else."""
    path = tmp_path / "config.yaml"
    path.write_text(ACCOUNT.format("http://weixin.qq.com/r/tea-house"))
    account = load_settings(path, {}).wechat.accounts["default"]
    assert (account.name, account.qr) == ("Tea House", "http://weixin.qq.com/r/tea-house")
    for wrong in ("https://example.com/qr.png", "qr.png", "http://weixin.qq.com.example.com/r/x"):
        path.write_text(ACCOUNT.format(wrong))
        with pytest.raises(SettingsError, match="wechat.accounts.default.qr: must be what the acc"):
            load_settings(path, {})
