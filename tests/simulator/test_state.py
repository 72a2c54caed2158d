"""What the simulated WeChat knows after a restart, with a state file and without."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator import SimulatedWeChat, SimulatorConfig
from simulator.authorisations import read_qrconnect
from simulator.config import WEBSITE_APP_ID
from simulator.state import State
from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

CODE = {"action_name": "QR_STR_SCENE", "expire_seconds": 300}


@asynccontextmanager
async def started(file: Path | None, **changes: Any) -> AsyncIterator[SimulatedWeChat]:
    """A simulated WeChat with this state, as `python -m simulator --port 0` has it."""
    config = replace(SimulatorConfig.generated("", seed=changes.pop("seed", None)), **changes)
    wechat = SimulatedWeChat(replace(config, state_file=file))
    wechat.start()
    try:
        yield wechat
    finally:
        await wechat.stop()


def app_id(wechat: SimulatedWeChat) -> str:
    return wechat.config.accounts[0].app_id


def make_code(wechat: SimulatedWeChat, scene: str = "a-scene", **changes: Any) -> Any:
    request = {**CODE, "action_info": {"scene": {"scene_str": scene}}, **changes}
    return wechat.world.codes.create(app_id(wechat), request)


async def test_a_page_goes_on_showing_a_code_that_can_be_scanned(tmp_path: Path) -> None:
    """The address in the picture leads to the same port, and the phone knows the code."""
    file = tmp_path / "state.db"
    async with started(file) as wechat:
        address = wechat.world.code_url(make_code(wechat))
    async with started(file) as wechat, httpx.AsyncClient(trust_env=False) as http:
        page = await http.get(address)
        state = f"{wechat.phone_base}/phone/state"
        answer = await http.get(state, params={"code": address.rpartition("/")[2]})
        assert page.status_code == 200 and answer.json()["code"] == "valid"
        assert (await wechat.phones.scan("alice", url=address)).outcome == "no_callback_url"


async def test_secrets_tokens_people_and_what_they_made_are_kept(tmp_path: Path) -> None:
    """Callers go on with their tokens, and find followers, tags, remarks, menus and media."""
    file = tmp_path / "state.db"
    async with started(file) as wechat:
        account, world = wechat.config.accounts[0], wechat.world
        await wechat.phones.follow("zoe")
        await wechat.phones.scan("alice", ticket=make_code(wechat).ticket)
        openid = world.people.openid(world.people.named("alice"), account.app_id)
        tag = world.tags.create(account.app_id, "vip")["id"]
        world.tags.change(account.app_id, tag, [openid], on=True)
        world.menus.create(account.app_id, {"button": [{"type": "click", "name": "A", "key": "a"}]})
        medium = world.media.upload(account.app_id, "image", "a.png", b"\0\xff")
        key = world.short_links.shorten(account.app_id, "long", 60)
        stable, _ = world.tokens.stable(account.app_id, False)
        old, _ = world.tokens.classic(account.app_id)
        new, _ = world.tokens.classic(account.app_id)
        followers = world.people.followers(account.app_id)
    async with started(file) as wechat:
        world = wechat.world
        assert wechat.config.accounts == (account,)
        assert world.people.followers(account.app_id) == followers
        assert world.people.named("alice").follows[account.app_id].tags == [tag]
        assert world.tags.followers(account.app_id, tag) == [openid]
        assert world.menus.get(account.app_id)["button"][0]["name"] == "A"
        assert world.media.get(account.app_id, medium.media_id) == medium
        assert world.short_links.fetch(account.app_id, key)["long_data"] == "long"
        assert world.tokens.stable(account.app_id, False)[0] == stable
        assert {world.tokens.owner(token) for token in (old, new)} == {account.app_id}


async def test_the_newest_code_of_a_scene_is_still_the_newest(tmp_path: Path) -> None:
    """Documents come back in the order in which they were made, also after a change."""
    file = tmp_path / "state.db"
    async with started(file) as wechat:
        make_code(wechat)
        newest = make_code(wechat)
    async with started(file) as wechat:
        assert wechat.phones.find_code(scene_str="a-scene") == newest


async def test_a_permanent_code_is_not_made_twice(tmp_path: Path) -> None:
    """The same scene gives the code of the earlier start again."""
    file, action = tmp_path / "state.db", "QR_LIMIT_STR_SCENE"
    async with started(file) as wechat:
        code = make_code(wechat, action_name=action)
    async with started(file) as wechat:
        assert make_code(wechat, action_name=action) == code


async def test_codes_that_ended_long_ago_are_dropped(tmp_path: Path) -> None:
    """Ten minutes after its end a code is forgotten, in the file as well."""
    file = tmp_path / "state.db"
    async with started(file) as wechat:
        make_code(wechat, expire_seconds=1)
        wechat.world.clock.advance(700)
        make_code(wechat)
        assert len(wechat.world.state.documents("codes")) == 1


async def test_a_shown_website_login_is_kept(tmp_path: Path) -> None:
    """The page of a qrconnect code goes on waiting for the phone."""
    file = tmp_path / "state.db"
    query = f"appid={WEBSITE_APP_ID}&redirect_uri=http://a.example/&scope=snsapi_login&state=s"
    async with started(file) as wechat:
        shown = wechat.world.website_logins.begin(read_qrconnect(query, wechat.world.websites))
    async with started(file) as wechat:
        kept = wechat.world.website_logins.get(shown.login_id)
        assert kept is not None and (kept.status, kept.request) == (408, shown.request)


async def test_the_phone_of_the_network_keeps_its_address(tmp_path: Path) -> None:
    """Port and unguessable path are those of the earlier start."""
    file = tmp_path / "state.db"
    addresses = []
    for _ in range(2):
        async with started(file) as wechat:
            addresses.append(wechat.start_phone_listener("127.0.0.1"))
    assert addresses[0] == addresses[1]


async def test_a_port_that_is_taken_meanwhile(tmp_path: Path) -> None:
    """Another is used, rather than not to start."""
    file = tmp_path / "state.db"
    async with started(file) as wechat:
        port = int(wechat.url.rpartition(":")[2])
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port)
    async with taken, started(file) as wechat:
        assert wechat.url != f"http://127.0.0.1:{port}"


async def test_a_seed_makes_no_id_twice(tmp_path: Path) -> None:
    """The first start with a seed repeats ids; the next, which knows those, makes others."""
    tickets, secrets = [], set()
    for file in (None, tmp_path / "state.db", tmp_path / "state.db"):
        async with started(file, seed=7) as wechat:
            tickets.append(make_code(wechat, scene=str(len(tickets))).code_id)
            secrets.add(wechat.config.accounts[0].app_secret)
    assert tickets[0] == tickets[1] != tickets[2] and len(secrets) == 1


async def test_nothing_is_kept_without_a_file() -> None:
    """A restart without a state has secrets of its own and knows no code."""
    async with started(None) as wechat:
        code, account = make_code(wechat), wechat.config.accounts[0]
    async with started(None) as wechat:
        assert wechat.phones.find_code(ticket=code.ticket) is None
        assert wechat.config.accounts[0].app_secret != account.app_secret


async def test_what_was_done_shortly_before_a_kill_is_kept(tmp_path: Path) -> None:
    """A change is in the file soon, without a stop in good order."""
    file = tmp_path / "state.db"
    state = State(file)
    state.put("shelf", "a name with half of a pair: \ud800", {"kept": True})
    async with asyncio.timeout(10):
        while not _rows(file):
            await asyncio.sleep(0.02)
    state.close()
    reopened = State(file)
    assert list(reopened.documents("shelf").values()) == [{"kept": True}]
    reopened.close()


def _rows(file: Path) -> int:
    """How many documents the file has, read from a copy: the file itself is locked."""
    copy = file.with_name("copy.db")
    for suffix in ("", "-wal"):
        copy.with_name(copy.name + suffix).write_bytes(
            file.with_name(file.name + suffix).read_bytes()
        )
    database = sqlite3.connect(copy)
    try:
        return int(database.execute("SELECT count(*) FROM documents").fetchone()[0])
    finally:
        database.close()


async def test_one_simulator_at_a_time_has_the_file(tmp_path: Path) -> None:
    """A second one, and a file of something else, are told as OSError; only its owner reads it."""
    file, other, newer = (tmp_path / f"{name}.db" for name in ("state", "other", "newer"))
    other.write_text("this is no database, and long enough to be looked at" * 30)
    database = sqlite3.connect(newer)
    database.execute("PRAGMA user_version = 99")
    database.close()
    state = State(file)
    for path in (file, other, newer, tmp_path):
        with pytest.raises(OSError):
            State(path)
    state.close()
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_file_that_fails_later(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """The simulator goes on without it, and says so once."""
    logs.expect("keeps nothing more over a restart")
    state = State(tmp_path / "state.db")
    assert state._database is not None
    state._database.execute("DROP TABLE documents")
    state.put("shelf", "key", {})
    state.documents("shelf")
    state.put("shelf", "key", {})
    assert state.documents("shelf") == {}
    state.close()


async def test_the_built_in_simulator_knows_the_page_after_a_restart(tmp_path: Path) -> None:
    """A code that a page shows is scanned after the server was started again."""
    async with Stack(tmp_path) as stack:
        address = (await stack.begin()).document["qr"]["content"]
    async with Stack(tmp_path) as stack:
        body = {"person": "alice", "url": address}
        assert (await stack.simulator("scan", **body))["outcome"] == "answered"
