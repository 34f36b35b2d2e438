"""Own `NodeSetBase`, a mutable set of node names that takes no texts: what node sets have in common.

`mpshell.nodeset` adds the syntax and the groups.  Pure code without global state: it may run in any
process and any thread, but one set belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Self, cast, overload

from mpshell.defaults import DEFAULTS
from mpshell.nodes.folding import box_text, box_texts, contiguous_texts, fold_names, sort_names
from mpshell.nodes.indexes import check_autostep, chunks, known_autostep
from mpshell.nodes.parser import parse_sorted

Nodes = str | Iterable[str]
"""What the methods of a NodeSet take for nodes: a text, a node set, or any iterable of texts."""

Names = tuple[dict[str, None], list[str] | None]
"""The names of nodes and, where they are known to be in order, the same as a list."""


class NodeSetBase:
    """A mutable set of node names, iterated in order of pattern, then of numbers.

    Its methods take other sets, and None for no node.
    """

    # A dict stands for the set of names because it keeps the order in which they came, mostly the
    # sorted one: sorting is then nearly free, and walking a long one stays kind to the cache.  Of a set
    # whose order is known it is made when it is needed: that takes longer than to parse the names.
    __slots__ = ("_autostep", "_fold_axis", "_index", "_order")

    _index: dict[str, None] | None  # the names; None: those of the order, which is known then
    _fold_axis: tuple[int, ...] | None
    _order: list[str] | None  # the names, sorted; None: not yet known; never changed in place

    def __init__(
        self,
        pattern: str | None = None,
        rangeset: Iterable[Any] | None = None,
        copy_rangeset: bool = True,
        autostep: float | None = None,
        fold_axis: Iterable[int] | None = None,
    ) -> None:
        """Take the names of a pattern with a ``%s`` for each number, filled in from a set of indexes.

        The pattern is one name where there are no indexes; ``%%`` stands for a percent sign.
        `copy_rangeset` has no effect: the set keeps names only.
        """
        self._autostep = None if autostep is None else check_autostep(autostep)
        self._fold_axis = None
        if fold_axis is not None:
            self.fold_axis = fold_axis
        self._order = None
        if pattern:
            filled = [pattern % index for index in rangeset] if rangeset else [pattern % ()]
            self._names = dict.fromkeys(filled)
        elif rangeset:
            raise ValueError("indexes need a pattern")
        else:
            self._names = {}

    @property
    def _names(self) -> dict[str, None]:
        if self._index is None:
            self._index = dict.fromkeys(self._order or ())
        return self._index

    @_names.setter
    def _names(self, names: dict[str, None]) -> None:
        self._index = names

    def _any_order(self) -> Collection[str]:
        """Return the names in the order that costs nothing."""
        return self._order if self._order is not None else self._names

    def _names_of(self, nodes: Nodes | None) -> Names:
        """Return the names of what a method takes.  Those of a node set are its own: do not change them."""
        if isinstance(nodes, NodeSetBase):
            return nodes._names, nodes._order
        if nodes is None:
            return {}, []
        if _is_clustershell(nodes):
            return dict.fromkeys(map(str, nodes)), None
        raise TypeError(f"not a node set: {nodes!r}")

    def _names_of_many(self, many: Iterable[Nodes]) -> dict[str, None]:
        """Return the names of all of an iterable of what a method takes, in one new dict."""
        names: dict[str, None] = {}
        for nodes in many:
            names.update(self._names_of(nodes)[0])
        return names

    def _like(self) -> Self:
        """Return an empty set with the settings of this one."""
        result = type(self)()
        result._autostep = self._autostep
        result._fold_axis = self._fold_axis
        return result

    def _new(self, names: dict[str, None], order: list[str] | None = None) -> Self:
        """Return a set like this one that owns `names`."""
        result = self._like()
        result._names = names
        result._order = order
        return result

    def _ordered(self, order: list[str]) -> Self:
        """Return a set like this one of names that are sorted, each once."""
        result = self._like()
        result._index, result._order = None, order
        return result

    def _sorted(self) -> list[str]:
        if self._order is None:
            self._order = sort_names(self._names)
        return self._order

    @property
    def autostep(self) -> float | None:
        """The least number of nodes that fold with a step, as ``a[1-9/2]``; None: never."""
        return self._autostep

    @autostep.setter
    def autostep(self, value: float | None) -> None:
        self._autostep = check_autostep(value)

    @property
    def fold_axis(self) -> tuple[int, ...] | None:
        """The numbers of names that are folded, the first is 0, the last -1; None: `DEFAULTS.fold_axis`."""
        return self._fold_axis

    @fold_axis.setter
    def fold_axis(self, value: Iterable[int] | None) -> None:
        if value is not None and (
            isinstance(value, (str, bytes, int)) or not isinstance(value, Iterable)
        ):
            raise TypeError(f"fold_axis is an iterable of integers or None, not {value!r}")
        self._fold_axis = None if value is None else tuple(map(int, value))

    def __str__(self) -> str:
        """Return the folded text, which describes the same nodes."""
        axes = DEFAULTS.fold_axis or None if self._fold_axis is None else self._fold_axis
        if axes is not None:
            boxes = fold_names(self._any_order())
            return ",".join(
                [text for box in boxes for text in box_texts(box, self._autostep, axes)]
            )
        return ",".join([box_text(box, self._autostep) for box in fold_names(self._any_order())])

    def __repr__(self) -> str:
        """Return the class and the folded text."""
        return f"{type(self).__name__}({str(self)!r})"

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self._any_order())

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted; a change meanwhile does not disturb the iteration."""
        return iter(self._sorted())

    striter = __iter__

    def nsiter(self) -> Iterator[Self]:
        """Yield a set of one node for each."""
        return (self._new({name: None}, [name]) for name in self._sorted())

    def contiguous(self) -> Iterator[Self]:
        """Yield a set for each part that has one range of step 1 in place of each number."""
        for box in fold_names(self._any_order()):
            for text in contiguous_texts(box):
                yield self._ordered(_listed(parse_sorted(text)))

    def split(self, nbr: int) -> Iterator[Self]:
        """Return at most `nbr` sets in order, of sizes that differ by one at most.

        Raise ValueError where `nbr` is under 1.
        """
        parts = chunks(self._sorted(), nbr)
        return (self._ordered(part) for part in parts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> str | Self:
        """Return the name at a position, or the set of those at a slice."""
        if isinstance(index, slice):
            names = self._sorted()[index]
            return self._ordered(names[::-1] if (index.step or 1) < 0 else names)
        if not isinstance(index, int):
            raise TypeError(f"NodeSet positions are integers or slices, not {index!r}")
        try:
            return self._sorted()[index]
        except IndexError:
            raise IndexError(f"no position {index} in a set of {len(self)} nodes") from None

    def index(self, node: Nodes | None, start: int = 0, stop: int | None = None) -> int:
        """Return the position of a single node in the order, from `start` and before `stop`.

        Raise ValueError if it is not there, or not one node.
        """
        names, _ = self._names_of(node)
        if len(names) != 1:
            raise ValueError(f"index() takes a single node, not {node!r}")
        (name,) = names
        order = self._sorted()
        try:
            return order.index(name, start, len(order) if stop is None else stop)
        except ValueError:
            raise ValueError(f"{name!r} is not in nodeset") from None

    def __contains__(self, nodes: Nodes | None) -> bool:
        """Tell whether each of the nodes is here."""
        return self.issuperset(nodes)

    def copy(self) -> Self:
        """Return an independent copy."""
        return (
            self._ordered(self._order)
            if self._index is None and self._order is not None
            else self._new(self._names.copy(), self._order)
        )

    __copy__ = copy

    # Changes in place.

    def _replace(self, names: dict[str, None], order: list[str] | None = None) -> None:
        self._names = names
        self._order = order

    def clear(self) -> None:
        """Remove every node."""
        self._replace({})

    def update(self, other: Nodes | None) -> None:
        """Add nodes."""
        names, _ = self._names_of(other)
        self._names.update(names)
        self._order = None

    add = update

    def updaten(self, others: Iterable[Nodes]) -> None:
        """Add the nodes of several texts or node sets."""
        self._names.update(self._names_of_many(others))
        self._order = None

    def intersection_update(self, other: Nodes | None) -> None:
        """Keep only the nodes that are in `other` too."""
        kept = self._names_of(other)[0]
        self._replace({name: None for name in self._names if name in kept})

    def difference_update(self, other: Nodes | None, strict: bool = False) -> None:
        """Remove nodes; with `strict`, raise KeyError, and remove none, if one is absent."""
        names, _ = self._names_of(other)
        if strict:
            for name in names:
                if name not in self._names:
                    raise KeyError(name)
        self._replace({name: None for name in self._names if name not in names})

    def remove(self, elem: Nodes | None) -> None:
        """Remove nodes; raise KeyError, and remove none, if one is absent."""
        self.difference_update(elem, strict=True)

    def symmetric_difference_update(self, other: Nodes | None) -> None:
        """Keep the nodes that are in exactly one of both."""
        names, _ = self._names_of(other)
        result = {name: None for name in self._names if name not in names}
        result.update((name, None) for name in names if name not in self._names)
        self._replace(result)

    # The same, each as a new set.

    def union(self, other: Nodes | None) -> Self:
        """Return the nodes that are in one of both."""
        result = self.copy()
        result.update(other)
        return result

    def intersection(self, other: Nodes | None) -> Self:
        """Return the nodes that are in both."""
        result = self.copy()
        result.intersection_update(other)
        return result

    def difference(self, other: Nodes | None) -> Self:
        """Return the nodes that are not in `other`."""
        result = self.copy()
        result.difference_update(other)
        return result

    def symmetric_difference(self, other: Nodes | None) -> Self:
        """Return the nodes that are in exactly one of both."""
        result = self.copy()
        result.symmetric_difference_update(other)
        return result

    def issubset(self, other: Nodes | None) -> bool:
        """Tell whether each node is in `other`."""
        return self._names.keys() <= self._names_of(other)[0].keys()

    def issuperset(self, other: Nodes | None) -> bool:
        """Tell whether each node of `other` is here."""
        return self._names.keys() >= self._names_of(other)[0].keys()

    # Operators take node sets only: a text beside one is more likely a slip.

    def __or__(self, other: NodeSetBase) -> Self:
        return self.union(other) if is_node_set(other) else NotImplemented

    def __and__(self, other: NodeSetBase) -> Self:
        return self.intersection(other) if is_node_set(other) else NotImplemented

    def __sub__(self, other: NodeSetBase) -> Self:
        return self.difference(other) if is_node_set(other) else NotImplemented

    def __xor__(self, other: NodeSetBase) -> Self:
        return self.symmetric_difference(other) if is_node_set(other) else NotImplemented

    # A set of ClusterShell's on the left does not know ours.

    def __ror__(self, other: Any) -> Self:
        return self._new(self._names_of(other)[0]) | self if is_node_set(other) else NotImplemented

    def __rand__(self, other: Any) -> Self:
        return self._new(self._names_of(other)[0]) & self if is_node_set(other) else NotImplemented

    def __rsub__(self, other: Any) -> Self:
        return self._new(self._names_of(other)[0]) - self if is_node_set(other) else NotImplemented

    def __rxor__(self, other: Any) -> Self:
        return self._new(self._names_of(other)[0]) ^ self if is_node_set(other) else NotImplemented

    def __ior__(self, other: NodeSetBase) -> Self:
        if not is_node_set(other):
            return NotImplemented
        self.update(other)
        return self

    def __iand__(self, other: NodeSetBase) -> Self:
        if not is_node_set(other):
            return NotImplemented
        self.intersection_update(other)
        return self

    def __isub__(self, other: NodeSetBase) -> Self:
        if not is_node_set(other):
            return NotImplemented
        self.difference_update(other)
        return self

    def __ixor__(self, other: NodeSetBase) -> Self:
        if not is_node_set(other):
            return NotImplemented
        self.symmetric_difference_update(other)
        return self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, NodeSetBase):
            return self._names == other._names
        # One of ClusterShell's.
        if not is_node_set(other):
            return NotImplemented
        return self._names.keys() == set(map(str, cast("Iterable[object]", other)))

    def __le__(self, other: NodeSetBase) -> bool:
        return self.issubset(other) if is_node_set(other) else NotImplemented

    def __lt__(self, other: NodeSetBase) -> bool:
        return self <= other and self != other if is_node_set(other) else NotImplemented

    def __ge__(self, other: NodeSetBase) -> bool:
        return self.issuperset(other) if is_node_set(other) else NotImplemented

    def __gt__(self, other: NodeSetBase) -> bool:
        return self >= other and self != other if is_node_set(other) else NotImplemented

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickle keeps: the sorted names, once."""
        return {"autostep": self._autostep, "fold_axis": self._fold_axis, "names": self._sorted()}

    def __setstate__(self, state: Any) -> None:
        """Take what `__getstate__`, or ClusterShell's class of the name, has returned."""
        if isinstance(state, tuple):
            # Of mpshell before there was a fold_axis.
            state = {"autostep": state[0], "names": state[1]}
        names: dict[str, None] = {}
        if "_patterns" in state:
            for pattern, indexes in state["_patterns"].items():
                names.update(NodeSetBase(pattern, indexes)._names)
            self._autostep = known_autostep(state.get("_autostep"))
            self._names, self._order = names, None
        else:
            self._autostep, self._order = state["autostep"], state["names"]
            self._index = None
        self._fold_axis = None
        self.fold_axis = state.get("fold_axis")


def _listed(names: Collection[str]) -> list[str]:
    return names if isinstance(names, list) else list(names)


def is_node_set(value: object) -> bool:
    """Tell whether a value is a node set, one of ClusterShell's too."""
    return isinstance(value, NodeSetBase) or _is_clustershell(value)


def _is_clustershell(value: object) -> bool:
    return any(
        kind.__name__ == "NodeSetBase" and kind.__module__ == "ClusterShell.NodeSet"
        for kind in type(value).__mro__
    )
