"""`RangeSetND`, a mutable set of vectors of indexes, for instance the numbers of ``a1b02``.

Node sets do not need it: it is for programs that use such indexes themselves, and for `NodeSetBase`.
Pure code without global state: it may run in any process and any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, Self, overload

from mpshell.nodes.algebra import DictSet
from mpshell.nodes.autostep import Stepped
from mpshell.nodes.boxes import Column, fold_columns
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
"""Vectors as methods take them: each is a sequence with a text, an int or a RangeSet for each axis."""


class RangeSetND(Stepped, DictSet[Vector, "RangeSetND | Vectors", "RangeSetND"]):
    """A mutable set of vectors of indexes, iterated in the order of its folded vectors, the largest first.

    All vectors have the same number of axes.  Methods take a RangeSetND or `Vectors`; operators take a
    RangeSetND only.
    """

    __slots__ = ("_folded", "_vectors")

    _vectors: dict[Vector, None]
    _folded: list[tuple[Column, ...]] | None  # None: to be folded

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
        self._replace({})
        if args is not None:
            self._join(self._vectors_of(args, pads or ()))

    def _members(self) -> dict[Vector, None]:
        return self._vectors

    def _members_of(self, other: RangeSetND | Vectors) -> dict[Vector, None]:
        return self._vectors_of(other)

    def _is_set(self, other: object) -> bool:
        return isinstance(other, RangeSetND)

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

    def _replace(self, members: dict[Vector, None]) -> None:
        self._vectors, self._folded = members, None

    def _join(self, members: dict[Vector, None]) -> None:
        lengths = {len(vector) for vector in (*members, *list(self._vectors)[:1])}
        if len(lengths) > 1:
            raise RangeSetError(
                f"vectors of different lengths: {', '.join(map(str, sorted(lengths)))}"
            )
        super()._join(members)

    def _new(self, vectors: Iterable[Vector]) -> Self:
        result = type(self)(autostep=self._autostep)
        result._vectors = dict.fromkeys(vectors)
        return result

    def _boxes(self) -> list[tuple[Column, ...]]:
        if self._folded is None:
            axes = zip(*self._vectors, strict=True)
            keys = [list(map(index_key, axis)) for axis in axes]
            self._folded = fold_columns(keys) if keys else []
        return self._folded

    def _ordered(self) -> list[Vector]:
        vectors: list[Vector] = []
        for columns in self._boxes():
            vectors += product(*[list(map(key_index, column)) for column in columns])
        return vectors

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
        """Do nothing: the set is folded when it is shown or iterated over."""

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
        """Iterate over the vectors, in the order of the folded ones."""
        return iter(self._ordered())

    def iter_padding(self) -> Iterator[tuple[Vector, list[int | None]]]:
        """Yield each vector with the padding (see `RangeSet.padding`) of the axes of its folded one."""
        for vector in self.vectors():
            pads = [axis.padding for axis in vector]
            for indexes in product(*vector):
                yield indexes, pads

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
            return self._new(self._ordered()[index])
        if not isinstance(index, int):
            raise TypeError(f"RangeSetND positions are integers or slices, not {index!r}")
        return self._ordered()[index]

    def index(self, elem: Sequence[str | int], start: int = 0, stop: int | None = None) -> int:
        """Return the position of a vector in the order of iteration; raise ValueError if absent."""
        if isinstance(elem, str) or not isinstance(elem, Sequence):
            raise TypeError(f"a vector is a sequence of indexes, not {elem!r}")
        order = self._ordered()
        try:
            return order.index(tuple(map(str, elem)), start, len(order) if stop is None else stop)
        except ValueError:
            raise ValueError(f"{elem!r} is not in RangeSetND") from None

    def __contains__(self, element: object) -> bool:
        """Return whether the set has one vector, each vector of a set, or with one axis a single index."""
        if isinstance(element, RangeSetND):
            return self.issuperset(element)
        if isinstance(element, (str, int)):
            return (str(element),) in self._vectors
        return isinstance(element, Sequence) and tuple(map(str, element)) in self._vectors

    def copy(self) -> Self:
        """Return an independent copy."""
        return self._new(self._vectors)

    __copy__ = copy

    union_update = DictSet.update

    def __getstate__(self) -> dict[str, Any]:
        """Return the state that pickle keeps."""
        return {"_autostep": self._autostep, "_vectors": self._vectors}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state that `__getstate__`, or ClusterShell's class of the name, has returned."""
        self._replace({})
        if "_vectors" in state:
            self._autostep, self._vectors = state["_autostep"], state["_vectors"]
        else:
            self._autostep = known_autostep(state.get("_autostep"), less=1)
            self._join(self._vectors_of(state["_veclist"]))


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
