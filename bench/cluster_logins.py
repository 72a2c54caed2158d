"""Logins on a cluster whose processes are killed: is one lost whose callback was answered 200?

    python -m bench.cluster_logins                       # 10,000 logins, about five minutes
    python -m bench.cluster_logins --logins 1000 --kill-every 5
    python -m bench.cluster_logins --logins 1000 --upgrade-from v1.0.0
    python -m bench.cluster_logins --events

Two nodes behind nginx with Redis (appendfsync always), a MongoDB-protocol server and a simulated
WeChat, each a process of its own (deploy/cluster.py). During the run one node after the other is
killed with kill -9 and started again, and Redis once. Every page has a person of its own, connects
again by itself and acknowledges the login it gets.

With ``--upgrade-from`` nothing is killed: the nodes begin as that version, and are replaced by this
tree one after the other, each by SIGTERM, while people log in (a rolling upgrade).

With ``--events`` each person logs in several times, and a receiver of events (events.url) listens,
but for the middle half of the run. Each login has to be told there, and what is told of a person
has to be in order; what comes twice counts once.

Printed are counts, and the exit code is 1 unless each scene whose callback was answered 200 ended
``consumed`` with one and the same login, or could still be collected at the end.
"""

import argparse
import asyncio
import base64
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from bench.kit.arguments import count, one_or_more
from bench.kit.ending import exit_code, heed_sigterm
from deploy.cluster import ROOT, LocalCluster
from deploy.programs import CannotStart, free_port
from services.events.delivery import signature

FINAL = ("consumed", "expired", "denied", "cancelled", "failed")
PAGE_SECONDS = 120
"""How long a page tries; longer than every fault of the run."""

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
SECTIONS = {
    "limits": {"scenes_per_minute_per_address": 0},
    "login": {"poll_interval_seconds": 0, "collect_ttl_seconds": 120},
}


EVENTS_SECRET = "whsec_c2NhbnB1c2gtdGVsbHMtd2hhdC1oYXBwZW5zLTMyYnk="
EVENTS_SECONDS = 180
"""How long the last events may take after the last login."""

LOGINS_OF_EACH = 4
"""Logins of each person, where events are told."""


