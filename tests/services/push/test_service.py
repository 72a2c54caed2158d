"""Pages and their sockets, through a real server and an ordinary client."""

import asyncio
import json

import pytest
from websockets.exceptions import InvalidMessage, InvalidStatus

from services.push.close_codes import Ending
from services.scenes.states import State
from services.scenes.store import Notice
from tests.services.push.kit import TOKEN, Node, closed, eventually, status


@pytest.fixture(params=[False, True], ids=["awaited", "nowait"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test twice: with a store that has to be waited for, and with one that has not."""
    monkeypatch.setattr(Node, "nowait", request.param)


@pytest.mark.gen_test
async def test_status_at_once():
    """The first status comes by itself, right after the upgrade."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as page:
            assert await status(page) == {
                "type": "status",
                "scene_str": scene_str,
                "state": "waiting",
                "seq": 1,
            }
            assert page.subprotocol == "scanpush.v1"


@pytest.mark.gen_test
async def test_complete_login():
    """Scanned, authorized, ack, consumed: four statuses, then 1000."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as page:
            await status(page)
            node.scenes.move(scene_str, State.SCANNED)
            assert (await status(page))["state"] == "scanned"
            node.scenes.move(scene_str, State.AUTHORIZED)
            assert (await status(page))["seq"] == 3
            await page.send(json.dumps({"type": "ack", "seq": 3}))
            assert (await status(page))["state"] == "consumed"
            assert await closed(page) == 1000
        await eventually(lambda: node.sockets == 0)
        assert node.counters.endings == [Ending.FINISHED]


@pytest.mark.usefixtures("store")
@pytest.mark.gen_test
async def test_cancel():
    """The page gives up: the cancelled status, then 1000."""
    async with Node() as node:
        async with node.connect(node.scenes.begin()) as page:
            await status(page)
            await page.send('{"type": "cancel"}')
            assert (await status(page))["state"] == "cancelled"
            assert await closed(page) == 1000


@pytest.mark.gen_test
async def test_a_number_is_carried_out_in_its_order():
    """What was typed comes to the scene's judge, behind what was sent before it."""
    async with Node() as node:
        async with node.connect(node.scenes.begin()) as page:
            await status(page)
            for number in ("07", "42"):
                await page.send(json.dumps({"type": "number", "seq": 3, "number": number}))
            await eventually(lambda: node.scenes.numbers_typed == [(3, "07"), (3, "42")])


@pytest.mark.gen_test
async def test_final_at_once():
    """A scene that ended before the socket came is told and closed in one go."""
    async with Node() as node:
        async with node.connect(node.scenes.begin(State.DENIED)) as page:
            assert (await status(page))["state"] == "denied"
            assert await closed(page) == 1000


@pytest.mark.gen_test
async def test_other_seq_is_ignored():
    """An ack of another status changes nothing and closes nothing."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as page:
            await status(page)
            await page.send('{"type": "ack", "seq": 7}')
            await page.send('{"type": "ack", "seq": 123456789012345678901234567890}')
            await eventually(lambda: node.scenes.acked == [7])
            node.scenes.move(scene_str, State.SCANNED)
            assert (await status(page))["state"] == "scanned"


@pytest.mark.gen_test
async def test_newer_socket_replaces():
    """The older socket gets 4409; the newer one gets the news."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as older, node.connect(scene_str) as newer:
            assert await closed(older) == 4409
            node.scenes.move(scene_str, State.SCANNED)
            await status(newer)
            assert (await status(newer))["state"] == "scanned"
        await eventually(lambda: not node.scenes.attached)


@pytest.mark.gen_test
async def test_replaced_on_another_node():
    """A notice of a newer socket closes the older one with 4409."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as page:
            await status(page)
            node.broker.publish(Notice(scene_str, 1, newest=77))
            assert await closed(page) == 4409


@pytest.mark.gen_test
@pytest.mark.parametrize("newest", [1, 2])
async def test_a_notice_closes_only_what_is_older(newest):
    """One of an older socket that comes late, or of this very socket, is no replacement."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        node.scenes.numbers[scene_str] = 1
        async with node.connect(scene_str) as page:
            await status(page)
            node.broker.publish(Notice(scene_str, 1, newest))
            node.scenes.move(scene_str, State.SCANNED)
            assert (await status(page))["state"] == "scanned"


@pytest.mark.gen_test
async def test_older_upgrade_that_took_longer():
    """Of two concurrent upgrades the one that the store attached later keeps the scene."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        open_gate = node.scenes.gate
        held = node.scenes.gate = asyncio.Event()
        opening = asyncio.ensure_future(node.connect(scene_str).__aenter__())
        await eventually(lambda: "attach" in node.scenes.calls)
        node.scenes.gate = open_gate
        async with node.connect(scene_str) as newer:
            held.set()
            assert await closed(await opening) == 4409
            node.scenes.move(scene_str, State.SCANNED)
            await status(newer)
            assert (await status(newer))["state"] == "scanned"


@pytest.mark.gen_test
async def test_replaced_elsewhere_during_the_upgrade():
    """A newer socket on another node ends an unfinished upgrade with 4409."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        node.scenes.gate.clear()
        opening = asyncio.ensure_future(node.connect(scene_str).__aenter__())
        await eventually(lambda: "attach" in node.scenes.calls)
        node.broker.publish(Notice(scene_str, 1, newest=77))
        node.scenes.gate.set()
        assert await closed(await opening) == 4409


@pytest.mark.gen_test
async def test_scan_during_the_upgrade():
    """A state that came between attaching and parking is not lost."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        node.scenes.gate.clear()
        opening = asyncio.ensure_future(node.connect(scene_str).__aenter__())
        await eventually(lambda: "attach" in node.scenes.calls)
        node.scenes.move(scene_str, State.SCANNED)
        node.scenes.gate.set()
        page = await opening
        while (await status(page))["state"] != "scanned":
            pass
        await page.close()


@pytest.mark.gen_test
async def test_expires_by_itself():
    """Without any notice, a scene whose time is up is read again: expired, 4408."""
    async with Node() as node:
        async with node.connect(node.scenes.begin(life=100)) as page:
            await status(page)
            node.clock.ahead = 102
            assert (await status(page))["state"] == "expired"
            assert await closed(page) == 4408


@pytest.mark.usefixtures("store")
@pytest.mark.gen_test
async def test_forgotten_scene():
    """A scene that the store no longer knows ends in 4408: the page begins another scene."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as page:
            await status(page)
            del node.scenes.scenes[scene_str]
            node.broker.publish(Notice(scene_str, 2))
            assert await closed(page) == 4408


@pytest.mark.gen_test
async def test_page_that_leaves_is_detached():
    """A page that closes is taken out of the hub and detached in the store."""
    async with Node() as node:
        async with node.connect(node.scenes.begin()) as page:
            await status(page)
        await eventually(lambda: not node.scenes.attached and node.sockets == 0)
        assert node.counters.endings == [Ending.CLOSED_BY_PEER]
        assert node.push.hub.sockets == 0


@pytest.mark.usefixtures("store")
@pytest.mark.gen_test
async def test_store_away_during_delivery():
    """While the store is away the delivery is tried again, and never lost."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as page:
            await status(page)
            node.scenes.down = True
            node.scenes.move(scene_str, State.SCANNED)
            await eventually(lambda: node.scenes.calls.count("get") >= 2)
            node.scenes.down = False
            assert (await status(page))["state"] == "scanned"


@pytest.mark.gen_test
async def test_newest_state_is_written_last():
    """States that change while one is being read end in the newest, each at most once."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as page:
            await status(page)
            node.scenes.gate.clear()
            for state in (State.SCANNED, State.CONFIRMING, State.AUTHORIZED):
                node.scenes.move(scene_str, state)
                await asyncio.sleep(0)
            node.scenes.gate.set()
            assert (await status(page))["seq"] == 4
            await page.send('{"type": "cancel"}')
            assert (await status(page))["seq"] == 5
            assert node.scenes.calls.count("get") <= 4


@pytest.mark.gen_test
async def test_gap_reads_everything_again():
    """After a gap every watched scene is read, and what was missed is delivered."""
    async with Node() as node:
        scenes = [node.scenes.begin() for _ in range(5)]
        pages = [await node.connect(scene_str) for scene_str in scenes]
        for scene_str, page in zip(scenes, pages):
            await status(page)
            node.scenes.move(scene_str, State.SCANNED, notice=False)
        node.push.delivery.on_gap()
        for page in pages:
            assert (await status(page))["state"] == "scanned"
            await page.close()


@pytest.mark.gen_test
async def test_gap_attaches_again():
    """The store may have lost who watches: each socket is attached again, also when the store is
    down at first; what comes later is read and nothing more."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as page:
            await status(page)
            (attached,) = node.scenes.attached
            node.scenes.attached.clear()
            node.scenes.down = True
            node.push.delivery.on_gap()
            await eventually(lambda: "reattach" in node.scenes.calls)
            node.scenes.down = False
            await eventually(lambda: node.scenes.attached == {attached})
            again = node.scenes.calls.count("reattach")
            node.scenes.move(scene_str, State.SCANNED)
            assert (await status(page))["state"] == "scanned"
            assert node.scenes.calls.count("reattach") == again


@pytest.mark.gen_test
async def test_gap_answers_long_polls():
    """The next poll attaches again."""
    async with Node() as node:
        with node.push.hub.waiter(node.scenes.begin()) as waiter:
            waiting = asyncio.ensure_future(waiter.newer(1, 60))
            await asyncio.sleep(0)
            node.push.delivery.on_gap()
            assert await waiting is None


@pytest.mark.gen_test
async def test_gaps_in_a_row():
    """A broker that comes and goes starts nothing twice, and everything is read after the last."""
    async with Node() as node:
        scenes = [node.scenes.begin() for _ in range(40)]
        pages = [await node.connect(scene_str) for scene_str in scenes]
        for scene_str, page in zip(scenes, pages):
            await status(page)
            node.scenes.move(scene_str, State.SCANNED, notice=False)
        for _ in range(10):
            node.push.delivery.on_gap()
            await asyncio.sleep(0)
        for page in pages:
            assert (await status(page))["state"] == "scanned"
            await page.close()
        assert node.scenes.calls.count("reattach") < 10 * len(scenes)


@pytest.mark.gen_test
async def test_many_end_at_once():
    """Scenes that end in the same second are all told, without a notice."""
    async with Node() as node:
        pages = [await node.connect(node.scenes.begin(life=100)) for _ in range(100)]
        node.clock.ahead = 102
        assert {await closed(page) for page in pages} == {4408}
        assert node.scenes.calls.count("get") == 100


@pytest.mark.gen_test
async def test_status_that_cannot_be_rendered(logs):
    """A bug of the server while delivering ends in 1011, so that the page comes back."""
    logs.expect("push delivery failed")
    async with Node() as node:
        scene_str = node.scenes.begin()
        async with node.connect(scene_str) as page:
            await status(page)
            node.scenes.broken = True
            node.scenes.move(scene_str, State.SCANNED)
            assert await closed(page) == 1011


@pytest.mark.gen_test
async def test_first_status_that_cannot_be_rendered(logs):
    """A bug of the server during the upgrade leaves nothing parked."""
    logs.expect("push upgrade failed")
    async with Node() as node:
        node.scenes.broken = True
        with pytest.raises((InvalidMessage, ConnectionError)):
            await node.connect(node.scenes.begin())
        assert node.sockets == 0 and not node.push.hub.keys()


@pytest.mark.gen_test
async def test_ack_that_is_never_stored(logs):
    """A page whose ack cannot be stored is sent away with 1011, and asks again elsewhere."""
    logs.expect("a message of a page could not be stored")
    async with Node() as node:
        async with node.connect(node.scenes.begin(State.AUTHORIZED)) as page:
            await status(page)
            node.scenes.down = True
            await page.send('{"type": "ack", "seq": 1}')
            assert await closed(page) == 1011


@pytest.mark.gen_test
async def test_ack_waits_for_the_store():
    """An ack that the store refuses at first is tried again until it is stored."""
    async with Node() as node:
        scene_str = node.scenes.begin(State.AUTHORIZED)
        async with node.connect(scene_str) as page:
            await status(page)
            node.scenes.down = True
            await page.send('{"type": "ack", "seq": 1}')
            await eventually(lambda: node.scenes.calls.count("ack") >= 1)
            node.scenes.down = False
            assert (await status(page))["state"] == "consumed"


@pytest.mark.gen_test
async def test_drain():
    """Draining closes every socket with 1001, ends waits, and refuses upgrades with 503."""
    async with Node() as node:
        pages = [await node.connect(node.scenes.begin()) for _ in range(120)]
        draining = asyncio.ensure_future(node.push.drain(10))
        assert {await closed(page) for page in pages} == {1001}
        await draining
        assert node.sockets == 0
        with pytest.raises(InvalidStatus) as refused:
            await node.connect(node.scenes.begin())
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"]


@pytest.mark.gen_test
async def test_drain_during_an_upgrade():
    """A socket that is parked while the node is leaving is told so, too."""
    async with Node() as node:
        node.scenes.gate.clear()
        opening = asyncio.ensure_future(node.connect(node.scenes.begin()).__aenter__())
        await eventually(lambda: "attach" in node.scenes.calls)
        draining = asyncio.ensure_future(node.push.drain(10))
        await asyncio.sleep(0.03)
        node.scenes.gate.set()
        assert await closed(await opening) == 1001
        await draining


@pytest.mark.gen_test
async def test_drain_does_not_wait_for_ever():
    """A page that never answers 1001 does not hold the drain up."""
    async with Node() as node:
        page = await node.connect(node.scenes.begin(), close_timeout=0.1)
        page.transport.pause_reading()
        await node.push.drain(0.2)
        assert node.sockets == 1
        page.transport.abort()


@pytest.mark.gen_test
async def test_waiter_gets_the_news():
    """A waiting poll is woken by the same delivery as a socket."""
    async with Node() as node:
        scene_str = node.scenes.begin()
        with node.push.hub.waiter(scene_str) as waiter:
            node.scenes.move(scene_str, State.SCANNED)
            scene = await waiter.newer(1, 10)
        assert scene is not None and scene.state is State.SCANNED
        assert not node.push.hub.watched(waiter.key) and node.push.hub.waiting == 0


@pytest.mark.gen_test
async def test_everything_else_goes_to_the_application():
    """Other paths are the application's."""
    async with Node() as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"hello")
        writer.close()


@pytest.mark.gen_test
async def test_wrong_token():
    """A wrong token is refused before the upgrade, and nothing is attached."""
    async with Node() as node:
        with pytest.raises(InvalidStatus) as refused:
            await node.connect(node.scenes.begin(), token="x" * 43)
        assert refused.value.response.status_code == 403
        assert not node.scenes.attached and TOKEN != "x" * 43
