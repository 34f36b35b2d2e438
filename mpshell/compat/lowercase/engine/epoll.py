"""`mpshell.engine.epoll`: the names of `mpshell.compat.Engine.EPoll`."""

from mpshell.compat.Engine.EPoll import *  # noqa: F403
