"""`ParsingEngine`: turns texts of node sets into sets of names, with a resolver of groups, in steps.

Node sets do not need it; it is for programs that use ClusterShell's class of that name.
"""

from __future__ import annotations

from typing import Any

from mpshell.groups.standard import RESOLVER_NOGROUP, Resolver, queries_of
from mpshell.nodes.groups import GroupReader, Queries, all_texts, group_names
from mpshell.nodes.parser import NodeSetParseError, is_plain, parse
from mpshell.nodesetbase import NodeSetBase


class ParsingEngine:
    """Reads texts of node sets.  If `group_resolver` is None, `@a`, `b*` and `c?` are names.

    `namespace` is a group source, None for the default one.  NodeSetParseError for a text that is not a node
    set, NodeGroupError for one that cannot be resolved.
    """

    #: The operators of a text, and the method of a set that each of them calls.
    OP_CODES = {
        ",": "update",
        "!": "difference_update",
        "&": "intersection_update",
        "^": "symmetric_difference_update",
    }
    BRACKET_OPEN = "["
    BRACKET_CLOSE = "]"

    def __init__(self, group_resolver: Resolver, node_wildcard_enable: bool = True) -> None:
        """Take a GroupResolver, or None; with `node_wildcard_enable`, `*` and `?` are wildcards."""
        self.group_resolver = group_resolver
        self.node_wc = node_wildcard_enable

    def parse(self, nsobj: Any, autostep: float | None) -> NodeSetBase:
        """Return the set of a text, a node set itself, an empty set for None; TypeError for others."""
        if nsobj is None:
            return NodeSetBase()
        if isinstance(nsobj, NodeSetBase):
            return nsobj
        if isinstance(nsobj, str):
            return self.parse_string(nsobj, autostep)
        raise TypeError(f"a text, a node set or None is expected, not {nsobj!r}")

    def parse_string(
        self, nsstr: str, autostep: float | None, namespace: str | None = None
    ) -> NodeSetBase:
        """Return the set of a text; groups without a source are those of `namespace`."""
        if self.group_resolver is None:
            return _set_of(parse(nsstr), autostep)

        def reader(part: str) -> GroupReader:
            return GroupReader(self._queries(part), namespace, wildcards=self.node_wc)

        return _set_of(parse(nsstr, reader), autostep)

    def parse_string_single(self, nsstr: str, autostep: float | None) -> NodeSetBase:
        """Return the set of one name."""
        if not is_plain(nsstr.strip()):
            raise NodeSetParseError(nsstr, "not the name of one node")
        return _set_of(parse(nsstr), autostep)

    def parse_group(
        self, group: str, namespace: str | None = None, autostep: float | None = None
    ) -> NodeSetBase:
        """Return the nodes of a group, named without its `@`."""
        return self.parse(",".join(self._queries(f"@{group}").nodes(group, namespace)), autostep)

    def parse_group_string(
        self, nodegroup: str, namespace: str | None = None
    ) -> tuple[str, str | None]:
        """Return the source's text for `@group`, which may contain groups, and the source."""
        queries = self._queries(nodegroup)
        named, colon, group = nodegroup[1:].partition(":")
        if colon:
            namespace = named or None
        else:
            group = named
        if group == "*":
            return ",".join(self.all_nodes(namespace)), namespace
        if group.startswith("@"):
            return ",".join(self.grouplist(group[1:] or None)), namespace
        return ",".join(queries.nodes(group, namespace)), namespace

    def grouplist(self, namespace: str | None = None) -> list[str]:
        """Return the names of all groups of a source, sorted, without `@`."""
        return group_names(self._queries(f"@@{namespace or ''}"), namespace)

    def all_nodes(self, namespace: str | None = None) -> list[str]:
        """Return texts of all nodes of a source."""
        part = f"@{namespace}:*" if namespace else "@*"
        return all_texts(self._queries(part), namespace, part)

    def _queries(self, part: str) -> Queries:
        none = self.group_resolver is None
        return queries_of(RESOLVER_NOGROUP if none else self.group_resolver, part)


def _set_of(names: dict[str, None], autostep: float | None) -> NodeSetBase:
    nodes = NodeSetBase(autostep=autostep)
    nodes.update(NodeSetBase.fromnames(names))
    return nodes
