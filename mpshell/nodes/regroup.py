"""Own the way back from nodes to groups: which groups nodes are in, and which groups stand for them.

Called by `mpshell.nodeset`.  Pure code without global state; the answers come through `Queries`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mpshell.nodes.groups import (
    GroupReader,
    NodeGroupError,
    NoGroupQueryError,
    Queries,
    group_names,
)
from mpshell.nodes.parser import parse


def groups_of(
    names: Sequence[str], queries: Queries, source: str | None
) -> dict[str, dict[str, None]]:
    """Return the members of each group that has one of the nodes, in order of their first node."""
    listed = _listed(queries, source)
    if queries.has_reverse(source) and (not listed or len(listed) >= len(names)):
        # One query a node is no more than one a group then.
        found: dict[str, None] = {}
        for name in names:
            found.update(dict.fromkeys(queries.groups_of(name, source)))
        return {group: _members(group, queries, source) for group in found}
    places = {name: place for place, name in enumerate(names)}
    groups = {group: _members(group, queries, source) for group in listed}
    firsts = {
        group: min((places[name] for name in members if name in places), default=None)
        for group, members in groups.items()
    }
    inside = [(first, group) for group, first in firsts.items() if first is not None]
    return {group: groups[group] for _, group in sorted(inside, key=lambda item: item[0])}


def _listed(queries: Queries, source: str | None) -> list[str]:
    try:
        return group_names(queries, source)
    except NoGroupQueryError:
        return []
    except NodeGroupError as error:
        # A source whose list fails may still be able to list the groups of a node.
        if error.upcall is None or not queries.has_reverse(source):
            raise
        return []


def _members(group: str, queries: Queries, source: str | None) -> dict[str, None]:
    text = ",".join(queries.nodes(group, source))
    return parse(text, lambda part: GroupReader(queries, source))


def cover(
    names: Collection[str], groups: dict[str, dict[str, None]], overlap: bool
) -> tuple[list[str], dict[str, None]]:
    """Return groups that hold no other node than `names`, the largest first, and the nodes in none of them.

    With `overlap` two of them may have nodes in common.
    """
    rest = dict.fromkeys(names)
    whole = [
        group for group, members in groups.items() if members and members.keys() <= rest.keys()
    ]
    chosen: list[str] = []
    for group in sorted(whole, key=lambda group: (-len(groups[group]), group)):
        if overlap or groups[group].keys() <= rest.keys():
            chosen.append(group)
            for name in groups[group]:
                rest.pop(name, None)
        if not rest:
            break
    return chosen, rest
