"""The names of ClusterShell.Worker.Popen."""

from mpshell.errors import WorkerError
from mpshell.worker.popen import WorkerPopen
from mpshell.worker.stream import WorkerSimple

#: What `distant_workername` and `local_workername` mean there by the name of this module.
WORKER_CLASS = WorkerPopen

__all__ = ["WORKER_CLASS", "WorkerError", "WorkerPopen", "WorkerSimple"]
