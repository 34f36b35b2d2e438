"""Check the folding of names with several numbers that are no rectangle, beside ClusterShell's."""

from __future__ import annotations

import random
import time

import ClusterShell.NodeSet as peer
import pytest

from mpshell.nodeset import NodeSet


def folded(names: list[str]) -> str:
    text = str(NodeSet.fromlist(names))
    assert set(NodeSet(text)) == set(names)
    return text


def drawn(seed: int, count: int, *axes: int, widths: int = 1) -> list[str]:
    """Return up to so many names, with a number below that of each axis, padded to one of some widths."""
    chance = random.Random(seed)
    numbers = [
        [f"{n:0{width + 1}d}" for n in range(axis) for width in range(widths)] for axis in axes
    ]
    names = {"".join(f"x{chance.choice(axis)}" for axis in numbers) for _ in range(count)}
    return sorted(names, key=lambda _: chance.random())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("count", "axes", "widths"),
    [
        (150, (90, 90), 1),  # sparse: most numbers are there once or twice
        (150, (14, 14), 1),  # most rows have several
        (150, (4, 300), 1),
        (150, (300, 4), 1),
        (120, (12, 120), 3),
        (150, (40, 40, 40), 1),
        (150, (6, 6, 6), 2),
        (100, (3, 60, 3), 1),
        (100, (3, 4, 3, 4), 1),
    ],
)
def test_scattered_names_fold_into_the_boxes_of_clustershell(
    seed: int, count: int, axes: tuple[int, ...], widths: int
) -> None:
    names = drawn(seed, count, *axes, widths=widths)
    assert folded(names) == str(peer.NodeSet.fromlist(names))


@pytest.mark.parametrize(
    "text",
    [
        "r1n5,r2n[5-7]",  # the first of a row goes to the vector before
        "r1n5,r2n[5-6],r3n[6-7]",  # and what is left of it takes the first of the next
        "r1n5,r2n[5-6],r3n6,r4n[6-9]",
        "r1n[5-6],r2n[5-6],r3n6",  # a row takes nothing
        "r1n6,r2n[5-6]",
        "r1n9,r2n[9-10]",  # the first as a text is 10
        "r1n05,r2n[5,05]",
        "r1n[1-9],r3n[4-20],r2n4,r9n4",
        "r1a1n5,r1a2n[5-6],r2a2n[5-6],r2a3n6",
        "r1a1n5,r2a1n5,r2a2n5,r2a3n[5-9]",
        "r1n1,r2n2,r3n3",
    ],
)
def test_rows_and_single_names_that_touch_each_other(text: str) -> None:
    names = list(NodeSet(text))
    assert folded(names) == str(peer.NodeSet.fromlist(names))


def test_many_scattered_names_fold_quickly() -> None:
    # Of processor time they take some 0.04 s; with each pair compared it would be ten seconds.
    for axes in (4_000, 4_000), (4_000, 20), (20, 4_000), (4_000, 4_000, 4_000):
        names = drawn(0, 4_000, *axes)
        start = time.thread_time()
        folded(names)
        assert time.thread_time() - start < 2
