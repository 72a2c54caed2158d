"""Several machines and one run: who may join, what is asked of them, and machines that are lost."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bench.kit import machines
from bench.kit.conductor import GO, INTERRUPTED, STOP, Conductor, Run
from bench.kit.discover import NotUsable
from bench.kit.histogram import Histogram
from bench.kit.job import Result, Stage, Tick, WholeLoad
from bench.kit.machines import Channel
from tests.bench.conftest import TREE, KitRun

KEY = "a key of the tests"
LOAD = WholeLoad(
    11, 0.0, 9.0, 0.0, 5.0, False, 3.0, "load", 10, True, False, 10.0, 1, stages=(Stage(2.0, 11),)
)
Reference = Callable[..., str]


@contextmanager
def background(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """`work` in a thread, whose result, or NotUsable, is there after the block."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except NotUsable as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield results
    finally:
        thread.join()


@contextmanager
def linked() -> Iterator[tuple[Channel, Channel]]:
    """A conductor's channel, and the machine's it leads to."""
    with machines.listening(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        place = listener.getsockname()
        with background(lambda: machines.joined(place, KEY, 5, lambda text: None)) as joined:
            here = machines.gather(listener, KEY, 1, 30, lambda text: None)
        for channel in (*here, *joined):
            stack.callback(channel.close)
        yield next(iter(here)), joined[0]


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    """The same for a test."""
    with linked() as both:
        yield both


def test_messages_arrive_as_they_were(pair: tuple[Channel, Channel]) -> None:
    """Ticks, results and words, histograms included."""
    ours, theirs = pair
    tick = Tick("hold", held=3, figures={"open": Histogram([0.2, 3])})
    result = Result(begun=5, begin=Histogram([0.5]), spans={"begin": 1.5})
    result.codes[1000] += 4
    for message in (tick, result, GO, {"name": "x"}):
        theirs.send(message)
        assert ours.recv() == message


def test_each_machine_is_given_its_share(pair: tuple[Channel, Channel]) -> None:
    """The whole load, with its stages, and numbers of its own for its workers."""
    ours, theirs = pair
    theirs.send({})
    machines.assign({ours: "a"}, LOAD, {"url": "http://127.0.0.1:1"})
    load, about = machines.share(theirs)
    assert load == LOAD
    assert (about["url"], about["first"]) == ("http://127.0.0.1:1", 0)


def test_a_machine_that_cannot_take_its_share_ends_the_run(pair: tuple[Channel, Channel]) -> None:
    """Before the start, with its reason."""
    ours, theirs = pair
    theirs.send({"cannot": "too few local ports"})
    with pytest.raises(NotUsable, match="machine a cannot take its share: too few local ports"):
        machines.assign({ours: "a"}, LOAD, {})


def test_nothing_can_be_read_or_said_without_the_key(pair: tuple[Channel, Channel]) -> None:
    """What is on the wire is sealed; what is sealed otherwise is refused."""
    ours, theirs = pair
    theirs.send(GO)
    raw = ours._sock.recv(10_000)
    # With its quotes: two letters alone stand in a sealed text by chance.
    assert f'"{GO}"'.encode() not in raw
    theirs._sock.sendall(raw[:20] + b"AAAA" + raw[24:])
    with pytest.raises(ValueError, match="another key"):
        ours.recv()


def test_a_message_cannot_be_sent_twice_or_back(pair: tuple[Channel, Channel]) -> None:
    """A copy of what passes by is refused."""
    ours, theirs = pair
    theirs.send(GO)
    raw = ours._sock.recv(10_000)
    for _ in range(2):
        theirs._sock.sendall(raw)
    assert ours.recv() == GO
    with pytest.raises(ValueError, match="out of turn"):
        ours.recv()
    ours._sock.sendall(raw)
    with pytest.raises(ValueError, match="out of turn"):
        theirs.recv()


def test_on_one_machine_no_key_is_needed() -> None:
    """Both sides take the same one for loopback addresses, and none for others."""
    here = {machines.loopback_key(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")}
    assert here == {machines.LOOPBACK_KEY}
    others = {machines.loopback_key(host) for host in ("0.0.0.0", "::", "192.0.2.1", "load1")}
    assert others == {None}


def test_another_key_is_refused_and_the_wait_goes_on() -> None:
    """The one that conducts says so; the right machine is admitted after it."""
    told: list[str] = []
    with machines.listening(("127.0.0.1", 0)) as listener:
        place = listener.getsockname()

        def wrong() -> None:
            with closing_channel(place, "a key of other tests") as channel:
                machines.share(channel)

        with background(lambda: machines.gather(listener, KEY, 1, 30, told.append)) as here:
            with background(wrong) as refused:
                pass
            with closing_channel(place, KEY):
                pass
    for channel in here[0]:
        channel.close()
    assert "did not show the key" in told[0] and "has joined: 1 of 1" in told[1]
    assert "refused the key (SCANPUSH_LOAD_KEY or --key)" in str(refused[0])


@contextmanager
def closing_channel(place: tuple[str, int], key: str) -> Iterator[Channel]:
    channel = machines.joined(place, key, 5, lambda text: None)
    try:
        yield channel
    finally:
        channel.close()


def greeting(place: tuple[str, int], data: bytes) -> None:
    with socket.create_connection(place) as sock, suppress(ConnectionResetError):
        sock.sendall(data)
        while sock.recv(1000):
            pass


@pytest.mark.parametrize(
    ("greets", "told"),
    [
        (b'{"kit": "scanpush load", "version": "0", "salt": ""}', "another version of the kit"),
        (b"[]", "did not show the key"),
        (b"GET / HTTP/1.1\r\n\r\n", "did not show the key"),
    ],
    ids=["version", "other", "http"],
)
def test_strangers_are_refused(greets: bytes, told: str) -> None:
    """Other versions, and other programs; the wait for a machine goes on."""
    said: list[str] = []
    framed = greets if greets.startswith(b"GET") else machines.LENGTH.pack(len(greets)) + greets
    with machines.listening(("127.0.0.1", 0)) as listener:
        with background(lambda: machines.gather(listener, KEY, 1, 30, said.append)) as here:
            greeting(listener.getsockname(), framed)
            with closing_channel(listener.getsockname(), KEY):
                pass
    for channel in here[0]:
        channel.close()
    assert told in said[0] and "has joined" in said[1]


def test_the_wait_for_machines_has_an_end() -> None:
    """On both sides, told in one line."""
    with machines.listening(("127.0.0.1", 0)) as listener:
        place = listener.getsockname()
        with pytest.raises(NotUsable, match="0 of 2 machines joined within 0 seconds"):
            machines.gather(listener, KEY, 2, 0, lambda text: None)
    with pytest.raises(NotUsable, match="no conductor at 127.0.0.1"):
        machines.joined(place, KEY, 0, lambda text: None)


def test_a_conductor_of_another_version_is_told_as_such() -> None:
    """On the machine that joins, with what to do."""
    hello = b'{"kit": "scanpush load", "version": "0", "salt": ""}'
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = listener.getsockname()
        with background(lambda: machines.joined(place, KEY, 5, lambda text: None)) as end:
            sock, _ = listener.accept()
            sock.sendall(machines.LENGTH.pack(len(hello)) + hello)
            sock.recv(1000)
            sock.close()
    assert "use the same checkout" in str(end[0])


def led(work: Callable[[Channel], None], pair: tuple[Channel, Channel], silent: float = 10) -> Run:
    """A run of one machine, in the words that it says."""
    ours, theirs = pair
    with background(lambda: work(theirs)):
        return Conductor([], [], lambda moment, now: None, 0, {ours: "a"}, silent=silent).run()


def test_machines_start_on_a_word_and_wait_for_each_other(pair: tuple[Channel, Channel]) -> None:
    """At the start and after each phase; the result is that of the machine."""
    heard: list[object] = []

    def work(channel: Channel) -> None:
        heard.append(channel.recv())
        channel.send("opened")
        heard.append(channel.recv())
        channel.send(Result(opened=7))

    run = led(work, pair)
    assert (heard, run.result.opened, run.gone) == ([GO, GO], 7, [])


def test_a_machine_that_dies_is_told_and_not_waited_for(pair: tuple[Channel, Channel]) -> None:
    """The run ends without its figures, and says so."""
    run = led(lambda channel: channel.close(), pair)
    assert len(run.gone) == 1 and run.gone[0].startswith("a died, or was cut off, after ")


def test_the_others_go_on_without_a_machine_that_died(pair: tuple[Channel, Channel]) -> None:
    """They wait for it between two phases only while it lives."""
    ours, theirs = pair

    def work() -> None:
        theirs.send("opened")
        assert [theirs.recv(), theirs.recv()] == [GO, GO]  # The start, and the barrier.
        theirs.send(Result(opened=7))

    with linked() as (other, dying), background(work):
        dying.close()
        both = {ours: "a", other: "b"}
        run = Conductor([], [], lambda moment, now: None, 0, both).run()
    assert run.result.opened == 7 and run.gone[0].startswith("b died")


def test_a_machine_that_falls_silent_is_given_up(pair: tuple[Channel, Channel]) -> None:
    """One that hangs, or whose network is gone, closes no connection."""
    run = led(lambda channel: channel.recv(), pair, silent=0.1)
    assert len(run.gone) == 1 and "was silent" in run.gone[0]


def test_a_machine_that_talks_nonsense_is_given_up(pair: tuple[Channel, Channel]) -> None:
    """With what was wrong."""
    run = led(lambda channel: channel._sock.sendall(machines.LENGTH.pack(3) + b"abc"), pair)
    assert "could not be understood (a message under another key)" in run.gone[0]


def test_a_signal_on_one_machine_ends_all(pair: tuple[Channel, Channel]) -> None:
    """The one that conducts stops the others, and the results so far count."""
    heard: list[object] = []

    def work(channel: Channel) -> None:
        channel.recv()
        channel.send(INTERRUPTED)
        heard.append(channel.recv())
        channel.send(Result(opened=2))

    run = led(work, pair)
    assert (heard, run.stopped_by, run.result.opened) == ([STOP], signal.SIGINT, 2)


class Fleet:
    """The kit on several "machines": processes of this one."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._place = ""

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.kit", *arguments],
            cwd=TREE,
            env={**os.environ, machines.KEY_VARIABLE: KEY},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return process

    def conduct(self, *arguments: str) -> subprocess.Popen[str]:
        small = ("--sockets", "12", "--rate", "0", "--settle", "0", "--timeout", "2")
        process = self.start(
            *("--conduct", "127.0.0.1:0", "--machines", "2", "--out", str(self._folder / "run")),
            *(*small, *arguments),
        )
        self._place = seen(process, r"--join (\S+)")
        return process

    def join(self) -> subprocess.Popen[str]:
        return self.start("--join", self._place)

    def end(self, process: subprocess.Popen[str]) -> KitRun:
        output, errors = process.communicate(timeout=60)
        return KitRun(process.returncode, output, errors, self._folder / "run")


def seen(process: subprocess.Popen[str], pattern: str) -> str:
    """What a pattern finds in the error output, as soon as it is there."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(pattern, line):
            return found[found.lastindex or 0]
    raise AssertionError(f"{pattern} did not come")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(tmp_path, stack)


def test_two_machines_give_one_report(fleet: Fleet, reference: Reference) -> None:
    """Every page is opened once, every login counted once."""
    conductor = fleet.conduct("--url", reference(), "--hold", "1", "--scans", "20")
    others = [fleet.join(), fleet.join()]
    run = fleet.end(conductor)
    assert run.code == 0 and "No faults." in run.output
    assert run.document["sockets"]["held_at_most"] == 12
    logins = run.document["logins"]
    assert logins["scans"] == logins["delivered"] == run.document["figures"]["whole"]["n"] > 10
    assert KEY not in Path(f"{run.stem}.json").read_text() + run.output + run.errors
    for other in others:
        assert fleet.end(other).code == 0


def test_a_killed_machine_is_a_fault_of_the_report(fleet: Fleet, reference: Reference) -> None:
    """The other's figures are there all the same."""
    conductor = fleet.conduct("--url", reference(), "--hold", "60")
    first, second = fleet.join(), fleet.join()
    seen(first, "hold ")
    first.kill()
    first.wait(60)
    conductor.send_signal(signal.SIGINT)
    run = fleet.end(conductor)
    assert run.code == 130 and "its figures are missing" in run.output
    assert run.document["sockets"]["opened"] == 6
    assert fleet.end(second).code == 0


def test_ctrl_c_where_it_is_conducted_ends_all(fleet: Fleet, reference: Reference) -> None:
    """With figures here, and quietly there."""
    conductor = fleet.conduct("--url", reference(), "--hold", "60")
    others = [fleet.join(), fleet.join()]
    seen(conductor, "hold ")
    conductor.send_signal(signal.SIGINT)
    run = fleet.end(conductor)
    assert run.code == 130 and run.document["sockets"]["opened"] == 12
    assert run.document["sockets"]["closed_by_code"] == {"1000": 12}
    for other in others:
        left = fleet.end(other)
        assert left.code == 0 and "Traceback" not in left.errors


def test_ctrl_c_on_one_machine_ends_all(fleet: Fleet, reference: Reference) -> None:
    """A run without one of its machines is not what was asked for."""
    conductor = fleet.conduct("--url", reference(), "--hold", "60")
    first, second = fleet.join(), fleet.join()
    seen(first, "hold ")
    first.send_signal(signal.SIGINT)
    run = fleet.end(conductor)
    assert run.document["sockets"]["opened"] == 12
    assert (run.code, fleet.end(first).code, fleet.end(second).code) == (130, 130, 0)


def test_ctrl_c_while_machines_are_awaited_ends_the_wait(
    fleet: Fleet, reference: Reference
) -> None:
    """On the one that waits, and on the one that has joined already."""
    conductor = fleet.conduct("--url", reference())
    first = fleet.join()
    seen(first, "joined ")
    conductor.send_signal(signal.SIGINT)
    ended = fleet.end(conductor)
    assert ended.code == 130 and "ended without figures" in ended.errors
    left = fleet.end(first)
    assert left.code == 2 and "the conductor has ended" in left.errors


def test_machines_stop_when_the_conductor_dies(fleet: Fleet, reference: Reference) -> None:
    """No load goes on without a report."""
    conductor = fleet.conduct("--url", reference(), "--hold", "60")
    others = [fleet.join(), fleet.join()]
    seen(conductor, "hold ")
    conductor.kill()
    for other in others:
        left = fleet.end(other)
        assert left.code == 2
        assert "the machine that conducts is gone: this machine has stopped" in left.errors
