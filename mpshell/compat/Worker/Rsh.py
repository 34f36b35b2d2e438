"""The names of ClusterShell.Worker.Rsh."""

from mpshell.errors import WorkerError
from mpshell.worker.exec import ExecWorker
from mpshell.worker.rsh import WorkerRsh

#: The transport that `distant_workername` and `local_workername` name by this module.
WORKER_CLASS = WorkerRsh

__all__ = ["WORKER_CLASS", "ExecWorker", "WorkerError", "WorkerRsh"]
