"""An engine's messages cut at every byte, and garbage: the engine is lost, cleanly, and once."""

from __future__ import annotations

import itertools
import os
import socket
from types import SimpleNamespace

import pytest

from mpshell.launch import local
from mpshell.launch.link import PATIENCE, Link
from mpshell.launch.local import LocalLink
from mpshell.launch.outbox import ForkProgress
from mpshell.runtime.loop import EventLoop
from mpshell.wire import messages as m
from mpshell.wire.channel import Channel
from mpshell.wire.codec import encode


def _wire(*messages: m.Message) -> bytes:
    frame = encode(list(messages))
    return len(frame).to_bytes(4, "big") + frame


WIRE = _wire(m.Ready(1, 2, "x"), m.Starting([1, 2]))
PONG = _wire(m.Pong())


class Peer:
    """The far ends of a handle: an engine's channel, the fork server's sentinel."""

    def __init__(self, progress: ForkProgress | None = None) -> None:
        near, self.far = socket.socketpair()
        sentinel, self.sentinel = os.pipe()
        self.fenced = 0
        self.gone = 0
        self.events: list[m.Message] = []
        self.loop = EventLoop()
        self.handle = LocalLink(1, Channel(near.detach()), sentinel, self._fence, progress=progress)
        self.handle.attach(
            self.loop,
            lambda handle, events: self.events.extend(events),
            self._on_gone,
            lambda handle: None,
        )

    def _fence(self) -> None:
        self.fenced += 1
        os.write(self.sentinel, b"signal 9")
        os.close(self.sentinel)
        self.sentinel = -1

    def _on_gone(self, handle: Link) -> None:
        self.gone += 1

    def turn(self) -> None:
        for _ in range(6):
            self.loop.run_once(poll_only=True)

    def close(self) -> None:
        self.far.close()
        if self.sentinel >= 0:
            os.close(self.sentinel)
        self.turn()
        self.loop.close()


@pytest.mark.parametrize("cut", range(len(WIRE) + 1))
def test_cut_at_every_byte(cut: int) -> None:
    peer = Peer()
    peer.far.send(WIRE[:cut])
    peer.far.close()
    peer.turn()
    assert peer.gone == 0, "not before the sentinel shows that nothing of it runs"
    peer._fence()
    peer.turn()
    assert peer.gone == 1
    assert len(peer.events) == (2 if cut == len(WIRE) else 0)
    assert peer.handle.detail == "signal 9"
    peer.close()


@pytest.mark.parametrize("garbage", [b"\xff" * 40, b"\x00\x00\x00\x05junk!", b"\x80" * 10])
def test_garbage_is_the_end_of_an_engine(garbage: bytes) -> None:
    peer = Peer()
    peer.far.send(garbage)
    peer.turn()
    assert (peer.fenced, peer.gone) == (1, 1)
    assert "frame" in peer.handle.detail
    peer.close()


@pytest.mark.parametrize("garbage", [b"\xff" * 40, b"\x00\x00\x00\x05junk!", b"\x80" * 10])
def test_what_came_before_garbage_counts(garbage: bytes) -> None:
    """One may be the announcement of a command that has run by now."""
    peer = Peer()
    peer.far.send(WIRE + garbage)
    peer.turn()
    assert len(peer.events) == 2
    assert (peer.fenced, peer.gone) == (1, 1)
    peer.close()


def test_all_messages_are_delivered_before_an_error_of_the_listener_goes_on() -> None:
    peer = Peer()
    received: list[int] = []

    def fail(handle: Link, events: list[m.Message]) -> None:
        received.append(len(events))
        raise RuntimeError("of the listener")

    peer.handle.attach(peer.loop, fail, peer._on_gone, lambda handle: None)
    peer.far.send(WIRE * 3)
    with pytest.raises(RuntimeError, match="of the listener"):
        peer.turn()
    peer.turn()
    assert received == [6]
    peer.close()


def test_the_last_messages_come_before_the_end() -> None:
    peer = Peer()
    peer.far.send(WIRE * 3)
    peer.far.close()
    peer._fence()
    peer.turn()
    assert len(peer.events) == 6
    assert peer.gone == 1
    peer.close()


def test_a_channel_that_a_stuck_command_holds_open_is_over_with_its_engine() -> None:
    """A child between vfork and exec has all descriptors; on some file systems it cannot be killed."""
    peer = Peer()
    peer.far.send(WIRE * 3 + WIRE[:5])
    peer._fence()
    peer.turn()
    assert (len(peer.events), peer.gone, peer.handle.detail) == (6, 1, "signal 9")
    peer.close()


