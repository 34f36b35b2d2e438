"""Own `RangeSetND`, a mutable set of vectors of indexes, such as the numbers of ``a1b02`` are.

Node sets do not need it: it is for programs that have such indexes themselves, and for `NodeSetBase`.
Pure code without global state: it may run in any process and any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, Self, overload

from mpshell.nodes.folding import Column, fold_columns
from mpshell.nodes.indexes import (
    MAX_INDEXES,
    RangeSetError,
    RangeSetParseError,
    check_autostep,
    contiguous,
    fold_keys,
    index_key,
    is_padded,
    key_index,
    known_autostep,
    parse_indexes,
)
from mpshell.rangeset import RangeSet

Vector = tuple[str, ...]

Vectors = Iterable[Sequence[Any]]
"""What a method takes for vectors: each is a sequence with a text, an int or a RangeSet for each axis."""


class RangeSetND:
    """A mutable set of vectors of indexes, iterated in the order of the axes, each by width and value.

    All vectors have the same number of axes.  Methods take a RangeSetND or `Vectors`; operators take a
    RangeSetND only.
    """

    __slots__ = ("_autostep", "_vectors")

    _vectors: dict[Vector, None]

    def __init__(
        self,
        args: RangeSetND | Vectors | None = None,
        pads: Sequence[int] | None = None,
        autostep: float | None = None,
        copy_rangeset: bool = True,
    ) -> None:
        """Take vectors; one with several indexes in an axis stands for each combination.

        `pads` has the width to which integers of each axis are filled with zeros.  `copy_rangeset` has no
        effect.  Raise RangeSetError for vectors of different lengths, RangeSetParseError for a bad text.
        """
        self._autostep = check_autostep(autostep)
        self._vectors = {}
        if args is not None:
            self._add(self._vectors_of(args, pads or ()))

    def _vectors_of(
        self, source: RangeSetND | Vectors, pads: Sequence[int] = ()
    ) -> dict[Vector, None]:
        if isinstance(source, RangeSetND):
            return source._vectors
        found: dict[Vector, None] = {}
        for vector in source:
            if isinstance(vector, str) or not isinstance(vector, Sequence):
                raise TypeError(f"a vector is a sequence of indexes, not {vector!r}")
            axes = [
                _indexes(element, pads[axis] if axis < len(pads) else 0)
                for axis, element in enumerate(vector)
            ]
            if prod(map(len, axes)) > MAX_INDEXES:
                raise RangeSetParseError(str(vector), f"more than {MAX_INDEXES:,} vectors")
            if axes:
                found.update(dict.fromkeys(product(*axes)))
        return found

    def _add(self, vectors: dict[Vector, None]) -> None:
        lengths = {len(vector) for vector in (*vectors, *list(self._vectors)[:1])}
        if len(lengths) > 1:
            raise RangeSetError(
                f"vectors of different lengths: {', '.join(map(str, sorted(lengths)))}"
            )
        self._vectors.update(vectors)

    def _new(self, vectors: Iterable[Vector]) -> Self:
        result = type(self)(autostep=self._autostep)
        result._vectors = dict.fromkeys(vectors)
        return result

    def _sorted(self) -> list[Vector]:
        return sorted(self._vectors, key=lambda vector: [index_key(index) for index in vector])

    def _boxes(self) -> list[tuple[Column, ...]]:
        if not self._vectors:
            return []
        return fold_columns(
            [list(map(index_key, axis)) for axis in zip(*self._vectors, strict=True)]
        )

    @property
    def autostep(self) -> float | None:
        """The least number of indexes that fold with a step; None: never."""
        return self._autostep

    @autostep.setter
    def autostep(self, value: float | None) -> None:
        self._autostep = check_autostep(value)

    def dim(self) -> int:
        """Return the number of axes, 0 for an empty set."""
        return len(next(iter(self._vectors), ()))

    def pads(self) -> tuple[int, ...]:
        """Return the greatest width of an index with leading zeros for each axis, 0 where there is none."""
        return tuple(
            max((len(index) for index in axis if is_padded(index)), default=0)
            for axis in zip(*self._vectors, strict=True)
        )

    def fold(self) -> None:
        """Do nothing: the set is folded whenever it is shown."""

    def vectors(self) -> Iterator[list[RangeSet]]:
        """Yield the folded vectors, each a list with a RangeSet for each axis."""
        for columns in self._boxes():
            yield [RangeSet(map(key_index, column), self._autostep) for column in columns]

    def __str__(self) -> str:
        """Return a line for each folded vector."""
        return "".join(
            "; ".join(fold_keys(column, self._autostep) for column in columns) + "\n"
            for columns in self._boxes()
        )

    def __repr__(self) -> str:
        """Return the class and the folded vectors."""
        texts = [[fold_keys(column) for column in columns] for columns in self._boxes()]
        return f"{type(self).__name__}({texts!r})"

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._vectors)

    def __iter__(self) -> Iterator[Vector]:
        """Iterate over the vectors, sorted."""
        return iter(self._sorted())

    def contiguous(self) -> Iterator[Self]:
        """Yield a set for each part that has one range of step 1 in each axis."""
        for columns in self._boxes():
            for part in product(*map(contiguous, columns)):
                axes = [parse_indexes(f"{key_index(a)}-{key_index(b)}") for a, b in part]
                yield self._new(product(*axes))

    @overload
    def __getitem__(self, index: int) -> Vector: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Vector | Self:
        """Return the vector at a position, or the set of those at a slice."""
        if isinstance(index, slice):
            return self._new(self._sorted()[index])
        if not isinstance(index, int):
            raise TypeError(f"RangeSetND positions are integers or slices, not {index!r}")
        return self._sorted()[index]

    def index(self, elem: Sequence[str | int], start: int = 0, stop: int | None = None) -> int:
        """Return the position of a vector in the sorted order; raise ValueError if absent."""
        if isinstance(elem, str) or not isinstance(elem, Sequence):
            raise TypeError(f"a vector is a sequence of indexes, not {elem!r}")
        order = self._sorted()
        try:
            return order.index(tuple(map(str, elem)), start, len(order) if stop is None else stop)
        except ValueError:
            raise ValueError(f"{elem!r} is not in RangeSetND") from None

    def __contains__(self, element: object) -> bool:
        """Tell whether one vector, each of a set, or in one axis a single index is here."""
        if isinstance(element, RangeSetND):
            return self.issuperset(element)
        if isinstance(element, (str, int)):
            return (str(element),) in self._vectors
        return isinstance(element, Sequence) and tuple(map(str, element)) in self._vectors

    def copy(self) -> Self:
        """Return an independent copy."""
        return self._new(self._vectors)

    __copy__ = copy

    # Changes in place.

    def clear(self) -> None:
        """Remove every vector."""
        self._vectors = {}

    def update(self, other: RangeSetND | Vectors) -> None:
        """Add vectors."""
        self._add(self._vectors_of(other))

    union_update = update

    def intersection_update(self, other: RangeSetND | Vectors) -> None:
        """Keep only what is in `other` too."""
        kept = self._vectors_of(other)
        self._vectors = {vector: None for vector in self._vectors if vector in kept}

    def difference_update(self, other: RangeSetND | Vectors, strict: bool = False) -> None:
        """Remove what is in `other`; with `strict`, raise KeyError, and remove none, if some is absent."""
        gone = self._vectors_of(other)
        if strict:
            for vector in gone:
                if vector not in self._vectors:
                    raise KeyError(vector)
        self._vectors = {vector: None for vector in self._vectors if vector not in gone}

    def symmetric_difference_update(self, other: RangeSetND | Vectors) -> None:
        """Keep what is in exactly one of both."""
        others = self._vectors_of(other)
        added = {vector: None for vector in others if vector not in self._vectors}
        self.difference_update(other)
        self._add(added)

    # The same, each as a new set.

    def union(self, other: RangeSetND | Vectors) -> Self:
        """Return what is in one of both."""
        result = self.copy()
        result.update(other)
        return result

    def intersection(self, other: RangeSetND | Vectors) -> Self:
        """Return what is in both."""
        result = self.copy()
        result.intersection_update(other)
        return result

    def difference(self, other: RangeSetND | Vectors) -> Self:
        """Return what is not in `other`."""
        result = self.copy()
        result.difference_update(other)
        return result

    def symmetric_difference(self, other: RangeSetND | Vectors) -> Self:
        """Return what is in exactly one of both."""
        result = self.copy()
        result.symmetric_difference_update(other)
        return result

    def issubset(self, other: RangeSetND | Vectors) -> bool:
        """Tell whether each vector is in `other`."""
        return self._vectors.keys() <= self._vectors_of(other).keys()

    def issuperset(self, other: RangeSetND | Vectors) -> bool:
        """Tell whether each vector of `other` is here."""
        return self._vectors.keys() >= self._vectors_of(other).keys()

    def __or__(self, other: RangeSetND) -> Self:
        return self.union(other) if isinstance(other, RangeSetND) else NotImplemented

    def __and__(self, other: RangeSetND) -> Self:
        return self.intersection(other) if isinstance(other, RangeSetND) else NotImplemented

    def __sub__(self, other: RangeSetND) -> Self:
        return self.difference(other) if isinstance(other, RangeSetND) else NotImplemented

    def __xor__(self, other: RangeSetND) -> Self:
        return self.symmetric_difference(other) if isinstance(other, RangeSetND) else NotImplemented

    def __ior__(self, other: RangeSetND) -> Self:
        if not isinstance(other, RangeSetND):
            return NotImplemented
        self.update(other)
        return self

    def __iand__(self, other: RangeSetND) -> Self:
        if not isinstance(other, RangeSetND):
            return NotImplemented
        self.intersection_update(other)
        return self

    def __isub__(self, other: RangeSetND) -> Self:
        if not isinstance(other, RangeSetND):
            return NotImplemented
        self.difference_update(other)
        return self

    def __ixor__(self, other: RangeSetND) -> Self:
        if not isinstance(other, RangeSetND):
            return NotImplemented
        self.symmetric_difference_update(other)
        return self

    def __eq__(self, other: object) -> bool:
        return self._vectors == other._vectors if isinstance(other, RangeSetND) else NotImplemented

    def __le__(self, other: RangeSetND) -> bool:
        return self.issubset(other) if isinstance(other, RangeSetND) else NotImplemented

    def __lt__(self, other: RangeSetND) -> bool:
        return self <= other and self != other if isinstance(other, RangeSetND) else NotImplemented

    def __ge__(self, other: RangeSetND) -> bool:
        return self.issuperset(other) if isinstance(other, RangeSetND) else NotImplemented

    def __gt__(self, other: RangeSetND) -> bool:
        return self >= other and self != other if isinstance(other, RangeSetND) else NotImplemented

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickle keeps."""
        return {"_autostep": self._autostep, "_vectors": self._vectors}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__getstate__`, or ClusterShell's class of the name, has returned."""
        self._vectors = {}
        if "_vectors" in state:
            self._autostep, self._vectors = state["_autostep"], state["_vectors"]
        else:
            self._autostep = known_autostep(state.get("_autostep"), less=1)
            self._add(self._vectors_of(state["_veclist"]))


def _indexes(element: Any, pad: int) -> list[str]:
    """Return the indexes of one axis of a vector."""
    if isinstance(element, str):
        return parse_indexes(element)
    if isinstance(element, RangeSet):
        return list(element)
    if isinstance(element, int) and element >= 0:
        return [str(element).zfill(pad)]
    raise TypeError(
        f"an axis of a vector is a text, an int from 0 on or a RangeSet, not {element!r}"
    )
