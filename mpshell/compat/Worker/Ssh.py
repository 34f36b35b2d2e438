"""The names of ClusterShell.Worker.Ssh."""

from mpshell.errors import WorkerError
from mpshell.worker.exec import ExecWorker
from mpshell.worker.ssh import WorkerSsh

#: What `distant_workername` and `local_workername` mean there by the name of this module.
WORKER_CLASS = WorkerSsh

__all__ = ["WORKER_CLASS", "ExecWorker", "WorkerError", "WorkerSsh"]