def test_messages_of_a_dead_engine_are_delivered_also_after_an_error_of_the_listener() -> None:
    peer = Peer()
    received: list[int] = []

    def fail(handle: Link, events: list[m.Message]) -> None:
        received.append(len(events))
        if len(received) < 3:
            peer.far.send(WIRE)
            raise RuntimeError("of the listener")

    peer.handle.attach(peer.loop, fail, peer._on_gone, lambda handle: None)
    peer.far.send(WIRE)
    peer._fence()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="of the listener"):
            peer.turn()
    peer.turn()
    assert (received, peer.gone) == ([2, 2, 2], 1)
    peer.close()


@pytest.mark.parametrize(
    ("late", "ended"),
    [
        (b"", False),
        (PONG, False),
        (PONG * 3, False),
        (PONG[:5], False),
        (_wire(m.Warn("x")), True),
        (PONG + _wire(m.EngineFailed("x")), True),
        (_wire(m.Pong(), m.Warn("x")), True),
        (PONG + b"\x80" * 10, True),
        (b"\xff" * 40, True),
    ],
    ids=itertools.count(),
)
def test_an_idle_engine_goes_on_after_a_late_answer_and_nothing_else(
    late: bytes, ended: bool
) -> None:
    """A Ping may cross the engine's RunEnded; its answer then comes when no run leases the engine."""
    peer = Peer()
    peer.far.send(WIRE)
    peer.turn()
    peer.handle.detach()
    peer.far.send(late)
    assert peer.handle.ended() is ended
    peer.far.close()
    assert peer.handle.ended(), "its process is gone"
    peer.handle.close()
    peer.close()


@pytest.mark.parametrize("end", ["channel", "sentinel"])
def test_an_engine_that_ends_after_a_late_answer_has_ended(end: str) -> None:
    peer = Peer()
    peer.handle.detach()
    peer.far.send(PONG)
    if end == "channel":
        peer.far.close()
    else:
        peer._fence()
    assert peer.handle.ended()
    peer.handle.close()
    peer.close()


def test_an_engine_serves_the_next_run_after_a_late_answer() -> None:
    peer = Peer()
    peer.handle.detach()
    peer.far.send(PONG + PONG[:5])
    assert not peer.handle.ended()
    peer.handle.attach(
        peer.loop,
        lambda handle, events: peer.events.extend(events),
        peer._on_gone,
        lambda handle: None,
    )
    peer.far.send(PONG[5:] + WIRE)
    peer.turn()
    assert [type(event) for event in peer.events] == [m.Pong, m.Ready, m.Starting]
    peer.close()


@pytest.mark.parametrize("sent", [0, 1])
def test_an_engine_that_nothing_can_end_is_given_up(
    sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs in the kernel for good, as in a file system that does not answer: SIGKILL does not end it."""
    monkeypatch.setattr(local, "_MEASURE", 0.01)
    peer = Peer()
    peer.handle._kill = lambda: None
    peer.far.send(WIRE * sent)
    peer.turn()
    peer.handle.fence()
    peer.handle.fence()
    while not peer.gone:
        peer.loop.run_once()
    assert (len(peer.events), peer.gone) == (2 * sent, 1)
    peer.close()


def test_frames_before_garbage_in_the_same_read_count() -> None:
    peer = Peer()
    peer.far.send(WIRE + b"\x80" * 10)
    peer.turn()
    peer.turn()
    assert len(peer.events) == 2 and (peer.fenced, peer.gone) == (1, 1)
    peer.close()


def test_the_patience_with_an_engine_runs_from_the_last_progress_of_its_fork_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where many are asked for at once others come first; one that hangs is given up all the same."""
    now = 1000.0
    monkeypatch.setattr(local, "time", SimpleNamespace(monotonic=lambda: now))
    progress = ForkProgress(lambda: now)
    waits, other = Peer(progress), Peer(progress)
    now += 8
    assert waits.handle.patience == PATIENCE
    other.far.send(WIRE)
    other.turn()
    assert waits.handle.patience == PATIENCE + 8
    # The next first message of the same engine is none.
    now += 5
    other.far.send(WIRE)
    other.turn()
    assert waits.handle.patience == PATIENCE + 8
    now += 10_000
    progress.note()
    assert waits.handle.patience == local._LONGEST
    waits.close()
    other.close()
