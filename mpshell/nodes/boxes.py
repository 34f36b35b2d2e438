"""Own the folding of vectors of numbers into boxes, the largest first, as ClusterShell orders and cuts them.

A *box* is a column of keys for each axis, and stands for their product.  Called by
`mpshell.nodes.folding` and by `RangeSetND`.  Pure code without global state.

The result is that of ClusterShell's RangeSetND, which is part of its API: programs compare the texts.
There, single vectors are sorted and boxes that differ in one axis are joined, in passes: first each
with its neighbour, as long as that changes something, then each with all that follow.  The boxes of
all passes are disjoint, so the same boxes come out of any order of the vectors.  Here the passes cost
n log n: the neighbours are compared as integers, and all that may join a box are found by the columns that they
have in common with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain
from math import prod

from mpshell.nodes.indexes import key_index

Column = tuple[int, ...]

#: A box as the passes have it: the number of each of its columns in `_Columns`.
_Box = tuple[int, ...]


def fold_columns(axes: Sequence[Sequence[int]]) -> list[tuple[Column, ...]]:
    """Return boxes that hold exactly the vectors, each given once, whose keys are given axis by axis."""
    values = [set(axis) for axis in axes]
    if prod(map(len, values)) == len(axes[0]):
        # One box, the usual case: it needs no pass.
        return [tuple(tuple(sorted(column)) for column in values)]
    columns = _Columns()
    boxes = _first_boxes(axes, values, columns)
    for join in (_joined_neighbours, _joined):
        count = len(boxes) + 1
        while len(boxes) < count:
            count = len(boxes)
            boxes = join(sorted(boxes, key=columns.order), columns)
    return [tuple(columns.columns[number] for number in box) for box in boxes]


class _Columns:
    """Numbers columns, so that they are compared and looked up as integers."""

    def __init__(self) -> None:
        self.columns: list[Column] = []
        #: Of each column, the order of boxes: the longest first, then by the texts of its ends.
        self._ranks: list[tuple[int, str, str]] = []
        #: Length and sum of each: columns that differ in one of them are not equal.
        self.sums: list[tuple[int, int]] = []
        self._numbers: dict[Column, int] = {}

    def number(self, column: Column) -> int:
        """Return the number of a column of sorted keys."""
        number = self._numbers.setdefault(column, len(self.columns))
        if number == len(self.columns):
            self.columns.append(column)
            self.sums.append((len(column), sum(column)))
            self._ranks.append((-len(column), key_index(column[0]), key_index(column[-1])))
        return number

    def union(self, numbers: Sequence[int]) -> int:
        """Return the number of the column that has the keys of disjoint columns."""
        return self.number(
            tuple(sorted(chain.from_iterable(map(self.columns.__getitem__, numbers))))
        )

    def order(self, box: _Box) -> tuple[int, tuple[tuple[int, str, str], ...]]:
        """Return the sort key of a box: the largest first.  No two disjoint boxes have the same."""
        ranks = tuple([self._ranks[number] for number in box])
        return -abs(prod([rank[0] for rank in ranks])), ranks


def _first_boxes(
    axes: Sequence[Sequence[int]], values: Sequence[set[int]], columns: _Columns
) -> list[_Box]:
    """Return the boxes of the first pass, in which each vector is joined with its neighbour."""
    ordered = [sorted(axis, key=key_index) for axis in values]
    # A vector is one integer, whose digits are the ranks of its keys in the order of their texts.
    scales = [prod(map(len, ordered[axis + 1 :])) for axis in range(len(axes))]
    vectors = [0] * len(axes[0])
    for numbers_of_axis, scale, keys in zip(axes, scales, ordered, strict=True):
        places = {key: place * scale for place, key in enumerate(keys)}
        vectors = [
            vector + places[key] for vector, key in zip(vectors, numbers_of_axis, strict=True)
        ]
    vectors.sort()
    numbers = [[columns.number((key,)) for key in keys] for keys in ordered]
    digits = [(scale, len(keys)) for scale, keys in zip(scales, ordered, strict=True)]

    def box_of(vector: int, axis: int, run: list[int]) -> _Box:
        box = [
            number[vector // scale % size]
            for number, (scale, size) in zip(numbers, digits, strict=True)
        ]
        if run:
            scale, size = digits[axis]
            box[axis] = columns.union([numbers[axis][other // scale % size] for other in run])
        return tuple(box)

    boxes: list[_Box] = []
    first, axis = vectors[0], -1
    run: list[int] = []  # the vectors joined with `first`, and itself, which differ in `axis` alone
    for vector in vectors[1:]:
        if run:
            if _differ_in(axis, vector, first, digits):
                run.append(vector)
                continue
        else:
            # The last axis first: neighbours that differ in one axis mostly differ there.
            for axis in range(len(digits) - 1, -1, -1):
                if _differ_in(axis, vector, first, digits):
                    run = [first, vector]
                    break
            if run:
                continue
        boxes.append(box_of(first, axis, run))
        first, run = vector, []
    boxes.append(box_of(first, axis, run))
    return boxes


def _differ_in(axis: int, one: int, two: int, digits: Sequence[tuple[int, int]]) -> bool:
    """Return whether two vectors are equal except in one axis."""
    scale, size = digits[axis]
    return (one - two) % scale == 0 and one // (scale * size) == two // (scale * size)


def _joined_neighbours(boxes: Sequence[_Box], columns: _Columns) -> list[_Box]:
    """Return sorted boxes, each joined with those that follow it immediately and differ in one axis."""
    found: list[_Box] = []
    current, axis = boxes[0], -1
    parts: list[int] = []  # the columns of `axis`, while `current` is being joined
    for box in boxes[1:]:
        if parts:
            if _with(current, axis, box[axis]) == box:
                parts.append(box[axis])
                continue
            current, parts = _with(current, axis, columns.union(parts)), []
        axis = _one_difference(current, box)
        if axis < 0:
            found.append(current)
            current = box
        else:
            parts = [current[axis], box[axis]]
    found.append(_with(current, axis, columns.union(parts)) if parts else current)
    return found


def _one_difference(one: _Box, two: _Box) -> int:
    """Return the one axis in which two boxes differ, -1 if they differ in several."""
    found = -1
    for axis, (number, other) in enumerate(zip(one, two, strict=True)):
        if number != other:
            if found >= 0:
                return -1
            found = axis
    return found


def _joined(boxes: Sequence[_Box], columns: _Columns) -> list[_Box]:
    """Return sorted boxes, each joined with all that follow it, wherever, and differ in one axis."""
    search = _Search(boxes, columns)
    return [search.joined(place) for place in range(len(boxes)) if not search.gone[place]]


class _Search:
    """Finds the boxes that can be joined with one of theirs."""

    def __init__(self, boxes: Sequence[_Box], columns: _Columns) -> None:
        self._boxes = boxes
        self._columns = columns
        self.gone = [False] * len(boxes)
        #: The places of the boxes that are equal except in an axis.
        self._alike: dict[tuple[int, _Box], list[int]] = {}
        #: Length and sum of the columns in each axis.
        self._sums: set[tuple[int, int, int]] = set()
        for place, box in enumerate(boxes):
            for axis, number in enumerate(box):
                self._alike.setdefault((axis, _without(box, axis)), []).append(place)
                self._sums.add((axis, *columns.sums[number]))

    def joined(self, place: int) -> _Box:
        """Return the box at a place, joined with those that follow it, which are gone."""
        box, after = self._boxes[place], place
        axis, length, total = -1, 0, 0
        parts: list[int] = []  # the columns of `axis`, while the box is being joined
        while True:
            axes: Sequence[int] = (axis,)
            # In another axis it is joined with a box that has just this column, if there is one.  Its
            # union is made only then, as that would take quadratic time for a long column.
            if not parts or (axis, length, total) in self._sums:
                if parts:
                    box, parts = _with(box, axis, self._columns.union(parts)), []
                axes = range(len(box))
            nearest, in_axis = self._nearest(box, axes, after)
            if in_axis < 0:
                return _with(box, axis, self._columns.union(parts)) if parts else box
            self.gone[nearest] = True
            after = nearest
            if not parts:
                axis, parts = in_axis, [box[in_axis]]
                length, total = self._columns.sums[box[in_axis]]
            added = self._boxes[nearest][axis]
            parts.append(added)
            more = self._columns.sums[added]
            length, total = length + more[0], total + more[1]

    def _nearest(self, box: _Box, axes: Sequence[int], after: int) -> tuple[int, int]:
        """Return the next place, after another, of a box that differs in one of the axes, and that axis."""
        nearest, in_axis = len(self._boxes), -1
        for axis in axes:
            places = self._alike.get((axis, _without(box, axis)), ())
            at = bisect_left(places, after + 1)
            while at < len(places) and self.gone[places[at]]:
                at += 1
            if at < len(places) and places[at] < nearest:
                nearest, in_axis = places[at], axis
        return nearest, in_axis


def _without(box: _Box, axis: int) -> _Box:
    return box[:axis] + box[axis + 1 :]


def _with(box: _Box, axis: int, number: int) -> _Box:
    return (*box[:axis], number, *box[axis + 1 :])
