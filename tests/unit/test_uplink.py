"""When the reports of an engine's turn leave it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.unit import test_clients


class Bench(test_clients.Bench):
    """An uplink with a reader, which reads a byte a turn, and the turns in which it reports."""

    def __init__(self) -> None:
        super().__init__()
        self.reported: list[int] = []
        self.reading, self.writing = os.pipe()
        self.loop.add_reader(self.reading, self._read)

    def on_turn(self) -> None:
        self.reported.append(self.loop.turns)

    def _read(self) -> None:
        os.read(self.reading, 1)
        self.uplink.end_of_turn()

    def turns(self, data: bytes, count: int) -> list[int]:
        """Make turns after the pipe has got data; return those with a report, from 1."""
        before = self.loop.turns
        self.reported.clear()
        os.write(self.writing, data)
        for _ in range(count):
            self.pass_time(0.001)
        return [turn - before for turn in self.reported]

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)
        super().close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def test_a_report_leaves_at_the_end_of_its_turn(bench: Bench) -> None:
    assert bench.turns(b"abc", 5) == [1, 2, 3]


def test_with_patience_it_waits_as_long_as_each_turn_finds_more(bench: Bench) -> None:
    bench.uplink.patience = 1.0
    # The fourth turn finds nothing.
    assert bench.turns(b"abc", 6) == [4]
    assert bench.turns(b"a", 3) == [2]


def test_it_waits_no_longer_than_its_patience(bench: Bench) -> None:
    bench.uplink.patience = 0.0025
    assert bench.turns(b"abcdefg", 9) == [4, 8]
