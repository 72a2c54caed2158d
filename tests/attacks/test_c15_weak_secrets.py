"""C15: no start with a default, empty or weak secret outside of the simulator."""

from pathlib import Path
from typing import Any

import pytest

from tests.processes import run, write_config

pytestmark = pytest.mark.gen_test(timeout=60)

ACCOUNT = {
    "app_id": "wx1234567890abcdef",
    "app_secret": "0123456789abcdef" * 2,
    "callback_token": "pushtoken2024",
    "encoding_aes_key": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
}

WEAK: list[tuple[str, dict[str, Any]]] = [
    ("wechat.accounts.a.app_secret", {"wechat": {"accounts": {"a": ACCOUNT | {"app_secret": ""}}}}),
    (
        "wechat.accounts.a.app_secret",
        {"wechat": {"accounts": {"a": ACCOUNT | {"app_secret": "secret"}}}},
    ),
    (
        "wechat.accounts.a.callback_token",
        {"wechat": {"accounts": {"a": ACCOUNT | {"callback_token": ""}}}},
    ),
    (
        "wechat.accounts.a.encoding_aes_key",
        {"wechat": {"accounts": {"a": ACCOUNT | {"encoding_aes_key": "A" * 43}}}},
    ),
    (
        "wechat.accounts.a.encoding_aes_key",
        {"wechat": {"accounts": {"a": ACCOUNT | {"encoding_aes_key": ""}}}},
    ),
    ("jwt.secret", {"jwt": {"algorithm": "HS256", "secret": ""}}),
    ("jwt.secret", {"jwt": {"algorithm": "HS256", "secret": "changeme"}}),
    ("operator.token", {"operator": {"token": "admin"}}),
    ("kiosks.lobby.secret", {"kiosks": {"lobby": {"label": "Lobby", "secret": ""}}}),
    ("login.hook_secret", {"login": {"hook_url": "http://127.0.0.1:1/", "hook_secret": ""}}),
    ("wechat.simulator", {"server": {"host": "0.0.0.0"}, "wechat": {"simulator": True}}),
    ("wechat.accounts.default.app_id", {"server": {"host": "0.0.0.0"}}),
]


@pytest.mark.parametrize(("key", "sections"), WEAK, ids=lambda value: str(value)[:50])
async def test_a_weak_secret_stops_the_start(
    tmp_path: Path, key: str, sections: dict[str, Any]
) -> None:
    """Exit code 2 and one line that names the key and never the value."""
    config = write_config(tmp_path, **sections)
    code, out, err = await run("--config", str(config))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"scanpush: {key}: ")
    assert "changeme" not in err and "admin" not in err.split("operator.token")[-1]
