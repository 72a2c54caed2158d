"""The kernel's queue, by what `Parking` relies on."""

import socket
from collections.abc import Iterator

import pytest

from services.push.poller import Poller


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_input_is_reported_until_it_is_read(poller, pair):
    """Level-triggered: what is not handled in this turn comes again in the next."""
    ours, theirs = pair
    poller.watch(ours.fileno())
    assert poller.poll(10) == []
    theirs.send(b"x")
    assert poller.poll(10) == poller.poll(10) == [(ours.fileno(), False)]
    ours.recv(1)
    assert poller.poll(10) == []


def test_end_of_stream_is_input(poller, pair):
    """A peer that left is reported."""
    ours, theirs = pair
    poller.watch(ours.fileno())
    theirs.close()
    assert poller.poll(10) == [(ours.fileno(), False)]


def test_room(poller, pair):
    """While something is unsent only room is reported, and input again afterwards."""
    ours, theirs = pair
    theirs.send(b"x")
    poller.watch(ours.fileno())
    poller.watch_for_room(ours.fileno())
    assert poller.poll(10) == [(ours.fileno(), True)]
    poller.watch_for_input(ours.fileno())
    assert poller.poll(10) == [(ours.fileno(), False)]


def test_forgotten(poller, pair):
    """A forgotten descriptor is not reported, and may be watched again."""
    ours, theirs = pair
    poller.watch(ours.fileno())
    theirs.send(b"x")
    poller.forget(ours.fileno())
    assert poller.poll(10) == []
    poller.watch(ours.fileno())
    assert poller.poll(10) == [(ours.fileno(), False)]


def test_limit(poller):
    """No more than asked for, and in turn: no descriptor is always last."""
    pairs = [socket.socketpair() for _ in range(6)]
    for ours, theirs in pairs:
        poller.watch(ours.fileno())
        theirs.send(b"x")
    seen = {fd for _ in range(3) for fd, _ in poller.poll(2)}
    assert seen == {ours.fileno() for ours, _ in pairs}
    for ours, theirs in pairs:
        ours.close()
        theirs.close()
