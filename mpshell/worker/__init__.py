"""Workers, the objects that users make to run commands. One module for each kind."""

from __future__ import annotations

#: ClusterShell's module names in lower case, for users.
__path__.append(f"{__path__[0]}/../compat/lowercase/worker")
