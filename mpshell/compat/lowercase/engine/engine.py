"""`mpshell.engine.engine`: the names of `mpshell.compat.Engine.Engine`."""

from mpshell.compat.Engine.Engine import *  # noqa: F403
