"""`mpshell.worker.engineclient`: the names of `mpshell.compat.Worker.EngineClient`."""

from mpshell.compat.Worker.EngineClient import *  # noqa: F403
