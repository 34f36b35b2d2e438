"""Two circuits with a line between them that is a list: frames of any size arrive whole, and windows hold.

And the end of a line on its own: when it writes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mpshell.errors import ProtocolError
from mpshell.hosts import frames
from mpshell.hosts.circuit import WINDOW, Circuit
from mpshell.hosts.line import LineEnd
from mpshell.runtime.loop import EventLoop
from mpshell.wire.channel import MAX_FRAME, Channel, channel_pair


class Pair:
    """A coordinator's channel, two circuits, an engine's channel; `way` has what is between them."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.coordinator, near = channel_pair()
        self.engine, far = channel_pair()
        self.way: list[tuple[str, bytes, bytes]] = []
        self.ends: list[str] = []
        self.near = self._circuit(near, "down")
        self.far = self._circuit(far, "up")
        self.near.open()
        self.far.open()

    def _circuit(self, fd: int, way: str) -> Circuit:
        return Circuit(
            1, Channel(fd), self.loop, lambda kind, number, body: self.way.append((way, kind, body)),
            lambda circuit: self.ends.append(way), MAX_FRAME,
        )  # fmt: skip

    def deliver(self, only: str = "down up") -> None:
        """Deliver what is on the way, and what comes of it, until nothing is."""
        for _ in range(2000):
            self.loop.run_once(poll_only=True)
            now = [item for item in self.way if item[0] in only]
            self.way = [item for item in self.way if item[0] not in only]
            for way, kind, body in now:
                circuit = self.far if way == "down" else self.near
                if kind == frames.CREDIT:
                    circuit.credit(frames.unpack_number(body))
                else:
                    circuit.take(kind, body)

    def close(self) -> None:
        for part in (self.near, self.far, self.coordinator, self.engine):
            part.close()
        self.loop.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


@pytest.mark.parametrize("size", [1, frames.BODY, frames.BODY + 1, 5 * WINDOW])
def test_a_frame_of_any_size_arrives_whole(size: int, pair: Pair) -> None:
    data = os.urandom(1024) * (size // 1024 + 1)
    pair.coordinator.send(data[:size])
    found: list[bytes] = []
    for _ in range(200):
        pair.coordinator.flush()
        pair.deliver()
        found += pair.engine.receive()
        if found:
            break
    assert found == [data[:size]]


def test_no_more_is_on_the_way_than_a_window(pair: Pair) -> None:
    """The other end reads nothing: what is sent to it waits in its own channel, and not here."""
    for _ in range(64):
        pair.engine.send(b"x" * (1 << 16))
    pair.engine.send(b"y" * WINDOW)
    for _ in range(20):
        pair.engine.flush()
        pair.loop.run_once(poll_only=True)
    on_the_way = sum(len(body) for way, _, body in pair.way if way == "up")
    assert WINDOW <= on_the_way <= WINDOW + frames.BODY
    assert pair.engine.pending


def test_more_credit_than_was_used_is_refused(pair: Pair) -> None:
    with pytest.raises(ProtocolError, match="credit"):
        pair.near.credit(1)


def test_more_than_the_window_is_refused(pair: Pair) -> None:
    with pytest.raises(ProtocolError, match="window"):
        for _ in range(WINDOW // frames.BODY + 2):
            pair.near.take(frames.LAST, b"x" * frames.BODY)


def test_what_an_engine_has_sent_is_passed_on_before_its_end(pair: Pair) -> None:
    for number in range(40):
        pair.engine.send(b"%d" % number * 1000)
    ended: list[str] = []
    pair.far.when_ended(lambda: ended.append("drained"), drained=True)
    for _ in range(20):
        pair.engine.flush()
        pair.deliver()
    assert ended == ["drained"] and pair.ends == ["up"]
    found: list[bytes] = []
    for _ in range(20):
        found += pair.coordinator.receive()
    assert found == [b"%d" % number * 1000 for number in range(40)]


def test_what_waits_for_a_circuit_is_called_when_that_is_closed(pair: Pair) -> None:
    """Nothing would call it later: what was to be passed on is dropped."""
    called: list[str] = []
    for _ in range(WINDOW // frames.BODY):
        pair.near.take(frames.LAST, b"x" * frames.BODY)
    pair.near.when_flushed(lambda: called.append("flushed"))
    pair.engine.send(b"y" * 2 * WINDOW)
    for _ in range(40):
        pair.engine.flush()
        pair.loop.run_once(poll_only=True)
    pair.far.when_ended(lambda: called.append("ended"), drained=True)
    assert called == []
    pair.near.close()
    assert called == ["flushed"]
    pair.far.close()
    assert called == ["flushed", "ended"]


class Written:
    """The end of a line, and what it has written at a moment that is the test's."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.loop = EventLoop(lambda: self.now)
        end, self._other = socket.socketpair()
        self._other.setblocking(False)
        fd = end.detach()
        self.line = LineEnd(
            (fd, fd), self.loop, lambda *frame: None, lambda why: None, greeted=True, pause=0.005
        )
        self._reader = frames.Frames(greeted=True)

    def kinds(self, seconds: float = 0.0) -> bytes:
        """Let time pass; return the kinds of the frames that have been written by then."""
        self.now += seconds
        self.loop.run_once(poll_only=True)
        try:
            data = self._other.recv(1 << 20)
        except BlockingIOError:
            return b""
        return b"".join(kind for kind, _, _ in self._reader.feed(data))

    def close(self) -> None:
        self.line.close()
        self._other.close()
        self.loop.close()


@pytest.fixture
def written() -> Iterator[Written]:
    written = Written()
    yield written
    written.close()


def test_a_frame_of_a_quiet_line_is_written_at_once_and_those_of_a_busy_one_together(
    written: Written,
) -> None:
    written.line.send(frames.LAST, 1, b"x")
    assert written.kinds() == b"P"
    for kind in (frames.LAST, frames.END, frames.BEAT, frames.LAST):
        written.line.send(kind, 1)
        assert written.kinds() == b""
    # No lease notices a pause; what must not wait behind others still goes before them.
    assert written.kinds(0.1) == b"BPEP"
    assert written.kinds(0.1) == b""
    written.line.send(frames.LAST, 2, b"x")
    assert written.kinds() == b"P"


def test_much_is_written_without_a_pause(written: Written) -> None:
    written.line.send(frames.LAST, 1, b"x")
    assert written.kinds() == b"P"
    written.line.send(frames.LAST, 1, b"x" * (frames.BODY // 2))
    assert written.kinds() == b""
    written.line.send(frames.LAST, 1, b"x" * (frames.BODY // 2))
    assert written.kinds() == b"PP"


def test_a_closed_line_writes_nothing_more(written: Written) -> None:
    written.line.send(frames.LAST, 1, b"x")
    assert written.kinds() == b"P"
    written.line.send(frames.LAST, 1, b"x")
    written.line.close()
    assert written.kinds(0.1) == b""


def test_a_plain_run_loads_nothing_of_this() -> None:
    source = (
        "import sys, mpshell\n"
        "mpshell.task_self().run('true', nodes='n[1-3]', remote=False)\n"
        "mpshell.task_self().run('true')\n"
        "print([name for name in sys.modules if 'hosts' in name or 'places' in name])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
