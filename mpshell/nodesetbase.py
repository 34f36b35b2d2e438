"""`NodeSetBase`, a mutable set of node names that takes no texts: the base of node sets.

`mpshell.nodeset` adds the syntax and the groups.  Pure code without global state: it may run in any
process and any thread, but one set belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Self, overload

from mpshell.defaults import DEFAULTS
from mpshell.nodes.algebra import DictSet
from mpshell.nodes.autostep import Stepped
from mpshell.nodes.folding import (
    Box,
    box_text,
    box_texts,
    contiguous_texts,
    fold_names,
    sort_names,
)
from mpshell.nodes.indexes import check_autostep, chunks, known_autostep
from mpshell.nodes.parser import parse, parse_sorted

Nodes = str | Iterable[str]
"""The forms of nodes that methods of a NodeSet take: a text, a node set, or any iterable of texts."""


class NodeSetBase(Stepped, DictSet[str, "Nodes | None", "NodeSetBase"]):
    """A mutable set of node names, iterated in order of pattern, then of numbers.

    Its methods take other sets, and None for no node.
    """

    # A dict holds the names because it keeps their order, which is mostly the sorted one: then sorting
    # costs almost nothing, and a walk over many names uses the cache well.  If the order of a set is known,
    # the dict is made only when it is needed: making it takes longer than parsing the names.
    __slots__ = ("_fold_axis", "_given", "_index", "_order", "_step")

    _index: (
        dict[str, None] | None
    )  # the names; None: those of the order or, without one, those given
    _given: list[str]  # names in any order, some of them perhaps several times
    _fold_axis: tuple[int, ...] | None
    _order: list[str] | None  # the names, sorted; None: not yet known; never changed in place
    _step: float | None  # where there is no autostep, that of the first set that was taken in

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
        self._autostep = check_autostep(autostep)
        self._step = None
        self._fold_axis = None
        if fold_axis is not None:
            self.fold_axis = fold_axis
        self._given = []
        self._order = None
        if pattern:
            filled = [pattern % index for index in rangeset] if rangeset else [pattern % ()]
            self._names = dict.fromkeys(filled)
        elif rangeset:
            raise ValueError("indexes need a pattern")
        else:
            self._names = {}

    @classmethod
    def fromnames(cls, names: Iterable[str]) -> Self:
        """Return the set of these names, in which no character has a special meaning."""
        result = cls()
        result._names = dict.fromkeys(names)
        return result

    @property
    def _names(self) -> dict[str, None]:
        if self._index is None:
            self._index = dict.fromkeys(self._given if self._order is None else self._order)
            self._given = []
        return self._index

    @_names.setter
    def _names(self, names: dict[str, None]) -> None:
        self._index = names

    def _any_order(self) -> Collection[str]:
        """Return the names at no cost: in any order, some of them perhaps several times."""
        if self._order is not None:
            return self._order
        return self._given if self._index is None else self._index

    def _members(self) -> dict[str, None]:
        return self._names

    def _members_of(self, other: Nodes | None) -> dict[str, None]:
        if isinstance(other, NodeSetBase):
            return other._names
        if other is None:
            return {}
        if _is_clustershell(other):
            return dict.fromkeys(map(str, other))
        raise TypeError(f"not a node set: {other!r}")

    def _members_of_many(self, many: Iterable[Nodes]) -> dict[str, None]:
        """Return the names of all items of an iterable, each as a method takes it, in one new dict."""
        names: dict[str, None] = {}
        for nodes in many:
            if not names:
                self._inherit_step(nodes)
            names.update(self._members_of(nodes))
        return names

    def _is_set(self, other: object) -> bool:
        return is_node_set(other)

    def _inherit_step(self, other: object) -> None:
        """Take over the autostep of the first node set that is added, unless there is one already."""
        if isinstance(other, NodeSetBase) and not self:
            self._step = other._autostep or other._step

    def _like(self) -> Self:
        """Return an empty set with the settings of this one."""
        result = type(self)()
        result._autostep, result._step = self._autostep, self._step
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

    def _adopt(self, other: NodeSetBase) -> None:
        """Take over the names of a set that nothing else uses."""
        self._index, self._order, self._given = other._index, other._order, other._given

    def _sorted(self) -> list[str]:
        if self._order is None:
            self._order = sort_names(self._any_order())
            self._given = []
        return self._order

    def get_autostep(self) -> float | None:
        """Return the least number of nodes that fold with a step, as ``a[1-9/2]``.

        None: that of the first node set that was added to this one; without such a set, never.
        """
        return self._autostep

    def set_autostep(self, val: float | None) -> None:
        """Set the least number of nodes that fold with a step, from 2 on; None: never."""
        super().set_autostep(val)
        self._step = None

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

    def _boxes(self) -> list[Box]:
        distinct = self._order is not None or self._index is not None
        return fold_names(self._any_order(), distinct)

    def __str__(self) -> str:
        """Return the folded text, which describes the same nodes."""
        step = self._autostep or self._step
        axes = DEFAULTS.fold_axis or None if self._fold_axis is None else self._fold_axis
        if axes is not None:
            boxes = self._boxes()
            return ",".join([text for box in boxes for text in box_texts(box, step, axes)])
        return ",".join([box_text(box, step) for box in self._boxes()])

    def __repr__(self) -> str:
        """Return the class and the folded text."""
        return f"{type(self).__name__}({str(self)!r})"

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self._names if self._order is None else self._order)

    def __bool__(self) -> bool:
        return bool(self._any_order())

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted; a change meanwhile does not disturb the iteration."""
        return iter(self._sorted())

    striter = __iter__

    def nsiter(self) -> Iterator[Self]:
        """Yield a set of one node for each."""
        return (self._new({name: None}, [name]) for name in self._sorted())

    def contiguous(self) -> Iterator[Self]:
        """Yield a set for each part that has one range of step 1 in place of each number."""
        for box in self._boxes():
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

        Raise ValueError if it is not in the set, or not one node.
        """
        names = self._members_of(node)
        if len(names) != 1:
            raise ValueError(f"index() takes a single node, not {node!r}")
        (name,) = names
        order = self._sorted()
        try:
            return order.index(name, start, len(order) if stop is None else stop)
        except ValueError:
            raise ValueError(f"{name!r} is not in nodeset") from None

    def __contains__(self, nodes: Nodes | None) -> bool:
        """Return whether each of the nodes is in the set."""
        return self.issuperset(nodes)

    def copy(self) -> Self:
        """Return an independent copy."""
        result = self._like()
        result._adopt(self)
        if self._index is not None:
            result._index = self._index.copy()
        return result

    __copy__ = copy

    # Changes in place.

    def _replace(self, members: dict[str, None]) -> None:
        self._names, self._order = members, None

    def _join(self, members: dict[str, None]) -> None:
        self._names.update(members)
        self._order = None

    def update(self, other: Nodes | None) -> None:
        """Add nodes."""
        self._inherit_step(other)
        super().update(other)

    def add(self, other: Nodes | None) -> None:
        """Add nodes."""
        self.update(other)

    def updaten(self, others: Iterable[Nodes]) -> None:
        """Add the nodes of several texts or node sets."""
        self._join(self._members_of_many(others))

    def symmetric_difference_update(self, other: Nodes | None) -> None:
        """Keep the nodes that are in exactly one of both."""
        self._inherit_step(other)
        super().symmetric_difference_update(other)

    def remove(self, elem: Nodes | None) -> None:
        """Remove nodes; raise KeyError, and remove none, if one is absent."""
        self.difference_update(elem, strict=True)

    # A set of ClusterShell's on the left does not accept ours.

    def __ror__(self, other: Any) -> Self:
        return self._new(self._members_of(other)) | self if is_node_set(other) else NotImplemented

    def __rand__(self, other: Any) -> Self:
        return self._new(self._members_of(other)) & self if is_node_set(other) else NotImplemented

    def __rsub__(self, other: Any) -> Self:
        return self._new(self._members_of(other)) - self if is_node_set(other) else NotImplemented

    def __rxor__(self, other: Any) -> Self:
        return self._new(self._members_of(other)) ^ self if is_node_set(other) else NotImplemented

    def __getstate__(self) -> dict[str, Any]:
        """Return the state that pickle keeps: the sorted names, once."""
        return {
            "autostep": self._autostep,
            "step": self._step,
            "fold_axis": self._fold_axis,
            "names": self._sorted(),
        }

    def __setstate__(self, state: Any) -> None:
        """Take the state that `__getstate__`, or ClusterShell's class of the name, has returned."""
        if isinstance(state, tuple):
            # Of mpshell before there was a fold_axis.
            state = {"autostep": state[0], "names": state[1]}
        self._step = state.get("step")
        if "_patterns" in state:
            self._autostep = known_autostep(state.get("_autostep"))
            self._replace(_kept_names(state))
        else:
            self._autostep, self._order = state["autostep"], state["names"]
            self._index, self._given = None, []
        self._fold_axis = None
        self.fold_axis = state.get("fold_axis")


def _kept_names(state: dict[str, Any]) -> dict[str, None]:
    """Return the names that the state of a pickle of ClusterShell's has."""
    names: dict[str, None] = {}
    for pattern, indexes in state["_patterns"].items():
        filled = NodeSetBase(pattern, indexes)._names
        if state.get("_version", 1) > 1:
            names.update(filled)
            continue
        # Before 1.7 all numbers but one were text, ``foo%sbar[1-10]``.
        for text in filled:
            names.update(parse(text))
    return names


def _listed(names: Collection[str]) -> list[str]:
    return names if isinstance(names, list) else list(names)


def is_node_set(value: object) -> bool:
    """Return whether a value is a node set, also one of ClusterShell's."""
    return isinstance(value, NodeSetBase) or _is_clustershell(value)


def _is_clustershell(value: object) -> bool:
    return any(
        kind.__name__ == "NodeSetBase" and kind.__module__ == "ClusterShell.NodeSet"
        for kind in type(value).__mro__
    )
