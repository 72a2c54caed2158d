"""Several processes on one port: what they say together, and what one's end means."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import httpx
import pytest

from tests.faults.nodes import Cluster, cluster, eventually
from tests.faults.test_nodes_ends import rest_of, socket_at
from tests.processes import ROOT, run, write_config

pytestmark = [
    pytest.mark.redis,
    pytest.mark.mongodb,
    pytest.mark.gen_test(timeout=90),
]

PROCESSES = {"server": {"processes": 3}}


def children(one: Cluster) -> set[int]:
    """The process ids that the parent has made (proc(5))."""
    parent = one.nodes[0]._process.pid
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return {int(pid) for pid in text.split()}


async def test_processes_share_one_port_and_speak_for_all(tmp_path: Path) -> None:
    """Logins work whichever process answers; /readyz and /metrics know every process; SIGTERM ends
    all."""
    async with cluster(tmp_path, 1, **PROCESSES) as one:
        for number in range(6):
            await one.log_in(f"person{number}")
        ready = (await one.http.get(f"{one.url}/readyz")).json()
        assert ready == {"status": "ready", "processes": 3}
        metrics = (await one.http.get(f"{one.url}/metrics")).text
        for process in range(3):
            assert f'scanpush_process_up{{process="{process}"}} 1.0' in metrics
        logins = re.findall(r'scanpush_logins_total\{is_new="true",process="\d"\} (\d+)', metrics)
        assert len(logins) == 3 and sum(map(int, logins)) == 6
        assert metrics.count("# TYPE scanpush_logins_total counter") == 1
        assert await one.nodes[0].stop() == 0, one.nodes[0].output


async def test_a_dead_process_is_started_again(tmp_path: Path) -> None:
    """The port answers all the while; its pages find their scenes with the others."""
    async with cluster(tmp_path, 1, **PROCESSES) as one:
        before = children(one)
        document = await one.begin()
        page = one.page(document)
        watching = asyncio.ensure_future(page.watch())
        victim = min(before)
        os.kill(victim, signal.SIGKILL)

        async def replaced() -> bool:
            now = children(one)
            return victim not in now and len(now) == 3

        await eventually(replaced)
        assert (await one.scan(document, "alice"))["outcome"] == "answered"
        async with asyncio.timeout(20):
            assert await watching == "consumed"

        async def all_ready() -> bool:
            answer = await one.http.get(f"{one.url}/readyz")
            return answer.status_code == 200 and answer.json()["processes"] == 3

        await eventually(all_ready)
        assert await one.nodes[0].stop() == 0, one.nodes[0].output


async def test_a_killed_parent_takes_its_processes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process would start them again, and a new parent must find the port free. The last one
    removes the folder of their sockets."""
    # Short, because a socket's path has at most 107 characters.
    folder = Path(tempfile.mkdtemp())
    monkeypatch.setenv("TMPDIR", str(folder))
    async with cluster(tmp_path, 1, **PROCESSES) as one:
        assert list(folder.glob("scanpush-*"))
        before = children(one)
        one.nodes[0].send(signal.SIGKILL)

        async def gone() -> bool:
            return not any(Path(f"/proc/{pid}").exists() for pid in before)

        await eventually(gone)
        assert not list(folder.glob("scanpush-*"))
    shutil.rmtree(folder)


STOPPED_BETWEEN = """
import os, select, signal, sys, time
from services.workers import WorkerSupervisor

class Interrupted(WorkerSupervisor):
    def _start(self, worker):
        if worker.number == 2:
            select.select([self._started], [], [])  # worker 1 can be signalled
            os.kill(os.getpid(), signal.SIGTERM)
        super()._start(worker)

def work(context):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    context.report_started()
    time.sleep(60)

sys.exit(Interrupted(4, work, 40, lambda: None).run())
"""


async def test_a_stop_between_two_processes_stops_all() -> None:
    """SIGTERM while the parent is still making its processes: no process is left running."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STOPPED_BETWEEN, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        _, said = await process.communicate()
    assert (process.returncode, said) == (0, b"")


@pytest.mark.parametrize("backend", ["embedded", "distributed"])
async def test_several_processes_need_shared_stores(tmp_path: Path, backend: str) -> None:
    """Refused at the start, with what to do: SQLite serves one process, and so does the simulator
    that is built in."""
    config = write_config(tmp_path, server={"processes": 2}, **{"backend": backend})
    code, out, err = await run("--config", str(config))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("scanpush: server.processes: must be 1") and "for more" in err


@pytest.mark.slow
async def test_a_process_that_hangs_makes_the_port_unready(tmp_path: Path) -> None:
    """The kernel still gives it connections, so the balancer should not: the other processes say
    so."""
    async with cluster(tmp_path, 1, **PROCESSES) as one:
        sleeper = max(children(one))

        async def said(status: int, process_up: str) -> bool:
            """Ask on new connections until one reaches a process that is awake."""
            try:
                async with httpx.AsyncClient(timeout=5, verify=False) as http:
                    ready = await http.get(f"{one.url}/readyz")
                    metrics = await http.get(f"{one.url}/metrics")
            except httpx.HTTPError:
                return False
            return ready.status_code == status and process_up in metrics.text

        os.kill(sleeper, signal.SIGSTOP)
        try:
            await eventually(lambda: said(503, "scanpush_process_up{process"), 60)
        finally:
            os.kill(sleeper, signal.SIGCONT)
        await eventually(lambda: said(200, 'scanpush_process_up{process="2"} 1.0'), 60)


async def test_all_processes_send_their_pages_away(tmp_path: Path) -> None:
    """SIGTERM to the parent is SIGTERM to all: 1001 for every page, and exit code 0."""
    async with cluster(tmp_path, 1, **PROCESSES) as one:
        async with contextlib.AsyncExitStack() as stack:
            sockets = []
            for _ in range(9):
                sockets.append(
                    await stack.enter_async_context(socket_at(one.url, await one.begin()))
                )
            one.nodes[0].send(signal.SIGTERM)
            codes = [(await rest_of(socket))[1] for socket in sockets]
        assert codes == [1001] * 9
        assert await one.nodes[0].stop() == 0, one.nodes[0].output
