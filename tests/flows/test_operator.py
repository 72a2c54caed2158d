"""The operator's page: what it is told, and by whom it may be asked."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from services.backends import OpenBackend
from services.clock import SystemClock
from services.ids import SceneStr
from services.scenes.history import RecordedScenes
from services.scenes.states import Move, State
from simulator.clock import TurnableClock
from tests.conftest import UnexpectedLogs
from tests.stack import ON_LOOP, Page, Stack, status, until

pytestmark = ON_LOOP

TOKEN = "a-token-for-the-operator"
OPERATOR: dict[str, Any] = {"operator": {"token": TOKEN}}
UNKNOWN = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


async def ask(stack: Stack, path: str, token: str = TOKEN) -> httpx.Response:
    bearer = {"Authorization": f"Bearer {token}"}
    return await stack.http.get(f"/api/operator/{path}", headers=bearer)


async def overview(stack: Stack) -> dict[str, Any]:
    answer = await ask(stack, "overview")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def story(stack: Stack, page: Page) -> list[tuple[str, str]]:
    """The scene's events with their notes."""
    document = (await ask(stack, f"scenes/{page.scene_str}")).json()
    times = [event["at"] for event in document["timeline"]]
    assert times == sorted(times)
    return [(event["event"], event["note"]) for event in document["timeline"]]


async def logged_in(stack: Stack, person: str = "alice") -> Page:
    """A page that saw its code, got its login by socket and acknowledged it."""
    page = await stack.begin()
    async with page.socket() as socket:
        await status(socket)
        await stack.scan(page, person)
        document = await until(socket, "authorized")
        await socket.send(f'{{"type":"ack","seq":{document["seq"]}}}')
        await until(socket, "consumed")
    return page


async def test_without_a_token_there_is_nothing(tmp_path: Path) -> None:
    """Neither the page nor what it asks for, whatever is shown."""
    async with Stack(tmp_path) as stack:
        assert (await stack.http.get("/operator")).status_code == 404
        for path in ("overview", f"scenes/{UNKNOWN}"):
            assert (await ask(stack, path)).status_code == 404
            assert (await ask(stack, path, "-")).status_code == 404


@pytest.mark.parametrize("token", ["-", TOKEN[:-1], TOKEN + "x", TOKEN.upper()])
async def test_only_the_operator_is_answered(tmp_path: Path, token: str) -> None:
    """401 for every other bearer; the page itself holds nothing and is served to all."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        assert (await stack.http.get("/operator")).status_code == 200
        assert (await stack.http.get("/api/operator/overview")).status_code == 401
        assert (await ask(stack, "overview", token)).status_code == 401


async def test_the_overview_counts_what_happened(tmp_path: Path, any_scenes: OpenBackend) -> None:
    """Sockets, states, funnel, logins of this minute, latencies, WeChat and the node itself."""
    async with Stack(tmp_path, stores=any_scenes, wechat={"codes_ahead": 0}, **OPERATOR) as stack:
        await logged_in(stack)
        page = await stack.begin()
        async with page.socket() as socket:
            await status(socket)
            seen = await overview(stack)
        assert seen["sockets"] == 1 and seen["scenes"] == {"consumed": 1, "waiting": 1}
        steps = {"shown": 2, "scanned": 1, "authorized": 1, "consumed": 1}
        assert seen["funnel"] == {"window_seconds": 3600, **steps}
        assert sum(seen["logins_per_minute"]) == 1 and len(seen["logins_per_minute"]) == 60
        for name in ("callback", "push"):
            latency = seen["latency"][name]
            assert latency["count"] == 1
            assert 0 <= latency["p50_ms"] == latency["p99_ms"] < 60_000
        (account,) = seen["wechat"]
        assert account["account"] == "default" and account["codes_left"] == 99_998
        assert 7000 < account["credential_expires_in"] <= 7200 and account["errors"] == {}
        (node,) = seen["nodes"]
        assert node["node_id"] == seen["node_id"] and node["sockets"] == 1
        assert node["draining"] is False and seen["simulated"] is True


async def test_a_server_that_did_nothing_yet_has_an_overview(tmp_path: Path) -> None:
    """Zeros and nothing known, no error."""
    async with Stack(tmp_path, wechat={"codes_ahead": 0}, **OPERATOR) as stack:
        seen = await overview(stack)
        assert seen["scenes"] == {} and seen["sockets"] == 0
        assert seen["latency"]["push"] == {
            "p50_ms": None,
            "p90_ms": None,
            "p99_ms": None,
            "count": 0,
        }
        assert seen["wechat"][0]["credential_expires_in"] is None


async def test_wechats_errcodes_are_shown_for_an_hour(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """By account, then forgotten; states and minutes move on with the time as well."""
    logs.expect("WeChat refuses|wechat_quota")
    clock = TurnableClock(SystemClock())
    async with Stack(tmp_path, clock, wechat={"codes_ahead": 0}, **OPERATOR) as stack:
        await stack.begin()
        await stack.simulator("faults", path="/cgi-bin/qrcode/create", errcode=45009)
        assert (await stack.http.post("/api/scenes")).status_code == 503
        assert (await overview(stack))["wechat"][0]["errors"] == {"45009": 1}
        await stack.advance(3700)
        later = await overview(stack)
        assert later["wechat"][0]["errors"] == {} and later["scenes"] == {}
        assert later["funnel"]["shown"] == 0


async def test_the_story_of_a_login(tmp_path: Path) -> None:
    """Made, shown, scanned, authorized, delivered, acked: in this order, each once."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        page = await logged_in(stack)
        document = (await ask(stack, f"scenes/{page.scene_str}")).json()
        assert document["state"] == "consumed" and document["kind"] == "official_account"
        assert await story(stack, page) == [
            ("made", ""),
            ("shown", "socket"),
            ("scanned", ""),
            ("authorized", "new person"),
            ("delivered", "seq 3"),
            ("consumed", "acked"),
        ]