@dataclass
class Tally:
    """What happened, and what went wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def text(self) -> str:
        lines = [f"{name:28}{count:>8,}" for name, count in sorted(self.counts.items())]
        return "\n".join([*lines, *(f"WRONG: {problem}" for problem in self.wrong[:20])])


class Page:
    """One browser with one scene, and the person who scans it."""

    def __init__(self, person: int, url: str, simulator: str, http: httpx.AsyncClient) -> None:
        self._person = person
        self._url = url
        self._simulator = simulator
        self._http = http
        self._document: dict[str, Any] = {}
        self.answered = False
        self.state = ""
        self.logins: list[dict[str, Any]] = []
        self.connections = 0

    async def live(self) -> None:
        """Begin, be scanned, get the login, acknowledge it."""
        await self._begin()
        watching = asyncio.ensure_future(self._watch())
        try:
            await self._be_scanned()
            await watching
        finally:
            watching.cancel()

    async def _begin(self) -> None:
        while True:
            answer = await self._ask("POST", f"{self._url}/api/scenes")
            if answer is not None and answer.status_code == 201:
                self._document = answer.json()
                return
            await asyncio.sleep(random.uniform(0.1, 0.5))

    async def _be_scanned(self) -> None:
        """Scan until a callback is answered 200; WeChat itself tries each scan three times."""
        body = {
            "url": self._document["qr"]["content"],
            "person": f"person{self._person}",
        }
        while self.state not in FINAL:
            answer = await self._ask("POST", f"{self._simulator}/simulator/scan", json=body)
            if answer is not None and answer.json().get("outcome") == "answered":
                self.answered = True
                return
            await asyncio.sleep(random.uniform(0.5, 2))

    async def _watch(self) -> None:
        while self.state not in FINAL:
            try:
                await self._by_socket()
            except (OSError, WebSocketException, TimeoutError):
                await self.poll()
            await asyncio.sleep(random.uniform(0, 0.3))

    async def _by_socket(self) -> None:
        subprotocols = ["scanpush.v1", f"watch.{self._document['watch_token']}"]
        address = self._url.replace("http", "ws", 1) + self._document["ws"]
        async with connect(address, subprotocols=subprotocols, compression=None) as socket:
            self.connections += 1
            async for message in socket:
                document = json.loads(message)
                self._saw(document)
                if "login" in document:
                    await socket.send(json.dumps({"type": "ack", "seq": document["seq"]}))

    async def poll(self) -> None:
        """The state as the store has it; ``gone`` when it forgot the scene."""
        bearer = {"Authorization": f"Bearer {self._document['watch_token']}"}
        address = self._url + self._document["status"]
        answer = await self._ask("GET", address, headers=bearer)
        if answer is None:
            return
        if answer.status_code == 200:
            self._saw(answer.json())
        elif answer.status_code == 401:
            self.state = "gone"

    def _saw(self, document: dict[str, Any]) -> None:
        self.state = document["state"]
        if "login" in document:
            self.logins.append(document["login"])

    async def _ask(self, method: str, address: str, **options: Any) -> httpx.Response | None:
        try:
            return await self._http.request(method, address, **options)
        except httpx.HTTPError:
            return None

    @property
    def scene_str(self) -> str:
        return str(self._document.get("scene_str", ""))

    def tell(self, tally: Tally, *, alone: bool) -> None:
        """Count the page's outcome, and note what is wrong with it.

        Args:
            alone: whether its person logs in nowhere else.
        """
        tally.counts["logins begun"] += 1
        tally.counts["sockets opened"] += self.connections
        tally.counts["callbacks answered 200"] += self.answered
        tally.counts[f"ended {self.state or 'unknown'}"] += 1
        if not self.answered:
            return
        name = self._document["scene_str"]
        if self.state not in ("consumed", "authorized"):
            tally.wrong.append(f"{name} was answered 200 and is {self.state}")
        claims = [
            jwt.decode(one["token"], options={"verify_signature": False}) for one in self.logins
        ]
        if len({(claim["jti"], claim["sub"]) for claim in claims}) > 1:
            tally.wrong.append(f"{name} was given different logins")
        if self.state == "consumed" and not claims:
            tally.wrong.append(f"{name} was consumed without a login")
        if alone and not all(one["user"]["is_new"] for one in self.logins):
            tally.wrong.append(f"{name}: its person was registered twice")


class EventReceiver:
    """The operator's server, which is told of events; it listens on request."""

    def __init__(self) -> None:
        self.port = free_port()
        self.heard: dict[str, list[tuple[str, str, str]]] = {}
        """By user, in the order of arrival: timestamp, scene and id of each login."""
        self.events = 0
        self.forged = 0
        self._server: HTTPServer | None = None

    @property
    def section(self) -> dict[str, str]:
        return {"url": f"http://127.0.0.1:{self.port}/events", "secret": EVENTS_SECRET}

    def listen(self) -> None:
        receiver = self

        class Handler(RequestHandler):
            def post(self) -> None:
                receiver.receive(self.request.headers, self.request.body)

        application = Application([("/events", Handler)], log_function=lambda handler: None)
        self._server = HTTPServer(application)
        self._server.listen(self.port, "127.0.0.1")

    async def close(self) -> None:
        if self._server is not None:
            self._server.stop()
            await self._server.close_all_connections()
            self._server = None

    def receive(self, headers: Mapping[str, str], body: bytes) -> None:
        event_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
        key = base64.b64decode(EVENTS_SECRET.removeprefix("whsec_"))
        self.forged += headers["webhook-signature"] != signature(key, event_id, timestamp, body)
        told = json.loads(body)
        self.events += 1
        if told["type"] == "login":
            data = told["data"]
            of_user = self.heard.setdefault(data["user"], [])
            of_user.append((told["timestamp"], data["scene"], event_id))

    async def rest_after(self, seconds: float) -> None:
        """Listen, but for the middle half of that time."""
        self.listen()
        await asyncio.sleep(seconds / 4)
        await self.close()
        await asyncio.sleep(seconds / 2)
        self.listen()

    def missing(self, pages: Sequence[Page]) -> list[str]:
        told = {scene for of_user in self.heard.values() for _, scene, _ in of_user}
        return [page.scene_str for page in pages if page.logins and page.scene_str not in told]

    async def tell(self, pages: Sequence[Page], tally: Tally) -> None:
        """Wait for what is still to come; count it, and note what is wrong with it."""
        deadline = time.monotonic() + EVENTS_SECONDS
        while self.missing(pages) and time.monotonic() < deadline:
            await asyncio.sleep(1)
        tally.wrong += [f"{scene_str} was not told" for scene_str in self.missing(pages)]
        if self.forged:
            tally.wrong.append(f"{self.forged} events had a wrong signature")
        arrivals = 0
        for user, of_user in self.heard.items():
            first: dict[str, str] = {}
            for at, _, event_id in of_user:
                first.setdefault(event_id, at)
            arrivals += len(first)
            if list(first.values()) != sorted(first.values()):
                tally.wrong.append(f"the logins of {user} were told out of order")
        tally.counts["events received"] = self.events
        tally.counts["logins told"] = arrivals


