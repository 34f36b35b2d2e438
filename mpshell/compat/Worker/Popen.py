"""The names of ClusterShell.Worker.Popen."""

from mpshell.errors import WorkerError
from mpshell.worker.kinds import WorkerPopen
from mpshell.worker.stream import WorkerSimple

#: The transport that `distant_workername` and `local_workername` name by this module.
WORKER_CLASS = WorkerPopen

__all__ = ["WORKER_CLASS", "WorkerError", "WorkerPopen", "WorkerSimple"]
