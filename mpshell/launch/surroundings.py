"""Working directory, mask and environment that a command gets from the process that requests it."""

from __future__ import annotations

import os

from mpshell.runtime.procfs import status_field, status_of
from mpshell.wire.messages import Configure


def surroundings() -> Configure:
    """Return the working directory, file mode mask and environment of this process."""
    env = dict(os.environb)
    try:
        cwd = os.getcwdb()
    except FileNotFoundError:
        cwd = b"/"
    # A shell would set it; a command without a shell gets the same.
    if env.get(b"PWD") is None or not os.path.isabs(env[b"PWD"]):
        env[b"PWD"] = cwd
    return Configure(cwd, _umask(), env)


def _umask() -> int | None:
    """Return this process's mask; umask(2) returns it only by changing it, for all threads at once."""
    try:
        mask = status_field(status_of("self"), b"Umask")
    except OSError:
        return None
    return int(mask, 8) if mask else None
