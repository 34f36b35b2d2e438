"""`mpshell.engine.select`: the names of `mpshell.compat.Engine.Select`."""

from mpshell.compat.Engine.Select import *  # noqa: F403
