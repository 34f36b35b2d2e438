"""Whether the extra that brings AsyncSSH is there, without importing it."""

from __future__ import annotations

import importlib.util


def missing() -> str | None:
    """Return how to have AsyncSSH, None when it is there."""
    if importlib.util.find_spec("asyncssh") is not None:
        return None
    return "transport asyncssh needs AsyncSSH: pip install 'mpshell[asyncssh]'"
