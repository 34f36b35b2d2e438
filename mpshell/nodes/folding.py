"""Own the order of node names and their folding: names in, sorted names or boxes or text out.

Called by `mpshell.nodeset`.  Pure code without global state: it may run in any process and any
thread.

A name such as ``r2n05`` has the *pattern* ``r?n?``, where ``?`` (here; NUL in the code, which no
name holds) marks a number, and the *vector* of the keys of its numbers, (12, 105).  A *box* is a
pattern with a column of sorted keys for each number: it stands for their product.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import product

from mpshell.nodes.boxes import Column, fold_columns
from mpshell.nodes.indexes import contiguous, fold_keys, index_key, key_index
from mpshell.nodes.parser import NodeSetParseError

_NUMBER = re.compile(r"[0-9]+")
_MARK = "\0"

Box = tuple[str, tuple[Column, ...]]


def sort_names(names: Collection[str]) -> list[str]:
    """Return the names in order of pattern, then of their numbers, each once."""
    result: list[str] = []
    for pattern, group in _by_pattern(names):
        numbers = pattern.count(_MARK)
        if numbers == 0:
            result.append(pattern)
        else:
            named = dict(zip(_ranks(group, numbers), group, strict=True))
            result += [named[rank] for rank in sorted(named)]
    return result


def fold_names(names: Collection[str], distinct: bool = True) -> list[Box]:
    """Return the boxes of the names, in order of pattern, then as `fold_columns` has them.

    `distinct` means that no name occurs twice, which saves a check of each.
    """
    boxes: list[Box] = []
    for pattern, group in _by_pattern(names):
        numbers = pattern.count(_MARK)
        if numbers == 0:
            boxes.append((pattern, ()))
        elif numbers == 1:
            keys = _keys(group)
            boxes.append((pattern, (tuple(sorted(keys if distinct else set(keys))),)))
        else:
            different = group if distinct else list(dict.fromkeys(group))
            boxes += [(pattern, columns) for columns in _fold_vectors(different, numbers)]
    return boxes


def box_text(box: Box, autostep: float | None) -> str:
    """Return the text of a box, such as ``r[1-2]n05``."""
    pattern, columns = box
    literals = pattern.split(_MARK)
    text = literals[0]
    for column, literal in zip(columns, literals[1:], strict=True):
        # Most columns have one key where there are many boxes.
        if len(column) == 1:
            text += key_index(column[0]) + literal
        else:
            text += f"[{fold_keys(column, autostep)}]{literal}"
    return text


def box_texts(box: Box, autostep: float | None, fold_axis: Iterable[int]) -> Iterator[str]:
    """Yield texts of a box that are folded in some of its numbers only: the first is 0, the last -1."""
    pattern, columns = box
    count = len(columns)
    folded = {axis if axis >= 0 else count + axis for axis in fold_axis}
    parts = [
        [column] if axis in folded else [(key,) for key in column]
        for axis, column in enumerate(columns)
    ]
    # The first number changes fastest, as in ClusterShell.
    for chosen in product(*reversed(parts)):
        yield box_text((pattern, chosen[::-1]), autostep)


def contiguous_texts(box: Box) -> Iterator[str]:
    """Yield the text of each part of a box whose columns are ranges of step 1."""
    pattern, columns = box
    head, *literals = pattern.split(_MARK)
    ranges = [
        [(key_index(first), key_index(last)) for first, last in contiguous(column)]
        for column in columns
    ]
    for pairs in product(*ranges):
        yield head + "".join(
            (first if first == last else f"[{first}-{last}]") + literal
            for (first, last), literal in zip(pairs, literals, strict=True)
        )


def _by_pattern(names: Collection[str]) -> list[tuple[str, list[str]]]:
    """Return the patterns, sorted, each with its names in the order given."""
    # One substitution in one long text is several times faster than one per name.
    patterns = _NUMBER.sub(_MARK, "\n".join(names)).split("\n") if names else []
    if len(set(patterns)) == 1:
        return [(patterns[0], list(names))]
    groups: dict[str, list[str]] = {}
    for pattern, name in zip(patterns, names, strict=True):
        if pattern in groups:
            groups[pattern].append(name)
        else:
            groups[pattern] = [name]
    # A number comes where ClusterShell's patterns have ``%s``: after a blank, before letters.
    return sorted(groups.items(), key=lambda item: item[0].replace(_MARK, "%"))


def _keys(names: Sequence[str]) -> list[int]:
    """Return the keys of all numbers in the names, one after the other."""
    numbers = _NUMBER.findall("\n".join(names))
    try:
        return list(map(index_key, numbers))
    except ValueError as error:
        # The interpreter reads no integers of more than a few thousand digits.
        raise NodeSetParseError(max(numbers, key=len), "number too long") from error


def _ranks(names: Sequence[str], numbers: int) -> list[int]:
    """Return an integer for each name of one pattern, in the order of their vectors.

    Integers, rather than tuples, sort faster and cost the garbage collector nothing.
    """
    keys = _keys(names)
    ranks = keys[::numbers]
    for axis in range(1, numbers):
        column = keys[axis::numbers]
        scale = 10 ** len(str(max(column)))
        ranks = [rank * scale + key for rank, key in zip(ranks, column, strict=True)]
    return ranks


def _fold_vectors(names: Sequence[str], numbers: int) -> list[tuple[Column, ...]]:
    """Return the columns of boxes that hold the names of one pattern exactly."""
    keys = _keys(names)
    return fold_columns([keys[axis::numbers] for axis in range(numbers)])