async def test_the_story_tells_repeats_and_second_scanners(
    tmp_path: Path, any_scenes: OpenBackend
) -> None:
    """WeChat's tries are counted; another person's scan is shown as such."""
    async with Stack(tmp_path, stores=any_scenes, **OPERATOR) as stack:
        page = await stack.begin()
        push = stack.scan_of(page)
        for _ in range(3):
            await stack.sender().send(push)
        await stack.scan(page, "bob")
        told = [note for event, note in await story(stack, page) if event == "callback"]
        assert told == ["2 of 3, duplicate", "3 of 3, duplicate", "refused: another person"]


async def test_the_story_tells_the_end_that_time_brought(tmp_path: Path) -> None:
    """No request caused it; and the story outlives the scene for a while. A login that a person was
    asked about and did not finish has failed; a code that was only shown has not."""
    clock = TurnableClock(SystemClock())
    settings = {"login": {"confirm": "always"}, **OPERATOR}
    async with Stack(tmp_path, clock, **settings) as stack:
        page, asked = [await stack.begin() for _ in range(2)]
        await stack.scan(asked)
        await stack.advance(150)
        assert stack.container.reports is not None
        await stack.container.reports.write()
        (failure,) = (await overview(stack))["failures"]
        assert (failure["scene_str"], failure["left_in"]) == (asked.scene_str, "confirming")
        told = [(event["event"], event["note"]) for event in failure["timeline"]]
        assert told == [("made", ""), ("scanned", ""), ("confirming", ""), ("denied", "by time")]
        await stack.advance(50)
        assert (await story(stack, page))[-1] == ("expired", "by time")
        await stack.advance(200)
        assert await story(stack, page) == [("made", "")]


async def test_a_restart_goes_on_with_the_hour(tmp_path: Path) -> None:
    """That of a server alone, too; it is the only node, and the one before has ended."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        await logged_in(stack)
    async with Stack(tmp_path, **OPERATOR) as stack:
        seen = await overview(stack)
        assert sum(seen["hour"]["series"]["authorized"]) == 1 and len(seen["nodes"]) == 1
        assert [report["ended"] for report in seen["reports"]] == [False, True]


async def test_the_story_lays_no_move_of_another_node_on_time(tmp_path: Path) -> None:
    """A move in the store that this node did not make came from another one, except time-outs."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        page = await stack.begin()
        recorded = stack.container.scenes
        assert isinstance(recorded, RecordedScenes)
        gives_up = Move(State.CANCELLED, frozenset({State.WAITING}))
        await recorded._scenes.advance(SceneStr(page.scene_str), gives_up)
        assert (await story(stack, page))[-1] == ("cancelled", "by another node")


