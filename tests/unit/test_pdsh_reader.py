"""The output and end of each node of a pdsh, for every order in which its threads write."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from mpshell.coordinator.job import Ended
from mpshell.wire.messages import EXITED, SIGNALED
from mpshell.worker.pdsh import PdshReader

HERE = os.fsencode(os.uname().nodename.partition(".")[0])


def interleaved(*threads: list[bytes]) -> Iterator[bytes]:
    """Yield the writes of several threads joined, in every order."""
    writers = [number for number, writes in enumerate(threads) for _ in writes]
    for order in set(itertools.permutations(writers)):
        left = [iter(writes) for writes in threads]
        yield b"".join(next(left[number]) for number in order)


@pytest.mark.parametrize(
    ("words", "expected"),
    [(b"killed by signal 9", (SIGNALED, 9)), (b"exited with exit code 5", (EXITED, 5))],
)
@pytest.mark.parametrize("cut", [[b"%s: ", b"x"], [b"%s: x"], [b"%s: ", b"x\n"], []])
def test_every_node_ends_as_pdsh_reports(
    words: bytes, expected: tuple[int, int], cut: list[bytes]
) -> None:
    """A command's line with a NUL in it has no newline, and pdsh writes its label apart."""
    end = b"pdsh@%s: %%s: /tmp/script %s\n" % (HERE, words)
    threads = [
        [piece % node if b"%" in piece else piece for piece in (*cut, end)] for node in (b"a", b"b")
    ]
    for written in interleaved(*threads):
        reader = PdshReader([["a", "b"]], copies=False, in_order=True)
        items = [*reader.read(0, 1, written), *reader.finish(0, EXITED, 0, None)]
        ends = {item.key: (item.reason, item.status) for item in items if isinstance(item, Ended)}
        assert ends == {"a": expected, "b": expected}, written
