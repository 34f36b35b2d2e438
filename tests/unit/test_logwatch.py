"""The logs of an engine's clients: read together, with a rest after each reading, on the test's clock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import pytest

from mpshell.engine.logwatch import REST, LogWatch
from mpshell.runtime.loop import EventLoop
from tests.unit.test_loop import Clock


class Logs:
    """Logs as programs write them, and what is read of each."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.loop = EventLoop(self.clock)
        self.watch = LogWatch(self.loop)
        self.read: list[tuple[int, bytes]] = []
        self._open: dict[int, tuple[int, int]] = {}

    def add(self, number: int) -> None:
        fd, path = self.watch.open()
        self._open[number] = fd, os.open(path, os.O_WRONLY)
        self.resume(number)

    def resume(self, number: int) -> None:
        self.watch.add(self._open[number][0], lambda: self.on_log(number))

    def on_log(self, number: int) -> None:
        self.read.append((number, os.read(self._open[number][0], 100)))

    def write(self, number: int, text: bytes) -> None:
        os.write(self._open[number][1], text)

    def pause(self, number: int) -> None:
        self.watch.remove(self._open[number][0])

    def turn(self, later: float = 0.0) -> list[tuple[int, bytes]]:
        """Make a turn after some seconds; return what was read in it."""
        self.clock.now += later
        self.read = []
        self.loop.run_once(poll_only=True)
        return sorted(self.read)

    def close(self) -> None:
        self.loop.close()
        # Its epoll is closed with it.
        del self.watch
        for ends in self._open.values():
            for fd in ends:
                os.close(fd)


@pytest.fixture
def logs() -> Iterator[Logs]:
    logs = Logs()
    yield logs
    logs.close()


def test_all_logs_are_read_in_one_turn_and_rest_together(logs: Logs) -> None:
    for number in range(300):
        logs.add(number)
        logs.write(number, b"one")
    assert logs.turn() == [(number, b"one") for number in range(300)]
    logs.write(1, b"two")
    logs.write(2, b"two")
    assert logs.turn(REST / 2) == []
    assert logs.turn(REST / 2) == [(1, b"two"), (2, b"two")]


def test_after_a_rest_without_lines_the_next_line_is_read_at_once(logs: Logs) -> None:
    logs.add(1)
    logs.write(1, b"one")
    assert logs.turn() == [(1, b"one")]
    assert logs.turn(REST) == []
    logs.write(1, b"two")
    assert logs.turn() == [(1, b"two")]


def test_the_loop_waits_without_a_deadline_once_nothing_is_written(logs: Logs) -> None:
    waits: list[float] = []
    wait = logs.loop.wait

    def noted(timeout: float, most: int) -> list[tuple[int, int]]:
        waits.append(timeout)
        return wait(0, most)

    logs.loop.wait = noted
    logs.add(1)
    logs.write(1, b"one")
    for _ in range(3):
        logs.clock.now += REST
        logs.loop.run_once()
    assert waits == [-1, pytest.approx(0), -1]


def test_what_is_left_of_a_long_log_is_read_after_the_rest(logs: Logs) -> None:
    logs.add(1)
    logs.write(1, b"x" * 150)
    assert logs.turn() == [(1, b"x" * 100)]
    assert logs.turn(REST) == [(1, b"x" * 50)]


def test_a_log_that_is_watched_no_more_is_not_read_until_it_is_again(logs: Logs) -> None:
    logs.add(1)
    logs.add(2)
    logs.pause(1)
    logs.write(1, b"one")
    logs.write(2, b"two")
    assert logs.turn() == [(2, b"two")]
    logs.resume(1)
    assert logs.turn(REST) == [(1, b"one")]


def test_a_reader_may_close_the_log_of_another_one(logs: Logs) -> None:
    first = os.pipe()
    second = os.pipe()
    seen: list[int] = []

    def read(own: int, other: int) -> None:
        seen.append(own)
        logs.watch.remove(other)

    for (fd, end), (other, _) in ((first, second), (second, first)):
        logs.watch.add(fd, partial(read, fd, other))
        os.write(end, b"x")
    logs.turn()
    assert len(seen) == 1
    for fd in (*first, *second):
        os.close(fd)
