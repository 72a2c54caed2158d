"""simulator.builtin: the built-in WeChat, and the phone that a real phone may open."""

from pathlib import Path

import pytest

from services.errors import SettingsError
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP


async def test_the_address_for_a_real_phone_opens_the_phone_and_nothing_else(
    tmp_path: Path,
) -> None:
    """A scanned code leads there, too; WeChat's hosts and the controls are out of reach."""
    async with Stack(tmp_path) as stack:
        simulation = stack.simulation
        address = simulation.open_to_lan("127.0.0.1")
        assert address == simulation.phone_url
        page = await stack.begin(lang="en")
        for url in (address, str(page.document["qr"]["content"])):
            answer = await stack.http.get(url)
            assert answer.status_code == 200 and "<html" in answer.text
            assert url.startswith(address.removesuffix("/phone"))
        outside = address.split("/", 3)[:3]
        for path in ("", "phone", "simulator/calls", "api/cgi-bin/token"):
            assert (await stack.http.get("/".join([*outside, path]))).status_code == 404


async def test_a_public_address_is_never_opened_to_phones(tmp_path: Path) -> None:
    """A machine may have one on its own network card, and then ``--lan`` is refused."""
    async with Stack(tmp_path) as stack:
        for address in ("8.8.8.8", "::ffff:8.8.8.8", "0.0.0.0"):
            with pytest.raises(SettingsError, match="--lan: .* public"):
                stack.simulation.open_to_lan(address)
