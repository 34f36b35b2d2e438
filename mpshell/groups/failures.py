"""The errors of groups that are also those of ClusterShell's NodeUtils: programs catch either.

Imported when ClusterShell is installed.
"""

from __future__ import annotations

import configparser
from typing import Any

from mpshell.groups.installed import node_utils
from mpshell.nodes.groups import NodeGroupError, NoGroupQueryError, title

_utils: Any = node_utils()


class GroupQueryError(NodeGroupError, _utils.GroupSourceQueryFailed):
    """A group source has failed."""


class GroupWithoutQueryError(NoGroupQueryError, _utils.GroupSourceNoUpcall):
    """A group source does not have the query that is needed."""


class GroupSourceUnknownError(NodeGroupError, _utils.GroupResolverSourceError):
    """There is no group source of that name."""


class GroupIllegalNameError(NodeGroupError, _utils.GroupResolverIllegalCharError):
    """A group source lists a group whose name has another meaning in node sets."""


class GroupConfigError(NodeGroupError, _utils.GroupResolverConfigError):
    """The configuration of groups cannot be used."""


#: Our error and its text, by the exception of a resolver; the special ones first.
_KINDS: tuple[tuple[type[Exception], type[NodeGroupError], str], ...] = (
    (_utils.GroupSourceNoUpcall, GroupWithoutQueryError, "{title} has no upcall {upcall}"),
    (_utils.GroupSourceError, GroupQueryError, "{title} failed: {error}"),
    (_utils.GroupResolverSourceError, GroupSourceUnknownError, "there is no such group source"),
    (_utils.GroupResolverIllegalCharError, GroupIllegalNameError,
     "{title} has a group with {error} in its name"),
    (_utils.GroupResolverError, GroupConfigError, "the configuration of groups: {error}"),
    (configparser.Error, GroupConfigError, "the configuration of groups: {error}"),
    (OSError, GroupConfigError, "the configuration of groups: {error}"),
    # A file or an answer with something else in it than ClusterShell expects.
    *((kind, GroupQueryError, "{title} failed: {name}: {error}")
      for kind in (ValueError, AttributeError, TypeError, KeyError)),
)  # fmt: skip

RAISED = tuple(theirs for theirs, _, _ in _KINDS)
"""The exceptions of a resolver for its configuration, its sources and their answers."""


def failure(
    error: Exception, part: str, source: str | None, upcall: str | None, resolver: Any
) -> NodeGroupError:
    """Return the error for an exception of a resolver that was asked about `part`."""
    ours, text = next((ours, text) for theirs, ours, text in _KINDS if isinstance(error, theirs))
    # Upcalls that fail name themselves: a query may take several.
    upcall = getattr(error, "upcall", upcall)
    if source is None:
        # The attribute: the property would read a configuration again, which may be the fault.
        source = getattr(getattr(resolver, "_default_source", None), "name", None)
    reason = text.format(title=title(source), upcall=upcall, error=error, name=type(error).__name__)
    if ours is GroupSourceUnknownError:
        reason = _unknown(source, resolver)
    if not issubclass(ours, (GroupQueryError, GroupWithoutQueryError)):
        # It is not about a query.
        upcall = None
    made = ours(part, reason, source, upcall)
    # The attributes of its errors that programs written for NodeUtils read.
    vars(made)["group_source"] = getattr(error, "group_source", None)
    return made


def _unknown(source: str | None, resolver: Any) -> str:
    """Return the text of a source that does not exist, with those that do."""
    known = sorted(getattr(resolver, "_sources", ()))
    files = getattr(resolver, "filenames", None)
    there = "no group source is configured"
    if known:
        there = f"the group sources are: {', '.join(known)}"
    elif files:
        there += f" in {files if isinstance(files, str) else ', '.join(files)}"
    return there if source is None else f'there is no group source "{source}" ({there})'
