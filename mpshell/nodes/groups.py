"""Own the meaning of groups and wildcards in a text: `@group`, `@source:group`, `@*`, `@@source`, `node*`.

The parser hands over the operands that need it; the answers come through `Queries`, which the caller
supplies.  Pure code without global state: it may run in any process and any thread.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Protocol

from mpshell.nodes.folding import sort_names
from mpshell.nodes.parser import (
    NodeSetException,
    NodeSetExternalError,
    NodeSetParseError,
    Readers,
    parse,
)

#: The most groups that may contain one another: a source that makes up names would never end.
_DEEPEST = 100


class NodeGroupError(NodeSetExternalError, NodeSetParseError):
    """A group or wildcard cannot be resolved.

    `part` is the text as written, `source` the name of the group source (None: the default one),
    `upcall` the kind of query that failed (map, all, list, reverse or mapall; None: none of them).
    """

    def __init__(
        self, part: str, msg: str, source: str | None = None, upcall: str | None = None
    ) -> None:
        super().__init__(part, msg)
        self.args = (part, msg, source, upcall)
        self.source = source
        self.upcall = upcall

    def __str__(self) -> str:
        """Return the text as written and the fault in it."""
        return f'"{self.part}": {self.msg}' if self.part else self.msg


class NoGroupQueryError(NodeGroupError):
    """A group source does not have the query that is needed."""


class Queries(Protocol):
    """The questions about groups.  Answers are texts in the syntax of node sets.

    A `source` is the name of a group source, None for the default one.  Each raises NodeGroupError,
    and NoGroupQueryError where the source cannot answer such a query.
    """

    def nodes(self, group: str, source: str | None) -> Sequence[str]:
        """Return the members of a group."""

    def all_nodes(self, source: str | None) -> Sequence[str]:
        """Return all nodes of a source."""

    def groups(self, source: str | None) -> Sequence[str]:
        """Return the names of all groups of a source."""

    def has_reverse(self, source: str | None) -> bool:
        """Return whether the source can list the groups of a node."""

    def groups_of(self, node: str, source: str | None) -> Sequence[str]:
        """Return the names of the groups of a node."""


class GroupReader:
    """Resolves the groups and wildcards of one text.

    `source` is the one of groups without a source of their own: within an answer, that of the answer.
    """

    def __init__(
        self,
        queries: Queries,
        source: str | None = None,
        wildcards: bool = True,
        within: frozenset[tuple[str | None, str]] = frozenset(),
    ) -> None:
        self._queries = queries
        self._source = source
        self._wildcards = wildcards
        #: The groups whose answers contain the text.
        self._within = within
        #: All nodes, queried once for a text, so that its wildcards agree.
        self._all: dict[str, None] | None = None

    def resolve(self, names: Iterable[str]) -> dict[str, None]:
        """Return the nodes of `@group` names and of wildcards; NodeGroupError."""
        found: dict[str, None] = {}
        for name in names:
            if name[0] == "@":
                found.update(self._nodes_of_group(name))
            elif self._wildcards:
                found.update(dict.fromkeys(self._matching(name)))
            else:
                found[name] = None
        return found

    def _nodes_of_group(self, name: str) -> dict[str, None]:
        source, group = self._source, name[1:]
        if group.startswith("@"):
            # The names of groups, which stand for nodes of those names.
            source = group[1:] or source
            return self._read(name, group_names(self._queries, source), source, group)
        if ":" in group:
            named, group = group.split(":", 1)
            source = named or None
        if not group:
            raise NodeSetParseError(name, "the name of a group is missing")
        if group == "*":
            return self._all_nodes(source, name)
        return self._read(name, [",".join(self._queries.nodes(group, source))], source, group)

    def _all_nodes(self, source: str | None, name: str) -> dict[str, None]:
        return self._read(name, all_texts(self._queries, source, name), source, "*")

    def _matching(self, mask: str) -> list[str]:
        if self._all is None:
            # A wildcard in the list of all nodes is a name: it would need that list itself.
            reader = GroupReader(self._queries, self._source, False, self._within)
            self._all = reader._all_nodes(self._source, mask)
        return fnmatch.filter(self._all, mask)

    def _read(
        self, name: str, texts: Iterable[str], source: str | None, group: str
    ) -> dict[str, None]:
        """Return the nodes of an answer, in which there may be groups again."""
        within = self._within | {(source, group)}
        if len(within) == len(self._within):
            raise NodeGroupError(name, "this group contains itself", source)
        if len(within) > _DEEPEST:
            raise NodeGroupError(
                name, f"more than {_DEEPEST} groups contain one another here", source
            )

        def reader(part: str) -> GroupReader:
            return GroupReader(self._queries, source, self._wildcards, within)

        return _names_in(name, texts, source, reader)


def _names_in(
    name: str, texts: Iterable[str], source: str | None, reader: Readers | None
) -> dict[str, None]:
    found: dict[str, None] = {}
    for text in texts:
        try:
            found.update(parse(text, reader))
        except NodeGroupError:
            raise
        except NodeSetException as error:
            raise NodeGroupError(
                name, f"the answer of {title(source)} is not a node set: {error}", source
            ) from error
    return found


def title(source: str | None) -> str:
    """Return the name of a group source in messages."""
    return "the default group source" if source is None else f'group source "{source}"'


def group_names(queries: Queries, source: str | None) -> list[str]:
    """Return the names of all groups of a source, sorted; in them `[1-3]` has its meaning, `*` has none."""
    names = _names_in(f"@@{source or ''}", queries.groups(source), source, None)
    return sort_names(names)


def all_texts(queries: Queries, source: str | None, part: str) -> list[str]:
    """Return all nodes of a source, or the members of all its groups if it cannot list them."""
    try:
        return list(queries.all_nodes(source))
    except NoGroupQueryError:
        pass
    try:
        names = group_names(queries, source)
        return [",".join(queries.nodes(name, source)) for name in names]
    except NoGroupQueryError as error:
        raise NoGroupQueryError(
            part,
            f"{title(source)} cannot list all nodes: that takes the upcall all, or map and list",
            source,
            error.upcall,
        ) from error
