"""Folds vectors of numbers into boxes, the largest first, as ClusterShell orders and cuts them.

A *box* is a column of keys for each axis, and stands for their product.  Called by
`mpshell.nodes.folding` and by `RangeSetND`.  Pure code without global state.

The result is that of ClusterShell's RangeSetND, which is part of its API: programs compare the texts.
There, single vectors are sorted and boxes that differ in one axis are joined, in passes: first each
with its neighbour, as long as that changes something, then each with all that follow.  The boxes of
all passes are disjoint, so the same boxes come out of any order of the vectors.  Here the passes cost
n log n: a box is one integer, and all that may join it are found by the columns that they have in common
with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from math import prod

Column = tuple[int, ...]

#: A box as the passes have it: an integer with a field of bits for each axis, the first axis highest. A field
#: has the number of the column. Two boxes are compared by one operation on integers, in all axes.
_Box = int


def fold_columns(axes: Sequence[Sequence[int]]) -> list[tuple[Column, ...]]:
    """Return boxes that hold exactly the vectors, each given once, whose keys are given axis by axis."""
    values = [set(axis) for axis in axes]
    if prod(map(len, values)) == len(axes[0]):
        # One box, the usual case: it needs no pass.
        return [tuple(tuple(sorted(column)) for column in values)]
    rows = _Rows(axes)
    columns = _Columns(rows.ends(), len(axes[0]), len(axes))
    boxes = rows.joined(columns)
    if len(boxes) < len(axes[0]):
        boxes = _repeated(_joined_neighbours, columns.in_order(boxes), columns)
    return columns.in_boxes(_repeated(_joined, boxes, columns))


def _repeated(
    join: Callable[[Sequence[_Box], _Columns], list[_Box]], boxes: list[_Box], columns: _Columns
) -> list[_Box]:
    """Return sorted boxes after passes over them, until one changes nothing."""
    while len(joined := join(boxes, columns)) < len(boxes):
        boxes = columns.in_order(joined)
    return boxes


class _Rows:
    """The vectors in rows, each of those that differ in the last axis alone."""

    def __init__(self, axes: Sequence[Sequence[int]]) -> None:
        self._bits = max(map(max, axes)).bit_length()
        self._shifts = [self._bits * axis for axis in reversed(range(len(axes) - 1))]
        starts = axes[0]
        for axis in axes[1:-1]:
            starts = [start << self._bits | key for start, key in zip(starts, axis, strict=True)]
        self._other_keys = set().union(*axes[:-1])
        #: The keys in the last axis, by those in all others as one integer.
        self._rows: dict[int, list[int]] = {}
        for start, key in zip(starts, axes[-1], strict=True):
            if start in self._rows:
                self._rows[start].append(key)
            else:
                self._rows[start] = [key]

    def ends(self) -> set[int]:
        """Return the keys that may be alone in a column, or at an end of one."""
        found = self._other_keys
        for keys in self._rows.values():
            if len(keys) > 4:
                keys.sort()
                # Two at each end, as one vector of a row may be joined with another row's.
                found.update(keys[:2], keys[-2:])
            else:
                found.update(keys)
        return found

    def joined(self, columns: _Columns) -> list[_Box]:
        """Return the boxes of the first pass, in which vectors join their neighbours in the order of texts.

        A row is one box, but for its first vector where that is joined with the one before.
        """
        boxes: list[_Box] = []
        alone = -1  # a row of one vector
        parts: list[int] = []  # more columns of `axis`, while it is being joined
        axis = -1
        for row, keys in self._in_order(columns):
            if alone >= 0:
                last = alone & columns.field
                key = columns.columns[last][0]
                if key in keys and (len(keys) == 1 or min(keys, key=str) == key):
                    difference = columns.difference(alone, row | last)
                    if difference >= 0 and (not parts or difference == axis):
                        axis = difference
                        parts.append(row >> columns.shifts[axis] & columns.field)
                        if len(keys) == 1:
                            continue
                        keys.remove(key)
                boxes.append(columns.joined(alone, axis, parts) if parts else alone)
                alone, parts = -1, []
            if len(keys) == 1:
                alone = row | columns.places[keys[0]]
            else:
                boxes.append(row | columns.number(tuple(sorted(keys))))
        if alone >= 0:
            boxes.append(columns.joined(alone, axis, parts) if parts else alone)
        return boxes

    def _in_order(self, columns: _Columns) -> Iterator[tuple[_Box, list[int]]]:
        """Yield the rows in the order of their texts, each as a box without the last axis."""
        places, bits, field = columns.places, columns.bits, (1 << self._bits) - 1
        boxes = [0] * len(self._rows)
        for shift in self._shifts:
            boxes = [
                box << bits | places[start >> shift & field]
                for box, start in zip(boxes, self._rows, strict=True)
            ]
        rows = dict(zip(boxes, self._rows.values(), strict=True))
        return ((row << bits, rows[row]) for row in sorted(rows))


class _Columns:
    """Numbers columns, and has them in boxes.  A column of one key has the place of its text among all keys."""

    def __init__(self, keys: Iterable[int], vectors: int, axes: int) -> None:
        # Each key begins with the same digit, so that their texts have the order of the indexes' texts.
        ordered = sorted(keys, key=str)
        self.places = dict(zip(ordered, range(len(ordered)), strict=True))
        self.columns: list[Column] = [(key,) for key in ordered]
        #: Of each, its length and sum: columns that differ in one of them are not equal.
        self.lengths = [1] * len(ordered)
        self.sums = ordered.copy()
        self._numbers: dict[Column, int] = {}  # of the columns of several keys
        # Each union joins two boxes or more, so that there are fewer unions than vectors.
        self.bits = (len(ordered) + vectors).bit_length()
        self.field = (1 << self.bits) - 1
        #: Of each axis, the place of its field in a box, and the bits of all other fields.
        self.shifts = [self.bits * axis for axis in reversed(range(axes))]
        whole = (1 << self.bits * axes) - 1
        self.others = [whole ^ self.field << shift for shift in self.shifts]
        self.orders = _Orders(self.places, vectors, self.lengths, self.shifts, self.field)

    def in_boxes(self, boxes: Iterable[_Box]) -> list[tuple[Column, ...]]:
        """Return the columns of each box."""
        columns, field, shifts = self.columns, self.field, self.shifts
        return [tuple([columns[box >> shift & field] for shift in shifts]) for box in boxes]

    def in_order(self, boxes: Iterable[_Box]) -> list[_Box]:
        """Return the boxes sorted, the largest first."""
        return sorted(boxes, key=self.orders.__getitem__)

    def number(self, column: Column) -> int:
        """Return the number of a column of several keys, which are sorted."""
        number = self._numbers.setdefault(column, len(self.columns))
        if number == len(self.columns):
            self.columns.append(column)
            self.lengths.append(len(column))
            self.sums.append(sum(column))
            self.orders.add(column)
        return number

    def joined(self, box: _Box, axis: int, parts: Sequence[int]) -> _Box:
        """Return a box that has the keys of more columns in an axis, given by their numbers."""
        own = box >> self.shifts[axis] & self.field
        keys = chain(self.columns[own], *map(self.columns.__getitem__, parts))
        return box & self.others[axis] | self.number(tuple(sorted(keys))) << self.shifts[axis]

    def difference(self, one: _Box, two: _Box) -> int:
        """Return the one axis in which two boxes differ, -1 if they differ in several."""
        bits = one ^ two
        for axis, others in enumerate(self.others):
            if not bits & others:
                return axis
        return -1


class _Orders(dict[_Box, int]):
    """The sort keys of boxes, the largest box first.  No two disjoint boxes have the same.

    Each is computed when it is needed: most boxes are the same in the next pass.
    """

    def __init__(
        self,
        places: Mapping[int, int],
        vectors: int,
        lengths: Sequence[int],
        shifts: Sequence[int],
        field: int,
    ) -> None:
        """Take the places of the texts of keys, and parts of the `_Columns` that this belongs to."""
        super().__init__()
        self._places, self._lengths = places, lengths
        self._shifts, self._field = shifts, field
        self._vectors = vectors
        bits = self._bits = max(len(places), vectors).bit_length()
        #: Of each column, the order in boxes of one size: the longest first, then by the texts of its ends.
        short = vectors - 1 << 2 * bits
        self._ranks = [short | place << bits | place for place in range(len(places))]

    def add(self, column: Column) -> None:
        """Take the column that has the next number."""
        ends = self._places[column[0]] << self._bits | self._places[column[-1]]
        self._ranks.append(self._vectors - len(column) << 2 * self._bits | ends)

    def __missing__(self, box: _Box) -> int:
        size, ranks, width = 1, 0, 3 * self._bits
        for shift in self._shifts:
            number = box >> shift & self._field
            size *= self._lengths[number]
            ranks = ranks << width | self._ranks[number]
        order = self._vectors - size << width * len(self._shifts) | ranks
        self[box] = order
        return order


def _joined_neighbours(boxes: Sequence[_Box], columns: _Columns) -> list[_Box]:
    """Return sorted boxes, each joined with those that follow it immediately and differ in one axis."""
    field = columns.field
    # The last axis first: neighbours that differ in one axis mostly differ there.
    axes = list(zip(count(), columns.shifts, columns.others))[::-1]
    found: list[_Box] = []
    current, axis, shift, others = boxes[0], -1, 0, 0
    parts: list[int] = []  # more columns of `axis`, while `current` is being joined
    for box in islice(boxes, 1, None):
        if parts:
            if not (current ^ box) & others:
                parts.append(box >> shift & field)
                continue
            current, parts = columns.joined(current, axis, parts), []
        difference = current ^ box
        for axis, shift, others in axes:  # noqa: B007 - it is the axis of `parts`
            if not difference & others:
                parts = [box >> shift & field]
                break
        else:
            found.append(current)
            current = box
    found.append(columns.joined(current, axis, parts) if parts else current)
    return found


def _joined(boxes: Sequence[_Box], columns: _Columns) -> list[_Box]:
    """Return sorted boxes, each joined with all that follow it, wherever, and differ in one axis."""
    search = _Search(boxes, columns)
    return [
        search.joined(place) if place in search.shared else box
        for place, box in enumerate(boxes)
        if not search.gone[place]
    ]


class _Search:
    """Finds the boxes that can be joined with one of theirs."""

    def __init__(self, boxes: Sequence[_Box], columns: _Columns) -> None:
        self._boxes = boxes
        self._columns = columns
        self.gone = [False] * len(boxes)
        #: Of each axis, the first place of boxes that are equal except in it, and all places of several such.
        self._alike: list[tuple[dict[_Box, int], dict[_Box, list[int]]]] = []
        places = range(len(boxes))
        for others in columns.others:
            alike = [box & others for box in boxes]
            first = dict(zip(reversed(alike), reversed(places), strict=True))
            several: dict[_Box, list[int]] = {}
            for place in [
                place for place, key in zip(places, alike, strict=True) if first[key] != place
            ]:
                several.setdefault(alike[place], [first[alike[place]]]).append(place)
            self._alike.append((first, several))
        #: The boxes that another one differs from in one axis: no join can begin with any other.
        self.shared = {
            place for _, several in self._alike for places in several.values() for place in places
        }
        #: Length and sum of the columns of several keys in each axis.
        self._sums: set[tuple[int, int, int]] = set()
        if self.shared:
            for axis, shift in enumerate(columns.shifts):
                numbers = {box >> shift & columns.field for box in boxes}
                self._sums.update(
                    (axis, columns.lengths[number], columns.sums[number])
                    for number in numbers
                    if columns.lengths[number] > 1
                )

    def joined(self, place: int) -> _Box:
        """Return the box at a place, joined with those that follow it, which are gone."""
        box, after = self._boxes[place], place
        while (found := self._nearest(box, after))[0] < len(self._boxes):
            box, after = self._joined_in(box, *found)
        return box

    def _nearest(self, box: _Box, after: int) -> tuple[int, int]:
        """Return the next place, after another, of a box that differs in one axis, and that axis."""
        nearest, in_axis = len(self._boxes), -1
        for axis in range(len(self._alike)):
            places = self._places(box, axis)
            at = bisect_left(places, after + 1)
            while at < len(places) and self.gone[places[at]]:
                at += 1
            if at < len(places) and places[at] < nearest:
                nearest, in_axis = places[at], axis
        return nearest, in_axis

    def _places(self, box: _Box, axis: int) -> Sequence[int]:
        """Return the places of the boxes that are equal to one except in an axis."""
        first, several = self._alike[axis]
        alike = box & self._columns.others[axis]
        if alike in several:
            return several[alike]
        return (first[alike],) if alike in first else ()

    def _joined_in(self, box: _Box, place: int, axis: int) -> tuple[_Box, int]:
        """Return a box joined in an axis with the one at a place and those after it, and the place of the last.

        Only a box that has the very column can be joined with it in another axis: as long as there is none,
        no other axis is looked at, and no union made, which would take quadratic time for a long column.
        """
        columns, shift = self._columns, self._columns.shifts[axis]
        places = self._places(box, axis)
        own = box >> shift & columns.field
        length, total = columns.lengths[own], columns.sums[own]
        parts: list[int] = []
        for at in range(bisect_left(places, place), len(places)):
            if self.gone[places[at]]:
                continue
            place = places[at]
            self.gone[place] = True
            added = self._boxes[place] >> shift & columns.field
            parts.append(added)
            length, total = length + columns.lengths[added], total + columns.sums[added]
            if (axis, length, total) in self._sums:
                break
        return columns.joined(box, axis, parts), place