async def break_things(
    cluster: LocalCluster, kill_every: float, redis_after: float, tally: Tally
) -> None:
    """Kill nodes in turn for ever, and Redis once.

    Each node serves again before the next one is killed: otherwise a machine whose nodes start
    slowly would have no node at all, and the run would only measure how long a start takes.
    """
    begun, redis_due = time.monotonic(), True
    victim = 0
    while True:
        await asyncio.sleep(kill_every)
        number = victim % len(cluster.nodes)
        victim += 1
        await cluster.nodes[number].kill()
        tally.counts["nodes killed"] += 1
        await cluster.restart_node(number)
        if redis_due and time.monotonic() - begun >= redis_after and cluster.redis is not None:
            redis_due = False
            await asyncio.sleep(kill_every / 2)
            await cluster.redis.kill()
            tally.counts["redis restarted"] += 1
            await cluster.redis.start()


async def upgrade(cluster: LocalCluster, every: float, tally: Tally) -> None:
    """Replace each node once by this tree's server; the next one when the one before it serves."""
    for number in range(len(cluster.nodes)):
        await asyncio.sleep(every)
        left = await cluster.upgrade_node(number)
        tally.counts["nodes upgraded"] += 1
        if left != 0:
            tally.wrong.append(f"node{number} left with {left} instead of 0")


def tree_of(version: str, folder: Path) -> Path:
    """The files of a commit or tag; `CannotStart` where git does not have it."""
    tree = folder / "before"
    tree.mkdir()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", version], capture_output=True)
    if archive.returncode != 0:
        raise CannotStart(f"--upgrade-from {version}: git has no such version here")
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    return tree


async def run(options: argparse.Namespace) -> Tally:
    """Raises `CannotStart`."""
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="scanpush-logins-") as name:
        folder = Path(name)
        tree = tree_of(options.upgrade_from, folder) if options.upgrade_from else ROOT
        receiver = EventReceiver() if options.events else None
        sections = SECTIONS if receiver is None else {**SECTIONS, "events": receiver.section}
        cluster = LocalCluster(folder, redis_options=DURABLE, sections=sections, tree=tree)
        try:
            await cluster.start()
            await _log_in_all(cluster, options, tally, receiver)
        finally:
            await cluster.stop()
            if receiver is not None:
                await receiver.close()
    return tally


async def _log_in_all(
    cluster: LocalCluster,
    options: argparse.Namespace,
    tally: Tally,
    receiver: EventReceiver | None,
) -> None:
    simulator = cluster.phone_url.removesuffix("/phone")
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=100)
    async with httpx.AsyncClient(timeout=30, verify=False, limits=limits) as http:
        people = options.logins if receiver is None else max(1, options.logins // LOGINS_OF_EACH)
        pages = [Page(n % people, cluster.url, simulator, http) for n in range(options.logins)]
        expected = options.logins / options.per_second
        receiving = (
            None if receiver is None else asyncio.ensure_future(receiver.rest_after(expected))
        )
        if options.upgrade_from:
            change = upgrade(cluster, expected / 4, tally)
        else:
            change = break_things(cluster, options.kill_every, expected / 3, tally)
        changing = asyncio.ensure_future(change)
        lives = []
        room = asyncio.Semaphore(options.at_once)
        for number, page in enumerate(pages):
            await room.acquire()
            lives.append(asyncio.ensure_future(_live(page)))
            lives[-1].add_done_callback(lambda _: room.release())
            await asyncio.sleep(1 / options.per_second)
            if changing.done():
                await changing
            if number % 1000 == 999:
                print(f"{number + 1:,} begun, {tally.counts['nodes killed']} kills", flush=True)
        await asyncio.gather(*lives)
        if options.upgrade_from:
            # On a slow machine the last node may still be starting.
            await changing
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
        for page in pages:
            page.tell(tally, alone=receiver is None)
        if receiver is not None and receiving is not None:
            await receiving
            await receiver.tell(pages, tally)


async def _live(page: Page) -> None:
    try:
        async with asyncio.timeout(PAGE_SECONDS):
            await page.live()
    except TimeoutError:
        await page.poll()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.cluster_logins",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--logins", type=count, default=10_000)
    parser.add_argument("--per-second", type=one_or_more, default=40, help="(%(default)s)")
    parser.add_argument(
        "--at-once", type=count, default=400, help="pages at a time, at most (%(default)s)"
    )
    parser.add_argument("--kill-every", type=one_or_more, default=20, help="seconds (%(default)s)")
    parser.add_argument(
        "--upgrade-from", metavar="VERSION", default="", help="a tag or commit; nothing is killed"
    )
    parser.add_argument(
        "--events",
        action="store_true",
        help="and a receiver of events, which is down half the time",
    )
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    heed_sigterm()
    try:
        tally = asyncio.run(run(options))
    except CannotStart as error:
        print(f"cluster_logins: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as early:
        print("cluster_logins: ended early, nothing can be said", file=sys.stderr)
        return exit_code(early)
    print(tally.text())
    verdict = "nothing lost, nothing twice" if not tally.wrong else f"{len(tally.wrong)} WRONG"
    print(f"{verdict} ({time.monotonic() - begun:.0f} s)")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
