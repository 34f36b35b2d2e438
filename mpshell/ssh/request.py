"""The data that decide how a job connects; they are sent to engines in a message."""

from __future__ import annotations

from mpshell.runtime.lean import NamedTuple

#: Key exchanges: a notice where ssh(1) would have agreed on a quantum-safe one, or the node by ssh(1).
PREFER, REQUIRE = "prefer", "require"


class Request(NamedTuple):
    """The info keys of a task about ssh, as plain values.

    `options` are the words of `ssh_options`; `config` is a file in place of the user's and the system's (-F in
    `options` goes before it); `connect_timeout` is in seconds, 0 for none; `execs` holds the commands of
    `Match exec` that have been run, and whether each has succeeded (`mpshell.ssh.check`).
    """

    user: str = ""
    connect_timeout: float = 0
    options: tuple[str, ...] = ()
    config: str | None = None
    kex: str = PREFER
    execs: tuple[tuple[str, bool], ...] = ()
