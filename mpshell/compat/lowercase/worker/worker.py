"""`mpshell.worker.worker`: the names of `mpshell.compat.Worker.Worker`."""

from mpshell.compat.Worker.Worker import *  # noqa: F403
