"""`scripts/attack`: all rows are held by this server, and each goes red where it is broken."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from attack.cli import main
from attack.rows import ROWS, Finding, State, look
from attack.target import MOST_REQUESTS, Target
from tests.attack.breaking import BREAKABLE, BreakingProxy
from tests.conftest import UnexpectedLogs
from tests.docs.pages import ROOT, table
from tests.flows.oidc import provider
from tests.handlers.running import Running
from tests.stack import ON_LOOP, WITHIN_SECONDS, Stack

TOKEN = "an-operator-token-of-tests"
TRIED = [row.id for row in ROWS if row.tries]


@pytest.fixture(autouse=True)
def provider_tells_its_operator(logs: UnexpectedLogs) -> None:
    """The rows of the OpenID Provider name clients that are none."""
    logs.expect("scanpush.oidc WARNING no (such )?client")


def stack(folder: Path) -> Stack:
    """A server with all that the table asks about; a page may poll as seldom as by default."""
    return Stack(
        folder,
        login={"poll_interval_seconds": 3},
        operator={"token": TOKEN},
        sessions={"refresh_ttl_seconds": 86_400},
        **provider(),
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One such server for all tests that leave it as it is."""
    running = Running(lambda: stack(tmp_path_factory.mktemp("attacked")))
    yield running
    running.close()


def url_of(server: Running) -> str:
    return f"http://127.0.0.1:{server.stack.port}"


def scenes_in(page: bytes) -> list[bytes]:
    """What the metrics say of scenes begun."""
    return [line for line in page.splitlines() if line.startswith(b"scanpush_scenes_begun")]


async def tried(url: str, *rows: str) -> dict[str, Finding]:
    """The findings of these rows, or of all."""
    async with Target(url) as target:
        return {row.id: await look(row, target) for row in ROWS if not rows or row.id in rows}


def in_state(findings: dict[str, Finding], state: State) -> set[str]:
    return {row for row, finding in findings.items() if finding.state is state}


@ON_LOOP
async def test_this_server_holds_every_row(shared: Running) -> None:
    """Nothing is broken, what can be tried is held, the budget is kept by far; and nothing is left
    behind, as every scene that it began has ended."""
    async with Target(url_of(shared)) as target:
        findings = {row.id: await look(row, target) for row in ROWS}
        scenes = list(target._scenes)
    assert not [finding for finding in findings.values() if finding.state is State.BROKEN]
    assert in_state(findings, State.HELD) == set(TRIED) and len(TRIED) >= 20
    assert target.requests < MOST_REQUESTS * 0.8
    assert 5 <= len(scenes) <= 12
    async with httpx.AsyncClient(base_url=url_of(shared), verify=False) as http:
        for scene in scenes:
            status = await http.get(scene.path, headers=scene.bearer)
            assert status.json()["state"] == "cancelled"


@pytest.mark.parametrize("row", BREAKABLE)
@ON_LOOP
async def test_a_broken_server_is_red_in_its_row(shared: Running, row: str) -> None:
    """By itself, with the exact request."""
    async with BreakingProxy(shared.stack.port, row) as broken:
        finding = (await tried(broken.url, row))[row]
    assert finding.state is State.BROKEN, finding
    assert finding.note and broken.url in finding.request


@pytest.mark.parametrize("half", [BREAKABLE[::2], BREAKABLE[1::2]], ids=["even", "odd"])
@ON_LOOP
async def test_and_in_no_other(shared: Running, half: tuple[str, ...]) -> None:
    """With half of the rows broken at once, the other half is held."""
    async with BreakingProxy(shared.stack.port, *half) as broken:
        findings = await tried(broken.url)
    assert in_state(findings, State.BROKEN) == set(half)


def test_most_rows_that_are_tried_are_broken_once() -> None:
    """Here, on purpose."""
    assert len(BREAKABLE) > 0.8 * len(TRIED)


def test_it_knows_nothing_of_the_inside() -> None:
    """What it tells of a server, it has seen from outside."""
    for path in (ROOT / "attack").glob("*.py"):
        assert not re.search(
            r"^\s*(from|import) (services|handlers|server)\b", path.read_text(), re.M
        )


