"""The resolver that node sets use where none is given: one for the process, as in ClusterShell."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from mpshell.nodes.groups import GroupReader, NodeGroupError, Queries, group_names
from mpshell.nodes.parser import Readers

RESOLVER_NOGROUP = -1
"""A resolver that resolves nothing: `@a`, `b*` and `c?` are names then."""

ILLEGAL_GROUP_CHARS = frozenset("@,!&^*")
"""What a group source may not have in the name of a group."""

_MISSING = "node groups and wildcards need ClusterShell's resolver: pip install 'mpshell[groups]'"

Resolver = Any
"""A GroupResolver of ClusterShell's NodeUtils, `RESOLVER_NOGROUP`, or None for the one of the process."""

_set: Any = None
_default: Any = None


def std_group_resolver() -> Any:
    """Return the resolver of the process: ClusterShell's default one unless another was set.

    NodeGroupError without the extra.
    """
    global _default
    if _set is not None:
        return _set
    if _default is None:
        _default = _configured(_found("defaults").config_paths("groups.conf"))
    return _default


def set_std_group_resolver(new_resolver: Any) -> None:
    """Let node sets without a resolver of their own use another one; None: the default one again."""
    global _set
    _set = check_resolver(new_resolver)


def set_std_group_resolver_config(
    groupsconf: str | list[str] | None, illegal_chars: Iterable[str] | None = None
) -> None:
    """Let node sets use the groups of a configuration file; nothing changes where it is None or empty."""
    if groupsconf:
        set_std_group_resolver(_configured(groupsconf, illegal_chars))


def set_default_source(resolver: Any, source: str) -> None:
    """Let the groups of a resolver that are named without a source be those of one; NodeGroupError."""
    from mpshell.groups.resolver import ResolverQueries

    ResolverQueries(resolver).set_default(source)


def _configured(paths: str | list[str], illegal_chars: Iterable[str] | None = None) -> Any:
    chars = ILLEGAL_GROUP_CHARS if illegal_chars is None else illegal_chars
    return _found("node_utils").GroupResolverConfig(paths, set(chars))


def _found(module: str) -> Any:
    from mpshell.groups import installed

    try:
        return getattr(installed, module)()
    except ImportError as error:
        raise NodeGroupError("", _MISSING) from error


def grouplist(namespace: str | None = None, resolver: Resolver = None) -> list[str]:
    """Return the names of all groups of a source, sorted, without `@`; NodeGroupError."""
    return group_names(queries_of(resolver), namespace)


def check_resolver(resolver: Resolver) -> Resolver:
    """Return what a `resolver` argument may be; ValueError for anything else."""
    if (
        resolver is None
        or (resolver == RESOLVER_NOGROUP and not isinstance(resolver, bool))
        or hasattr(resolver, "group_nodes")
    ):
        return resolver
    raise ValueError(f"a GroupResolver, None or RESOLVER_NOGROUP is expected, not {resolver!r}")


def queries_of(resolver: Resolver, part: str = "") -> Queries:
    """Return what a resolver, None for the one of the process, can be asked; NodeGroupError.

    `part` is the text that needs it, for the error.
    """
    from mpshell.groups.resolver import ResolverQueries

    if resolver is None:
        try:
            resolver = std_group_resolver()
        except NodeGroupError as error:
            raise NodeGroupError(part, error.msg) from error.__cause__
    elif resolver == RESOLVER_NOGROUP:
        raise NodeGroupError(part, "this node set has no group resolver (RESOLVER_NOGROUP)")
    return ResolverQueries(resolver)


def readers_of(resolver: Resolver) -> Readers | None:
    """Return what makes the reader of a text's groups, None where they are not resolved."""
    if resolver is None:
        return _standard_reader
    if resolver == RESOLVER_NOGROUP:
        return None
    return functools.partial(_reader, resolver)


def _standard_reader(part: str) -> GroupReader:
    return GroupReader(queries_of(None, part))


def _reader(resolver: Any, part: str) -> GroupReader:
    return GroupReader(queries_of(resolver, part))
