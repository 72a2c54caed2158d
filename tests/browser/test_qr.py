"""The QR encoder of the pages, against segno and against a reader."""

import base64
from pathlib import Path

import pytest
import segno
from playwright.sync_api import Page

from simulator.pictures import qr_jpeg

from .conftest import Fake

pytestmark = pytest.mark.browser

JSQR = Path(__file__).parent / "node_modules" / "jsqr" / "dist" / "jsQR.js"
ENCODE = """async ([text, mask]) => {
  const { encode } = await import("/static/qr.js");
  return encode(text, mask).map((row) => row.join(""));
}"""
FULL = [
    (version, "m", size)
    for version, size in enumerate((14, 26, 42, 62, 84, 106, 122, 152, 180, 213), 1)
]
FULL += [(9, "l", 230), (10, "l", 271)]


@pytest.mark.parametrize(("version", "level", "size"), FULL)
def test_full_codes_equal_segnos(
    page: Page, fake: Fake, version: int, level: str, size: int
) -> None:
    """A text that exactly fills a version has segno's matrix under every mask.

    (segno 1.6 pads shorter texts with one zero word more than the standard: harmless, not equal.)
    """
    page.goto(fake.url + "/static/icon.svg")
    text = ("http://weixin.qq.com/q/" * 12)[:size]
    for mask in range(8):
        expected = segno.make(
            text, error=level, version=version, mask=mask, mode="byte", boost_error=False
        )
        rows = ["".join(map(str, row)) for row in expected.matrix]
        assert page.evaluate(ENCODE, [text, mask]) == rows


def test_too_long_a_text_is_refused(page: Page, fake: Fake) -> None:
    """Over 271 bytes there is no code, but an error that says so."""
    page.goto(fake.url + "/static/icon.svg")
    with pytest.raises(Exception, match="text too long"):
        page.evaluate(ENCODE, ["x" * 272, None])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_reader_reads_the_page(page: Page, fake: Fake, theme: str) -> None:
    """What a camera would see of the login page is `qr.content`, in both themes."""
    if not JSQR.exists():
        pytest.skip("jsqr is not installed: npm install in tests/browser")
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.goto(fake.url)
    page.locator("scan-login .qr").wait_for()
    picture = base64.b64encode(page.screenshot()).decode()
    # Evaluated rather than added as a script, which the page's policy forbids.
    page.evaluate(JSQR.read_text(encoding="utf-8"))
    read = page.evaluate(READ, picture)
    assert read == page.evaluate("document.querySelector('scan-login').login.view.qr.content")


READ = """async (picture) => {
  const bytes = Uint8Array.from(atob(picture), (c) => c.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes]));
  const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const { data } = canvas.getImageData(0, 0, image.width, image.height);
  return jsQR(data, image.width, image.height)?.data;
}"""


def test_text_beyond_ascii_is_utf8(page: Page, fake: Fake) -> None:
    """Chinese text has the size of its UTF-8 bytes: 24 of them need version 2."""
    page.goto(fake.url + "/static/icon.svg")
    assert len(page.evaluate(ENCODE, ["微信扫码登录你好", None])) == 25
    assert page.evaluate(ENCODE, ["微", 0]) != page.evaluate(ENCODE, ["信", 0])


MODULES = """async ([address, count]) => {
  const image = new Image();
  image.src = address;
  await image.decode();
  const side = image.naturalWidth;
  const context = new OffscreenCanvas(side, side).getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, side, side);
  const scale = side / count;
  const rows = Array.from({ length: count }, () => new Array(count).fill(null));
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      const grey = data[4 * (y * side + x)];
      const row = rows[Math.floor(y / scale)], column = Math.floor(x / scale);
      row[column] = row[column] === null || row[column] === grey ? grey : -1;
    }
  }
  return rows;
}"""


def test_the_simulators_jpeg_is_segnos_code(page: Page, fake: Fake) -> None:
    """What a browser decodes is black or white, module by module, at every size."""
    page.goto(fake.url + "/static/icon.svg")
    for text, side in (("a", 1), ("http://127.0.0.1:8889/q/02abcdefghij", 430), ("x" * 200, 900)):
        code = segno.make(text, error="m", micro=False)
        expected = [[0 if module else 255 for module in row] for row in code.matrix_iter(border=4)]
        address = "data:image/jpeg;base64," + base64.b64encode(qr_jpeg(text, side)).decode()
        assert page.evaluate(MODULES, [address, len(expected)]) == expected
