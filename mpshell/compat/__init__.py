"""mpshell under ClusterShell's own names: each module of ClusterShell has one of the same name here.

In a program's source `sed s/ClusterShell/mpshell.compat/` is the migration. A program that is not edited is
run by `python -m mpshell.compat PROGRAM ARGS`, or calls `install()` before its first import of ClusterShell.

Every class and function is mpshell's own, whichever way it is imported. The modules are loaded at their first
use. Modules without a counterpart in mpshell (`NodeUtils`, `Topology`, `CLI`, ...) come from an installed
ClusterShell.
"""

from mpshell.compat.imports import AlreadyImportedError, install

#: The version of ClusterShell whose API this is; `mpshell.__version__` is mpshell's.
__version__ = "1.10.1"
__version_info__ = (1, 10, 1)

__all__ = ["AlreadyImportedError", "install"]
