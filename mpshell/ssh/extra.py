"""Whether the extra with AsyncSSH is installed, without importing it."""

from __future__ import annotations

import importlib.util


def missing() -> str | None:
    """Return how to install AsyncSSH, None if it is installed."""
    if importlib.util.find_spec("asyncssh") is not None:
        return None
    return "transport asyncssh needs AsyncSSH: pip install 'mpshell[asyncssh]'"
