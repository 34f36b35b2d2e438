"""`NodeSet`, a mutable set of node names such as ``a[1-3,05-09/2]b[1-2],c,@group``.

Users, workers and the command line use it; a run takes the names from it as plain text.  The
syntax is that of `mpshell.nodes.parser`, the order that of `mpshell.nodes.folding`; `mpshell.groups`
resolves groups once, when they are given.  A set belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, cast

from mpshell.groups.standard import (
    ILLEGAL_GROUP_CHARS,
    RESOLVER_NOGROUP,
    RESOLVER_NOINIT,
    RESOLVER_STD_GROUP,
    Resolver,
    check_resolver,
    grouplist,
    queries_of,
    readers_of,
    set_default_source,
    set_std_group_resolver,
    set_std_group_resolver_config,
    std_group_resolver,
)
from mpshell.nodes.groups import GroupReader, NodeGroupError, NoGroupQueryError
from mpshell.nodes.indexes import AUTOSTEP_DISABLED
from mpshell.nodes.parser import (
    MAX_NAMES,
    NodeSetError,
    NodeSetException,
    NodeSetExternalError,
    NodeSetParseError,
    NodeSetParseRangeError,
    are_plain,
    parse,
    parse_sorted,
)
from mpshell.nodes.regroup import cover, groups_of
from mpshell.nodesetbase import Nodes, NodeSetBase, is_node_set
from mpshell.rangeset import RangeSet, RangeSetParseError
from mpshell.rangesetnd import RangeSetND

__all__ = [
    "AUTOSTEP_DISABLED",
    "ILLEGAL_GROUP_CHARS",
    "MAX_NAMES",
    "RESOLVER_NOGROUP",
    "RESOLVER_NOINIT",
    "RESOLVER_STD_GROUP",
    "NoGroupQueryError",
    "NodeGroupError",
    "NodeSet",
    "NodeSetBase",
    "NodeSetError",
    "NodeSetException",
    "NodeSetExternalError",
    "NodeSetParseError",
    "NodeSetParseRangeError",
    "Nodes",
    "RangeSet",
    "RangeSetND",
    "RangeSetParseError",
    "expand",
    "fold",
    "grouplist",
    "set_default_source",
    "set_std_group_resolver",
    "set_std_group_resolver_config",
    "std_group_resolver",
]


class NodeSet(NodeSetBase):
    """A mutable set of node names, iterated in order of pattern, then of numbers.

    Methods take any `Nodes`, and None for no node; operators take a node set only.
    """

    __slots__ = ("_resolver",)

    _resolver: Resolver

    def __init__(
        self,
        nodes: Nodes | None = None,
        autostep: float | None = None,
        resolver: Resolver = None,
        fold_axis: Iterable[int] | None = None,
    ) -> None:
        """Take the nodes; `autostep` is described at `NodeSet.autostep`, the default is that of a given set.

        `resolver` resolves the groups in texts, also in those given to methods: a GroupResolver of
        ClusterShell's NodeUtils, `RESOLVER_NOGROUP`, or None for that of the process.
        Raise NodeSetParseError for a bad text, NodeGroupError for a group that cannot be resolved.
        """
        super().__init__(autostep=autostep, fold_axis=fold_axis)
        self._resolver = check_resolver(resolver)
        if nodes is None:
            return
        if isinstance(nodes, NodeSetBase):
            self._inherit_step(nodes)
            self._adopt(nodes.copy())
            return
        if isinstance(nodes, str):
            found = parse_sorted(nodes, readers_of(self._resolver))
            if isinstance(found, list):
                self._index, self._order = None, found
            else:
                self._index = found
            return
        if is_node_set(nodes):
            self._names = self._members_of(nodes)
        else:
            self._take(nodes)

    @classmethod
    def fromlist(
        cls, nodelist: Iterable[Nodes], autostep: float | None = None, resolver: Resolver = None
    ) -> Self:
        """Return the union of texts and node sets."""
        if isinstance(nodelist, str):
            raise TypeError(f"fromlist takes an iterable of nodes, not one text: {nodelist!r}")
        result = cls(autostep=autostep, resolver=resolver)
        result._take(nodelist)
        return result

    @classmethod
    def fromall(
        cls,
        groupsource: str | None = None,
        autostep: float | None = None,
        resolver: Resolver = None,
    ) -> Self:
        """Return all nodes of a group source, None for the default one; NodeGroupError."""
        part = f"@{groupsource}:*" if groupsource else "@*"
        result = cls(autostep=autostep, resolver=resolver)
        result._names = GroupReader(queries_of(resolver, part)).resolve([part])
        return result

    def _like(self) -> Self:
        result = super()._like()
        result._resolver = self._resolver
        return result

    def _members_of(self, other: Nodes | None) -> dict[str, None]:
        """Return the names of a text, a node set or an iterable of texts.  For a set, its own dict."""
        if isinstance(other, str):
            return parse(other, readers_of(self._resolver))
        if other is None or is_node_set(other):
            return super()._members_of(other)
        return self._members_of_many(other)

    def _members_of_many(self, many: Iterable[Nodes]) -> dict[str, None]:
        """Return the names of all of an iterable of texts and node sets, in one new dict."""
        items = _items_of(many)
        plain = _plain_names(items)
        return super()._members_of_many(items) if plain is None else dict.fromkeys(plain)

    def _take(self, many: Iterable[Nodes]) -> None:
        """Take the names of all items of an iterable; the set is empty before."""
        items = _items_of(many)
        plain = _plain_names(items)
        if plain is None:
            self._names = super()._members_of_many(items)
        else:
            # Make no dict: most sets are sorted later, and sorting finds duplicate names.
            self._index, self._given = None, plain

    def __contains__(self, nodes: Nodes | None) -> bool:
        """Return whether each of the nodes is in the set."""
        if isinstance(nodes, str) and nodes in self._names:
            return True
        return super().__contains__(nodes)

    def groups(
        self, groupsource: str | None = None, noprefix: bool = False
    ) -> dict[str, tuple[Self, Self]]:
        """Return (all nodes of the group, those in this set) for each group that contains one of the nodes.

        Its key is `@group`, or `@source:group` if a source is given, unless `noprefix`.
        Raise NodeGroupError.
        """
        found = groups_of(self._sorted(), queries_of(self._resolver), groupsource)
        prefix = _prefix(groupsource, noprefix)
        return {
            prefix + group: (
                self._new(members),
                self._new({name: None for name in members if name in self._names}),
            )
            for group, members in found.items()
        }

    def regroup(
        self,
        groupsource: str | None = None,
        autostep: float | None = None,
        overlap: bool = False,
        noprefix: bool = False,
    ) -> str:
        """Return the folded text in which groups of a source replace all their nodes, the largest first.

        With `overlap` two of them may have nodes in common.  Raise NodeGroupError.
        """
        found = groups_of(self._sorted(), queries_of(self._resolver), groupsource)
        chosen, others = cover(self._names, found, overlap)
        rest = self._new(others)
        if autostep is not None:
            rest.autostep = autostep
        if not chosen:
            return str(rest)
        prefix = _prefix(groupsource, noprefix)
        named = NodeSet.fromlist([prefix + group for group in chosen], resolver=RESOLVER_NOGROUP)
        return f"{named},{rest}" if rest else str(named)

    def __setstate__(self, state: Any) -> None:
        """Take the state that `__getstate__` returned; groups are those of the process then."""
        super().__setstate__(state)
        self._resolver = None


def _items_of(many: Iterable[Nodes]) -> list[Nodes]:
    """Return the members of an iterable of nodes; TypeError for anything else."""
    if isinstance(many, (str, bytes)) or not isinstance(many, Iterable):
        raise TypeError(f"not nodes (a text, a NodeSet or an iterable of texts): {many!r}")
    items = list(many)
    if None in items:
        # Most likely a failed look-up: it would go unnoticed if that node were skipped.
        raise TypeError("not nodes (a text, a NodeSet or an iterable of texts): None")
    return items


def _plain_names(items: list[Nodes]) -> list[str] | None:
    """Return the items if each is a text that is exactly one name, or empty; else None."""
    try:
        text = "\n".join(cast("list[str]", items))
    except TypeError:
        return None
    if not are_plain(text, len(items)):
        return None
    return (
        [item for item in cast("list[str]", items) if item]
        if "" in items
        else cast("list[str]", items)
    )


def _prefix(source: str | None, noprefix: bool) -> str:
    return f"@{source}:" if source and not noprefix else "@"


def expand(nodes: Nodes | None) -> list[str]:
    """Return the names of the nodes, sorted."""
    return list(NodeSet(nodes))


def fold(nodes: Nodes | None, autostep: float | None = None) -> str:
    """Return the folded text of the nodes."""
    return str(NodeSet(nodes, autostep))
