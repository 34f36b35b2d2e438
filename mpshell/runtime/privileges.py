"""The rights of a program on its machine, as one short text that changes when the program drops any of them.

The program reads it, and so do the processes that run its commands: a program that has dropped a right must not
be able to use it through them. Source: proc_pid_status(5).
"""

from __future__ import annotations

import binascii

from mpshell.runtime.procfs import status_field, status_of

#: The effective set is left out: a program raises and lowers it for a moment, and can while it is permitted.
_FIELDS = (b"Uid", b"Gid", b"CapInh", b"CapPrm", b"CapBnd", b"CapAmb")


def privileges_of(process: int | str) -> str | None:
    """Return the ids and capabilities of a process; "" for one without id 0 and without capabilities.

    `process` is its directory in /proc, e.g. "self". None if it cannot be read. A process changes the
    ids of all its threads at once; the directory of a process shows those of its main thread.
    """
    try:
        status = status_of(process)
    except OSError:
        return None
    uids, gids, *capabilities = (status_field(status, name) for name in _FIELDS)
    groups = status_field(status, b"Groups")
    if b"0" not in b" ".join((uids, gids, groups)).split() and not int(capabilities[1] or b"0", 16):
        return ""
    # There may be 65,536 groups, and this has to fit into one argument of a command.
    rest = b" ".join(b" ".join((uids, gids, *capabilities)).split())
    return f"{binascii.crc32(groups):x} {rest.decode()}"
