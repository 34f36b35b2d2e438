"""The names of ClusterShell.Worker.Ssh."""

from mpshell.errors import WorkerError
from mpshell.worker.exec import ExecWorker
from mpshell.worker.ssh import WorkerSsh

#: The transport that `distant_workername` and `local_workername` name by this module.
WORKER_CLASS = WorkerSsh

__all__ = ["WORKER_CLASS", "ExecWorker", "WorkerError", "WorkerSsh"]