async def test_a_scene_is_found_by_its_short_id(tmp_path: Path) -> None:
    """The eight digits that a page shows to its visitor, with or without the hyphen, in any case;
    the answer says which scene that is."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        page = await stack.begin()
        digits = page.scene_str[:8]
        short = f"{digits[:4]}-{digits[4:]}".upper()
        for name in (digits, short, short.lower(), page.scene_str[:12], page.scene_str.upper()):
            document = (await ask(stack, f"scenes/{name}")).json()
            assert (document["scene_str"], document["short"]) == (page.scene_str, short)
            assert [event["event"] for event in document["timeline"]] == ["made"]


async def test_the_overview_says_what_is_wrong(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """Refused callbacks, WeChat's errcodes with their meaning, and the logins that failed with all
    that happened to them, of the last hour."""
    logs.expect("WeChat refuses|wechat_quota|callback refused|forbidden")
    async with Stack(tmp_path, wechat={"codes_ahead": 0}, **OPERATOR) as stack:
        page = await logged_in(stack)
        users = stack.container.backend.users
        scene = await stack.scene(page)
        assert scene is not None and scene.user_id is not None
        await users.ban(scene.user_id, True, stack.now)
        banned = await stack.begin()
        await stack.scan(banned)
        query = {"timestamp": str(int(stack.now)), "nonce": "1", "encrypt_type": "aes"}
        for signature in ("0" * 40, "1" * 40):
            answer = await stack.http.post(
                "/wechat/callback",
                params={**query, "msg_signature": signature, "signature": signature},
                content="<xml><Encrypt>eA==</Encrypt></xml>",
            )
            assert answer.status_code == 403
        await stack.simulator("faults", path="/cgi-bin/qrcode/create", errcode=45009)
        assert (await stack.http.post("/api/scenes")).status_code == 503
        seen = await overview(stack)
    refused = seen["callbacks"][0]
    assert (refused["outcome"], refused["count"], refused["refused"]) == ("signature", 2, True)
    (error,) = seen["errors"]
    assert (error["errcode"], error["count"], error["alarming"]) == (45009, 1, True)
    (failure,) = seen["failures"]
    assert (failure["scene_str"], failure["error"]) == (banned.scene_str, "banned")
    assert [event["event"] for event in failure["timeline"]] == ["made", "scanned", "failed"]
    sums = {name: sum(values) for name, values in seen["hour"]["series"].items()}
    assert (sums["authorized"], sums["failed"], sums["refused"], sums["errors"]) == (1, 1, 2, 1)
    (report,) = seen["reports"]
    assert report["node_id"] == seen["node_id"] and not report["gone"]
    assert report["hour"]["authorized"] == 1 and report["hour"]["callbacks"] == 4


async def test_the_overview_knows_how_the_stores_are(tmp_path: Path, logs: UnexpectedLogs) -> None:
    """By the newest checks: what each store is, whether it answers, and how fast."""
    logs.expect("store_unavailable")
    async with Stack(tmp_path, faulty=True, **OPERATOR) as stack:
        assert (await stack.http.get("/readyz")).status_code == 200
        stores = (await overview(stack))["reports"][0]["stores"]
        assert [(entry["store"], entry["engine"], entry["up"]) for entry in stores] == [
            ("scenes", "SQLite", True),
            ("users", "SQLite", True),
        ]
        assert all(0 < entry["median_ms"] <= entry["most_ms"] < 60_000 for entry in stores)
        stack.scenes.refuse("ping")
        assert (await stack.http.get("/readyz")).status_code == 503
        scenes, users = (await overview(stack))["reports"][0]["stores"]
        assert (scenes["up"], users["up"]) == (False, True)
        assert 0 < scenes["answered_at"] <= stack.now


@pytest.mark.parametrize("scene_str", [UNKNOWN, "nonsense", "..%2f..", "x" * 65])
async def test_an_unknown_scene_has_no_story(tmp_path: Path, scene_str: str) -> None:
    """Nor has what cannot be a scene."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        assert (await ask(stack, f"scenes/{scene_str}")).status_code == 404


async def test_the_operator_sees_no_secret_and_no_person(tmp_path: Path) -> None:
    """Neither in the overview nor in a story."""
    async with Stack(tmp_path, **OPERATOR) as stack:
        page = await logged_in(stack)
        scene = await stack.scene(page)
        assert scene is not None
        text = (await ask(stack, "overview")).text
        text += (await ask(stack, f"scenes/{page.scene_str}")).text
        for secret in (scene.openid, scene.user_id, page.document["watch_token"], TOKEN):
            assert secret and str(secret) not in text


async def test_the_story_of_a_kiosks_login(tmp_path: Path) -> None:
    """Names the kiosk, and ends in the exchange."""
    secret = "a-secret-for-the-lobby"
    kiosks = {"lobby3": {"secret": secret}}
    async with Stack(tmp_path, kiosks=kiosks, **OPERATOR) as stack:
        bearer = {"Authorization": f"Bearer {secret}"}
        begun = await stack.http.post("/api/scenes", json={"kiosk": "lobby3"}, headers=bearer)
        page = Page(stack, begun.json(), "")
        await stack.scan(page)
        code = (await page.reaches("authorized"))["exchange_code"]
        operator = {"Authorization": f"Bearer {TOKEN}"}
        form = {"exchange_code": code}
        assert (await stack.http.post("/api/exchange", json=form, headers=operator)).is_success
        told = await story(stack, page)
        assert told[0] == ("made", "lobby3") and told[-1] == ("consumed", "exchanged")


async def test_the_overview_is_there_while_the_store_is_not(tmp_path: Path) -> None:
    """That is when the operator looks; what only the store knows is left open."""
    async with Stack(tmp_path, faulty=True, **OPERATOR) as stack:
        await logged_in(stack)
        store = stack.scenes
        store.refuse("recall", "get")
        seen = await overview(stack)
        assert seen["funnel"]["consumed"] == 1 and seen["wechat"][0]["codes_left"] is None
        store.heal()
