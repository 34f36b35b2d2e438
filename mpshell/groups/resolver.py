"""Asks a resolver of ClusterShell's kind: an object with `group_nodes`, `all_nodes`, `grouplist`,
`has_node_groups` and `node_groups`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mpshell.nodes.groups import NodeGroupError

_T = TypeVar("_T")


class ResolverQueries:
    """`mpshell.nodes.groups.Queries` of a resolver."""

    def __init__(self, resolver: Any) -> None:
        self._resolver = resolver
        self._is_bound = False

    def nodes(self, group: str, source: str | None) -> list[str]:
        """Return the members of a group."""
        part = f"@{group}" if source is None else f"@{source}:{group}"
        return self._texts(part, source, "map", "group_nodes", group)

    def all_nodes(self, source: str | None) -> list[str]:
        """Return all nodes of a source."""
        return self._texts("@*" if source is None else f"@{source}:*", source, "all", "all_nodes")

    def groups(self, source: str | None) -> list[str]:
        """Return the names of all groups of a source."""
        return self._texts(f"@@{source or ''}", source, "list", "grouplist")

    def has_reverse(self, source: str | None) -> bool:
        """Return whether the source can list the groups of a node."""
        return self._ask("", source, None, lambda: bool(self._resolver.has_node_groups(source)))

    def groups_of(self, node: str, source: str | None) -> list[str]:
        """Return the names of the groups of a node."""
        return self._texts(node, source, "reverse", "node_groups", node)

    def set_default(self, source: str) -> None:
        """Let groups without a source be those of one."""

        def set_it() -> None:
            self._resolver.default_source_name = source

        self._ask("", source, None, set_it)

    def _texts(
        self, part: str, source: str | None, upcall: str, method: str, *arguments: str
    ) -> list[str]:
        def ask() -> list[str]:
            return [str(text) for text in getattr(self._resolver, method)(*arguments, source)]

        return self._ask(part, source, upcall, ask)

    def _ask(self, part: str, source: str | None, upcall: str | None, ask: Callable[[], _T]) -> _T:
        """Call a function, and raise NodeGroupError for an exception of the resolver."""
        try:
            from mpshell.groups.failures import RAISED, failure
            from mpshell.groups.upcalls import bound
        except ImportError:
            # A resolver of the caller's own, without ClusterShell: its exceptions are the caller's too.
            return ask()
        try:
            if not self._is_bound:
                bound(self._resolver)
                self._is_bound = True
            return ask()
        except NodeGroupError:
            raise
        except RAISED as error:
            raise failure(error, part, source, upcall, self._resolver) from error