def test_the_table_is_that_of_the_documents() -> None:
    """Every row of docs/security.md has one here, in the same order."""
    documented = [row[0] for row in table(ROOT / "docs" / "security.md", "C1")]
    assert [row.id for row in ROWS if row.id in documented] == documented


def attack(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return str(file)


def test_the_command_prints_json(
    shared: Running, token_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One document with every row and its state; exit code 0 where all are held."""
    code, out, _ = attack(capsys, url_of(shared), "--json", "--token-file", token_file)
    document = json.loads(out)
    assert code == 0 and document["ok"] is True
    assert 0 < document["requests"] < MOST_REQUESTS and document["seconds"] < 60
    assert {row["state"] for row in document["rows"]} == {State.HELD, State.NOT_APPLICABLE}


@ON_LOOP
async def test_the_command_prints_a_table(
    shared: Running, token_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each row, a sum, the request below a row that is broken, exit code 1; the
    operator's token is in none of it."""
    async with BreakingProxy(shared.stack.port, "C26") as broken:
        code, out, _ = await asyncio.to_thread(
            attack, capsys, broken.url, "--token-file", token_file
        )
    *lines, total = out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("C26  broken"))
    assert code == 1 and " 1 broken" in total and TOKEN not in out, out
    assert lines.pop(at + 1).strip() == f"curl -i -X GET '{broken.url}/kiosk'"
    assert [line.split()[0] for line in lines] == [row.id for row in ROWS]


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("does not know this operator's token", ["{url}", "--token-file", "{wrong}"]),
        ("set SCANPUSH_OPERATOR__TOKEN or --token-file", ["{url}"]),
        ("--token-file cannot be read", ["{url}", "--token-file", "{wrong}.missing"]),
        ("is not reached", ["http://127.0.0.1:1", "--token-file", "{wrong}"]),
        ("give the origin", ["{url}/login", "--token-file", "{wrong}"]),
        ("give the origin", ["ftp://127.0.0.1", "--token-file", "{wrong}"]),
        ("that is no URL", ["http://127.0.0.1:port", "--token-file", "{wrong}"]),
    ],
)
def test_what_is_not_proven_ones_own_is_refused(
    said: str,
    arguments: list[str],
    shared: Running,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line and exit code 2, before anything else is asked."""
    wrong = tmp_path / "wrong"
    wrong.write_text("another-operators-token")
    filled = [text.format(url=url_of(shared), wrong=wrong) for text in arguments]
    before = shared.stack.container.metrics.exposition()[0]
    code, out, err = attack(capsys, *filled)
    assert (code, out) == (2, "") and said in err and err.count("\n") == 1
    assert "another-operators-token" not in err
    assert scenes_in(before) == scenes_in(shared.stack.container.metrics.exposition()[0])


@ON_LOOP
async def test_a_used_up_limit_is_no_finding(
    shared: Running, token_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run could not look: exit code 2, and when to try again."""
    async with BreakingProxy(shared.stack.port, "limit") as limited:
        code, out, err = await asyncio.to_thread(
            attack, capsys, limited.url, "--token-file", token_file
        )
    assert (code, out) == (2, "") and "try again in 30 s" in err


@ON_LOOP
async def test_a_server_without_an_operator_is_refused(
    tmp_path: Path, token_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has nothing by which it could be known; the token is not shown to it."""
    async with Stack(tmp_path) as server:
        url = f"http://127.0.0.1:{server.port}"
        code, _, err = await asyncio.to_thread(attack, capsys, url, "--token-file", token_file)
    assert code == 2 and "has no operator.token" in err


def test_ctrl_c_ends_it_cleanly() -> None:
    """One line, exit code 130, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {**os.environ, "SCANPUSH_OPERATOR__TOKEN": TOKEN}
        process = subprocess.Popen(
            [sys.executable, "-m", "attack", url],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        silent.settimeout(WITHIN_SECONDS)
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WITHIN_SECONDS)
        connection.close()
    assert (process.returncode, out) == (130, "")
    assert err.startswith("scanpush: ended by Ctrl-C") and err.count("\n") == 1
