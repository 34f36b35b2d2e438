"""`RangeSet`, a mutable set of node indexes such as ``1-3,05-09/2``.

It is for users; node sets need only the functions of `mpshell.nodes.indexes`, which also defines
an index.  Pure code without global state: it may run in any process and any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from collections.abc import Set as AbstractSet
from typing import Any, Self, overload

from mpshell.nodes.autostep import Stepped
from mpshell.nodes.indexes import (
    AUTOSTEP_DISABLED,
    MAX_INDEXES,
    RangeSetError,
    RangeSetException,
    RangeSetPaddingError,
    RangeSetParseError,
    check_autostep,
    chunks,
    contiguous,
    fold_keys,
    index_key,
    is_padded,
    key_index,
    known_autostep,
    parse_indexes,
    spans,
)

__all__ = [
    "AUTOSTEP_DISABLED",
    "MAX_INDEXES",
    "RangeSet",
    "RangeSetError",
    "RangeSetException",
    "RangeSetPaddingError",
    "RangeSetParseError",
]

Indexes = str | Iterable[str | int] | None
"""The forms of a set of indexes that a method takes: a text, single indexes, or nothing."""


def _one_index(element: str | int, pad: int = 0) -> str:
    """Return an index filled with zeros to a width of `pad`, or raise RangeSetParseError."""
    if not isinstance(element, (str, int)):
        raise TypeError(f"an index is a string or an integer, not {element!r}")
    index = str(element)
    if not (index.isascii() and index.isdigit()):
        raise RangeSetParseError(index, "cannot convert string to integer")
    return index.zfill(pad)


def _check_set(other: object) -> None:
    """Raise the TypeError of an operator that takes sets only, as in ClusterShell."""
    if not isinstance(other, AbstractSet):
        raise TypeError(f"an operator of a RangeSet takes another set, not {other!r}")


def _indexes_of(source: Indexes) -> AbstractSet[str]:
    """Return the indexes of a text, a range set, an iterable or None."""
    if source is None:
        return frozenset()
    if isinstance(source, str):
        return set(parse_indexes(source))
    if isinstance(source, RangeSet):
        return source._items
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        raise TypeError(f"not a set of indexes: {source!r}")
    return {_one_index(element) for element in source}


class RangeSet(Stepped, MutableSet[str]):
    """A mutable set of indexes, iterated in order of width, then of value.

    Elements are strings; wherever one is taken, an int stands for its unpadded text.
    """

    __slots__ = ("_items",)

    def __init__(self, pattern: Indexes = None, autostep: float | None = None) -> None:
        """Take a text such as ``1-3,05``, single indexes, or nothing."""
        self._autostep = check_autostep(autostep)
        self._items: set[str] = set(_indexes_of(pattern))

    @classmethod
    def fromlist(cls, rnglist: Iterable[Indexes], autostep: float | None = None) -> Self:
        """Return the union of texts and range sets."""
        result = cls(autostep=autostep)
        result.updaten(rnglist)
        return result

    @classmethod
    def fromone(cls, index: str | int | slice, pad: int = 0, autostep: float | None = None) -> Self:
        """Return the set of one index, or of the indexes of a slice whose stop is given."""
        result = cls(autostep=autostep)
        if not isinstance(index, slice):
            result.add(index, pad)
        elif not isinstance(index.stop, int):
            raise ValueError(f"a slice of indexes needs a stop: {index!r}")
        else:
            result.add_range(index.start or 0, index.stop, index.step or 1, pad)
        return result

    @classmethod
    def _of(cls, items: Iterable[str], autostep: float | None) -> Self:
        """Return a set of indexes that are known to be good."""
        result = cls(autostep=autostep)
        result._items.update(items)
        return result

    @property
    def padding(self) -> int | None:
        """The greatest width of an index with leading zeros; None if there is none."""
        return max((len(item) for item in self._items if is_padded(item)), default=None)

    @padding.setter
    def padding(self, width: int | None) -> None:
        """Fill each value with zeros to a width, in place of its present ones; None: without zeros."""
        if width is not None and not isinstance(width, int):
            raise TypeError(f"a width is an int or None, not {width!r}")
        self._items = {_one_index(value, width or 0) for value in self.intiter()}

    def dim(self) -> int:
        """Return the number of dimensions: 1, or 0 if the set is empty."""
        return 1 if self._items else 0

    def _keys(self) -> list[int]:
        return sorted(map(index_key, self._items))

    def _sorted(self) -> list[str]:
        return list(map(key_index, self._keys()))

    def __str__(self) -> str:
        """Return the folded text."""
        return fold_keys(self._keys(), self._autostep)

    def __repr__(self) -> str:
        """Return the class and the folded text."""
        return f"{type(self).__name__}({str(self)!r})"

    def __len__(self) -> int:
        """Return the number of indexes."""
        return len(self._items)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the indexes, sorted."""
        return iter(self._sorted())

    striter = __iter__

    def intiter(self) -> Iterator[int]:
        """Iterate over the values of the sorted indexes: "05" and "5" both give 5."""
        return map(int, self._sorted())

    def slices(self) -> Iterator[slice]:
        """Yield a slice of values for each range of the folded text."""
        for first, last, step in spans(self._keys(), self._autostep):
            yield slice(int(key_index(first)), int(key_index(last)) + 1, step)

    def contiguous(self) -> Iterator[Self]:
        """Yield a set for each range of step 1."""
        for first, last in contiguous(self._keys()):
            yield self._of(parse_indexes(f"{key_index(first)}-{key_index(last)}"), self._autostep)

    def split(self, nbr: int) -> Iterator[Self]:
        """Return at most `nbr` sets in order, of sizes that differ by one at most."""
        return (self._of(part, self._autostep) for part in chunks(self._sorted(), nbr))

    def index(self, elem: str | int, start: int = 0, stop: int | None = None) -> int:
        """Return the position of an index in the sorted order; raise ValueError if absent."""
        items = self._sorted()
        try:
            return items.index(str(elem), start, len(items) if stop is None else stop)
        except ValueError:
            raise ValueError(f"{elem} is not in RangeSet") from None

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> str | Self:
        """Return the index at a position, or the set of those at a slice."""
        if isinstance(index, slice):
            return self._of(self._sorted()[index], self._autostep)
        if not isinstance(index, int):
            raise TypeError(f"RangeSet positions are integers or slices, not {index!r}")
        return self._sorted()[index]

    def __contains__(self, element: object) -> bool:
        """Return whether one index, or each index of a set, is in this set."""
        if isinstance(element, (RangeSet, set, frozenset)):
            return all(item in self for item in element)
        return (str(element) if isinstance(element, int) else element) in self._items

    def copy(self) -> Self:
        """Return an independent copy."""
        return self._of(self._items, self._autostep)

    __copy__ = copy

    # Changes in place.

    def add(self, element: str | int, pad: int = 0) -> None:
        """Add one index, filled with zeros to a width of `pad`."""
        self._items.add(_one_index(element, pad))

    def add_range(self, start: int, stop: int, step: int = 1, pad: int = 0) -> None:
        """Add range(start, stop, step), filled with zeros to a width of `pad`."""
        if not (0 <= start < stop and step > 0):
            raise ValueError(f"not an ascending range of indexes: {start}, {stop}, {step}")
        if (stop - start - 1) // step + 1 > MAX_INDEXES:
            raise ValueError(f"more than {MAX_INDEXES:,} indexes: {start}, {stop}, {step}")
        self._items.update(f"{number:0{pad}d}" for number in range(start, stop, step))

    def remove(self, element: str | int, pad: int = 0) -> None:
        """Remove one index; raise KeyError if it is absent, or no index at all."""
        self._items.remove(str(element).zfill(pad))

    def discard(self, element: str | int, pad: int = 0) -> None:
        """Remove one index if it is there."""
        self._items.discard(str(element).zfill(pad))

    def clear(self) -> None:
        """Remove every index."""
        self._items.clear()

    def update(self, iterable: Indexes) -> None:
        """Add the indexes of a text, a range set or an iterable."""
        self._items.update(_indexes_of(iterable))

    union_update = update

    def updaten(self, rangesets: Iterable[Indexes]) -> None:
        """Add the indexes of several texts or range sets."""
        for other in rangesets:
            self.update(other)

    def intersection_update(self, other: Indexes) -> None:
        """Keep only the members that are in `other` too."""
        self._items.intersection_update(_indexes_of(other))

    def difference_update(self, other: Indexes, strict: bool = False) -> None:
        """Remove the members of `other`; with `strict`, raise KeyError if some of it is absent."""
        items = _indexes_of(other)
        if strict:
            for item in items:
                if item not in self._items:
                    raise KeyError(item)
        self._items.difference_update(items)

    def symmetric_difference_update(self, other: Indexes) -> None:
        """Keep the members of exactly one of both."""
        self._items.symmetric_difference_update(_indexes_of(other))

    # The same, each as a new set.

    def union(self, other: Indexes) -> Self:
        """Return the members of either."""
        return self._of(self._items | _indexes_of(other), self._autostep)

    def intersection(self, other: Indexes) -> Self:
        """Return the members of both."""
        return self._of(self._items & _indexes_of(other), self._autostep)

    def difference(self, other: Indexes) -> Self:
        """Return the members that are not in `other`."""
        return self._of(self._items - _indexes_of(other), self._autostep)

    def symmetric_difference(self, other: Indexes) -> Self:
        """Return the members of exactly one of both."""
        return self._of(self._items ^ _indexes_of(other), self._autostep)

    # Operators take sets only: a text beside one is more likely a slip than a pattern.

    def __or__(self, other: AbstractSet[Any]) -> Self:
        return self.union(other) if isinstance(other, AbstractSet) else NotImplemented

    def __and__(self, other: AbstractSet[Any]) -> Self:
        return self.intersection(other) if isinstance(other, AbstractSet) else NotImplemented

    def __sub__(self, other: AbstractSet[Any]) -> Self:
        return self.difference(other) if isinstance(other, AbstractSet) else NotImplemented

    def __xor__(self, other: AbstractSet[Any]) -> Self:
        return (
            self.symmetric_difference(other) if isinstance(other, AbstractSet) else NotImplemented
        )

    def __ior__(self, other: AbstractSet[Any]) -> Self:
        _check_set(other)
        self.update(other)
        return self

    def __iand__(self, other: AbstractSet[Any]) -> Self:
        _check_set(other)
        self.intersection_update(other)
        return self

    def __isub__(self, other: AbstractSet[Any]) -> Self:
        _check_set(other)
        self.difference_update(other)
        return self

    def __ixor__(self, other: AbstractSet[Any]) -> Self:
        _check_set(other)
        self.symmetric_difference_update(other)
        return self

    def __lt__(self, other: AbstractSet[Any]) -> bool:
        _check_set(other)
        return super().__lt__(other)

    def __le__(self, other: AbstractSet[Any]) -> bool:
        _check_set(other)
        return super().__le__(other)

    def __gt__(self, other: AbstractSet[Any]) -> bool:
        _check_set(other)
        return super().__gt__(other)

    def __ge__(self, other: AbstractSet[Any]) -> bool:
        _check_set(other)
        return super().__ge__(other)

    def issubset(self, other: Indexes) -> bool:
        """Return whether each index is in `other`."""
        return self._items <= _indexes_of(other)

    def issuperset(self, other: Indexes) -> bool:
        """Return whether each index of `other` is in this set."""
        return self._items >= _indexes_of(other)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RangeSet):
            return self._items == other._items
        return self._items == other if isinstance(other, AbstractSet) else NotImplemented

    def __setstate__(self, state: Any) -> None:
        """Take the state that pickle keeps of a set, also of ClusterShell's class of the name."""
        if isinstance(state, tuple):
            self._autostep, self._items = state[1]["_autostep"], state[1]["_items"]
            return
        # A set of 1.6 or later already has its indexes.
        if "_ranges" in state:
            self._items = set()
            for kept in state["_ranges"]:
                self._add_kept(kept)
        elif state.get("padding") and state.get("_version", 0) < 4:
            self.padding = state["padding"]
        self._autostep = known_autostep(state.get("_autostep"), less=1)

    def _add_kept(self, kept: tuple[Any, ...]) -> None:
        """Add a range as ClusterShell 1.3 (with its last index) to 1.5 (without) has kept it."""
        if len(kept) == 4:
            start, last, step, pad = kept
            stop = last + 1
        else:
            span, pad = kept
            start, stop, step = (
                (span.start, span.stop, span.step) if isinstance(span, slice) else span
            )
        self.add_range(start, stop, step or 1, pad or 0)
