"""Own `NodeSet`, a mutable set of node names such as ``a[1-3,05-09/2]b[1-2],c``.

Callers: users, workers and the command line; a run takes its names from one as plain text.  The
syntax is that of `mpshell.nodes.parser`, the order that of `mpshell.nodes.folding`.  Pure code
without global state: it may run in any process and any thread, but one set belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self, overload

from mpshell.nodes.folding import box_text, contiguous_texts, fold_names, sort_names
from mpshell.nodes.indexes import AUTOSTEP_DISABLED, check_autostep, chunks
from mpshell.nodes.parser import (
    MAX_NAMES,
    NodeSetError,
    NodeSetException,
    NodeSetExternalError,
    NodeSetParseError,
    NodeSetParseRangeError,
    are_plain,
    parse,
)
from mpshell.rangeset import RangeSet, RangeSetParseError

__all__ = [
    "AUTOSTEP_DISABLED",
    "MAX_NAMES",
    "RESOLVER_NOGROUP",
    "NodeSet",
    "NodeSetError",
    "NodeSetException",
    "NodeSetExternalError",
    "NodeSetParseError",
    "NodeSetParseRangeError",
    "Nodes",
    "RangeSet",
    "RangeSetParseError",
    "expand",
    "fold",
]

#: A `resolver` that looks no node group up, which is also what NodeSet does without one.
RESOLVER_NOGROUP = -1

Nodes = str | Iterable[str]
"""What every method takes for nodes: a text, a node set, or any iterable of texts."""


class NodeSet:
    """A mutable set of node names, iterated in order of pattern, then of numbers.

    Methods take any `Nodes`, and None for no node; operators take a NodeSet only.
    """

    # A dict stands for the set of names because it keeps the order in which they came, mostly the
    # sorted one: sorting is then nearly free, and walking a long one stays kind to the cache.
    __slots__ = ("_autostep", "_names", "_order")

    _names: dict[str, None]
    _order: list[str] | None  # the names, sorted; None: not yet known; never changed in place

    def __init__(
        self,
        nodes: Nodes | None = None,
        autostep: float | None = None,
        resolver: int | None = None,
    ) -> None:
        """Take the nodes; see `NodeSet.autostep` for the next argument, by default a node set's own.

        `resolver` is None or RESOLVER_NOGROUP, without a difference; ValueError for another.
        Raise NodeSetParseError or NodeSetExternalError for a bad text.
        """
        _check_resolver(resolver)
        self._autostep = None if autostep is None else check_autostep(autostep)
        self._names, self._order = _names_of(nodes)
        if isinstance(nodes, NodeSet):
            self._names = self._names.copy()
            if autostep is None:
                self._autostep = nodes._autostep

    @classmethod
    def fromlist(
        cls,
        nodelist: Iterable[Nodes],
        autostep: float | None = None,
        resolver: int | None = None,
    ) -> Self:
        """Return the union of texts and node sets; the other arguments are those of a NodeSet."""
        if isinstance(nodelist, str):
            raise TypeError(f"fromlist takes an iterable of nodes, not one text: {nodelist!r}")
        result = cls(autostep=autostep, resolver=resolver)
        result._names = _names_of_many(nodelist)
        result._order = None
        return result

    def _new(self, names: dict[str, None], order: list[str] | None = None) -> Self:
        """Return a set like this one that owns `names`."""
        result = type(self)()
        result._autostep = self._autostep
        result._names = names
        result._order = order
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

    def __str__(self) -> str:
        """Return the folded text, which describes the same nodes."""
        return ",".join([box_text(box, self._autostep) for box in fold_names(self._names)])

    def __repr__(self) -> str:
        """Return the class and the folded text."""
        return f"{type(self).__name__}({str(self)!r})"

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted; a change meanwhile does not disturb the iteration."""
        return iter(self._sorted())

    striter = __iter__

    def nsiter(self) -> Iterator[Self]:
        """Yield a set of one node for each."""
        return (self._new({name: None}, [name]) for name in self._sorted())

    def contiguous(self) -> Iterator[Self]:
        """Yield a set for each part that has one range of step 1 in place of each number."""
        for box in fold_names(self._names):
            for text in contiguous_texts(box):
                yield self._new(*_names_of(text))

    def split(self, nbr: int) -> Iterator[Self]:
        """Return at most `nbr` sets in order, of sizes that differ by one at most.

        Raise ValueError where `nbr` is under 1.
        """
        parts = chunks(self._sorted(), nbr)
        return (self._new(dict.fromkeys(part), part) for part in parts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> str | Self:
        """Return the name at a position, or the set of those at a slice."""
        if isinstance(index, slice):
            names = self._sorted()[index]
            return self._new(dict.fromkeys(names), names[::-1] if (index.step or 1) < 0 else names)
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
        names, _ = _names_of(node)
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
        if isinstance(nodes, str) and nodes in self._names:
            return True
        return self.issuperset(nodes)

    def copy(self) -> Self:
        """Return an independent copy."""
        return self._new(self._names.copy(), self._order)

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
        names, _ = _names_of(other)
        self._names.update(names)
        self._order = None

    add = update

    def updaten(self, others: Iterable[Nodes]) -> None:
        """Add the nodes of several texts or node sets."""
        self._names.update(_names_of_many(others))
        self._order = None

    def intersection_update(self, other: Nodes | None) -> None:
        """Keep only the nodes that are in `other` too."""
        kept = _names_of(other)[0]
        self._replace({name: None for name in self._names if name in kept})

    def difference_update(self, other: Nodes | None, strict: bool = False) -> None:
        """Remove nodes; with `strict`, raise KeyError, and remove none, if one is absent."""
        names, _ = _names_of(other)
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
        names, _ = _names_of(other)
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
        return self._names.keys() <= _names_of(other)[0].keys()

    def issuperset(self, other: Nodes | None) -> bool:
        """Tell whether each node of `other` is here."""
        return self._names.keys() >= _names_of(other)[0].keys()

    # Operators take node sets only: a text beside one is more likely a slip.

    def __or__(self, other: NodeSet) -> Self:
        return self.union(other) if isinstance(other, NodeSet) else NotImplemented

    def __and__(self, other: NodeSet) -> Self:
        return self.intersection(other) if isinstance(other, NodeSet) else NotImplemented

    def __sub__(self, other: NodeSet) -> Self:
        return self.difference(other) if isinstance(other, NodeSet) else NotImplemented

    def __xor__(self, other: NodeSet) -> Self:
        return self.symmetric_difference(other) if isinstance(other, NodeSet) else NotImplemented

    def __ior__(self, other: NodeSet) -> Self:
        if not isinstance(other, NodeSet):
            return NotImplemented
        self.update(other)
        return self

    def __iand__(self, other: NodeSet) -> Self:
        if not isinstance(other, NodeSet):
            return NotImplemented
        self.intersection_update(other)
        return self

    def __isub__(self, other: NodeSet) -> Self:
        if not isinstance(other, NodeSet):
            return NotImplemented
        self.difference_update(other)
        return self

    def __ixor__(self, other: NodeSet) -> Self:
        if not isinstance(other, NodeSet):
            return NotImplemented
        self.symmetric_difference_update(other)
        return self

    def __eq__(self, other: object) -> bool:
        return self._names == other._names if isinstance(other, NodeSet) else NotImplemented

    def __le__(self, other: NodeSet) -> bool:
        return self.issubset(other) if isinstance(other, NodeSet) else NotImplemented

    def __lt__(self, other: NodeSet) -> bool:
        return self <= other and self != other if isinstance(other, NodeSet) else NotImplemented

    def __ge__(self, other: NodeSet) -> bool:
        return self.issuperset(other) if isinstance(other, NodeSet) else NotImplemented

    def __gt__(self, other: NodeSet) -> bool:
        return self >= other and self != other if isinstance(other, NodeSet) else NotImplemented

    def __getstate__(self) -> tuple[float | None, list[str]]:
        """Return what pickle keeps: the sorted names, once."""
        return self._autostep, self._sorted()

    def __setstate__(self, state: tuple[float | None, list[str]]) -> None:
        """Take what `__getstate__` returned."""
        self._autostep, self._order = state
        self._names = dict.fromkeys(self._order)


def _check_resolver(resolver: object) -> None:
    if resolver is not None and (isinstance(resolver, bool) or resolver != RESOLVER_NOGROUP):
        raise ValueError(
            f"resolver={resolver!r}: None or RESOLVER_NOGROUP is expected, node groups are not supported"
            " yet (expand them first with the tool of the cluster that knows them)"
        )


def expand(nodes: Nodes | None) -> list[str]:
    """Return the names of the nodes, sorted."""
    return list(NodeSet(nodes))


def fold(nodes: Nodes | None, autostep: float | None = None) -> str:
    """Return the folded text of the nodes."""
    return str(NodeSet(nodes, autostep))


def _names_of(nodes: Nodes | None) -> tuple[dict[str, None], list[str] | None]:
    """Return the names of the nodes and, where they are known to be in order, the same as a list.

    Those of a NodeSet are its own: do not change them.
    """
    if isinstance(nodes, str):
        names, is_sorted = parse(nodes)
        return names, list(names) if is_sorted else None
    if isinstance(nodes, NodeSet):
        return nodes._names, nodes._order
    if nodes is None:
        return {}, []
    return _names_of_many(nodes), None


def _names_of_many(many: Iterable[Nodes]) -> dict[str, None]:
    """Return the names of all of an iterable of texts and node sets, in one new dict."""
    if isinstance(many, (str, bytes)) or not isinstance(many, Iterable):
        raise TypeError(f"not nodes (a text, a NodeSet or an iterable of texts): {many!r}")
    items = list(many)
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) == len(items) and are_plain(texts):
        names = dict.fromkeys(texts)
        names.pop("", None)
        return names
    names = {}
    for item in items:
        if item is None:
            # Most likely a failed look-up: leaving that node out would go unnoticed.
            raise TypeError("not nodes (a text, a NodeSet or an iterable of texts): None")
        names.update(_names_of(item)[0])
    return names
