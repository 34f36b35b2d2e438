"""Hosts that are reached with ssh(1): the words that lead to an outpost there."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from mpshell.errors import TaskSettingError
from mpshell.hosts.launcher import HostsLauncher, check_engines, check_ways
from mpshell.hosts.packets import Way
from mpshell.nodeset import NodeSet

if TYPE_CHECKING:
    from mpshell.nodeset import Nodes

#: Seconds that a host has to answer.
PATIENCE = 20.0

#: Behind the options of the user, as ssh takes the first value of each. No question is asked, as nobody could
#: answer; a connection that is shared would end with another one; the agent stays here; a host that is cut off
#: is noticed by ssh as well, when the switchboard was killed.
_OPTIONS = (
    "-T", "-x", "-oBatchMode=yes", "-oControlMaster=no", "-oControlPath=none", "-oForwardAgent=no",
    "-oClearAllForwardings=yes", "-oServerAliveInterval=5", "-oServerAliveCountMax=3", "-oEscapeChar=none",
)  # fmt: skip

_MODULE = "mpshell.hosts.outpost"


def outpost_words(python: str | None) -> str:
    """Return the line for sh(1) that becomes an outpost: with this interpreter if the host has it."""
    if python is not None:
        return f"exec {shlex.quote(python)} -P -m {_MODULE}"
    own = shlex.quote(sys.executable or "python3")
    # Asked first: an interpreter without the package would end with a traceback.
    return (
        f"if test -x {own} && {own} -P -c 'import {_MODULE}' 2>/dev/null; then exec {own} -P -m {_MODULE}; "
        f"else exec python3 -P -m {_MODULE}; fi"
    )


def ssh_hosts(
    hosts: Nodes,
    *,
    engines: int | None = None,
    python: str | None = None,
    options: str | None = None,
    agent: bool = False,
) -> HostsLauncher:
    """Return a launcher whose engines run on `hosts` (a node set in any form), reached with ssh(1).

    `engines` is the number on each, by default one per processor. `python` is the path of an interpreter there
    that has mpshell, by default the path of this one if it exists there, else `python3`. `options` are more
    options of ssh for these hosts, as one text. With `agent` the agent of this user is forwarded: then root
    on a host can use it. TaskSettingError for a bad value.
    """
    names = list(NodeSet(hosts))
    if not names:
        raise TaskSettingError(f"no host in {hosts!r}")
    check_engines(engines)
    for name, value in (("python", python), ("options", options)):
        if value is not None and not isinstance(value, str):
            raise TaskSettingError(f"{name} is a text, not {value!r}")
    try:
        more = shlex.split(options or "")
    except ValueError as error:
        raise TaskSettingError(f"options {options!r}: {error}") from error
    words = ("ssh", *more, *(["-A"] if agent else []), *_OPTIONS)
    # The login shell of the host may be any.
    command = f"exec /bin/sh -c {shlex.quote(outpost_words(python))}"
    ways = [Way(name, (*words, "--", name, command), PATIENCE) for name in names]
    for way in ways:
        if way.name.startswith("-") or "\0" in "".join(way.argv):
            raise TaskSettingError(f"{way.name!r} is not the name of a host")
    check_ways(ways)
    return HostsLauncher(ways, engines)
