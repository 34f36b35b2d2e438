"""`mpshell.engine.poll`: the names of `mpshell.compat.Engine.Poll`."""

from mpshell.compat.Engine.Poll import *  # noqa: F403
