"""The programs of docs/choosing.md, as they stand but for the address, against a real scanpush."""

from typing import Any

import pytest

from scanpush_client import InvalidToken, Refused
from tests.browser.real_server import KIOSK_SECRET, OPERATOR_TOKEN, Real
from tests.docs.pages import ROOT, blocks
from tests.examples.test_sites import scanned


def run(real: Real, call: str, **given: str) -> dict[str, Any]:
    """Run the page's program that makes that call; the session that it fills."""
    page = ROOT / "docs" / "choosing.md"
    (block,) = (b for b in blocks(page) if b.startswith("```python") and f"scanpush.{call}(" in b)
    program = block.removeprefix("```python\n").removesuffix("```")
    program = program.replace('"https://login.example.com"', f'"{real.url}", issuer="scanpush"')
    names: dict[str, Any] = {"session": {}, **given}
    try:
        exec(program, names)
    finally:
        names["scanpush"].close()
    return dict(names["session"])


def test_a_token_opens_a_session(real: Real) -> None:
    """And nothing else does."""
    login = scanned(real, "alice")["login"]
    assert run(real, "verify", token=login["token"]) == {"user": login["user"]["id"]}
    with pytest.raises(InvalidToken):
        run(real, "verify", token=login["token"][:-8] + "AAAAAAAA")


def test_an_exchange_code_opens_a_session_once(real: Real) -> None:
    """The same code again is refused, and so is a wrong token of the operator."""
    status = scanned(real, "alice", kiosk="lobby3", secret=KIOSK_SECRET)
    assert "login" not in status
    code = status["exchange_code"]
    with pytest.raises(Refused) as refused:
        run(real, "exchange", exchange_code=code, operator_token="another")
    assert refused.value.status == 401
    assert run(real, "exchange", exchange_code=code, operator_token=OPERATOR_TOKEN)["user"]
    with pytest.raises(Refused) as used:
        run(real, "exchange", exchange_code=code, operator_token=OPERATOR_TOKEN)
    assert (used.value.status, used.value.code) == (410, "gone")
