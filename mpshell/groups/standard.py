"""The default resolver of node sets: one for the process, as in ClusterShell."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from mpshell.defaults import config_paths
from mpshell.nodes.groups import GroupReader, NodeGroupError, Queries, group_names
from mpshell.nodes.parser import Readers

RESOLVER_NOGROUP = -1
"""A resolver that resolves nothing: `@a`, `b*` and `c?` are names then."""

RESOLVER_NOINIT = -2
"""Another name for it, which ClusterShell's own copies have used."""


class StandardResolver:
    """ClusterShell's default resolver, which is made at its first use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_standard(), name)


RESOLVER_STD_GROUP = StandardResolver()
"""The resolver of the process where no other one was set."""

ILLEGAL_GROUP_CHARS = frozenset("@,!&^*")
"""Characters that the name of a group in a source may not have."""

_MISSING = "node groups and wildcards need ClusterShell's resolver: pip install 'mpshell[groups]'"

Resolver = Any
"""A GroupResolver of ClusterShell's NodeUtils, `RESOLVER_NOGROUP`, or None for the one of the process."""

_set: Any = None
_default: Any = None


def std_group_resolver() -> Any:
    """Return the resolver of the process: ClusterShell's default one unless another was set.

    NodeGroupError without the extra.
    """
    return _standard() if _set is None else _set


def _standard() -> Any:
    global _default
    if _default is None:
        _default = _configured(config_paths("groups.conf"))
    return _default


def set_std_group_resolver(new_resolver: Any) -> None:
    """Let node sets without a resolver of their own use another one; None: the default one again."""
    global _set
    _set = None if isinstance(new_resolver, StandardResolver) else check_resolver(new_resolver)


def set_std_group_resolver_config(
    groupsconf: str | list[str] | None, illegal_chars: Iterable[str] | None = None
) -> None:
    """Let node sets use the groups of a configuration file; no effect if it is None or empty."""
    if groupsconf:
        set_std_group_resolver(_configured(groupsconf, illegal_chars))


def set_default_source(resolver: Any, source: str) -> None:
    """Let the groups of a resolver that are named without a source be those of one; NodeGroupError."""
    from mpshell.groups.resolver import ResolverQueries

    ResolverQueries(resolver).set_default(source)


def _configured(paths: str | list[str], illegal_chars: Iterable[str] | None = None) -> Any:
    chars = ILLEGAL_GROUP_CHARS if illegal_chars is None else illegal_chars
    from mpshell.groups.installed import node_utils

    try:
        utils = node_utils()
    except ImportError as error:
        raise NodeGroupError("", _MISSING) from error
    return utils.GroupResolverConfig(paths, set(chars))


def grouplist(namespace: str | None = None, resolver: Resolver = None) -> list[str]:
    """Return the names of all groups of a source, sorted, without `@`; NodeGroupError."""
    return group_names(queries_of(resolver), namespace)


def check_resolver(resolver: Resolver) -> Resolver:
    """Return a valid `resolver` argument; ValueError for anything else."""
    if (
        resolver is None
        or isinstance(resolver, StandardResolver)
        or hasattr(resolver, "group_nodes")
    ):
        return resolver
    if resolver in (RESOLVER_NOGROUP, RESOLVER_NOINIT) and not isinstance(resolver, bool):
        return RESOLVER_NOGROUP
    raise ValueError(f"a GroupResolver, None or RESOLVER_NOGROUP is expected, not {resolver!r}")


def queries_of(resolver: Resolver, part: str = "") -> Queries:
    """Return the interface of a resolver, None for the one of the process; NodeGroupError.

    `part` is the text that needs it, for the error.
    """
    from mpshell.groups.resolver import ResolverQueries

    if resolver is None or isinstance(resolver, StandardResolver):
        try:
            resolver = std_group_resolver() if resolver is None else _standard()
        except NodeGroupError as error:
            raise NodeGroupError(part, error.msg) from error.__cause__
    elif resolver == RESOLVER_NOGROUP:
        raise NodeGroupError(part, "this node set has no group resolver (RESOLVER_NOGROUP)")
    return ResolverQueries(resolver)


def readers_of(resolver: Resolver) -> Readers | None:
    """Return a function that makes the reader of a text's groups, None if they are not resolved."""
    if resolver is None:
        return _standard_reader
    if resolver == RESOLVER_NOGROUP:
        return None
    return functools.partial(_reader, resolver)


def _standard_reader(part: str) -> GroupReader:
    return GroupReader(queries_of(None, part))


def _reader(resolver: Any, part: str) -> GroupReader:
    return GroupReader(queries_of(resolver, part))
