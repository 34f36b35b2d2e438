"""`mpshell.worker.engine_client`: the names of `mpshell.compat.Worker.EngineClient`."""

from mpshell.compat.Worker.EngineClient import *  # noqa: F403
