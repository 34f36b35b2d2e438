"""The names of ClusterShell.Worker.Exec."""

from mpshell.errors import WorkerError
from mpshell.nodeset import NodeSet
from mpshell.worker.distant import DistantWorker
from mpshell.worker.exec import ExecWorker

#: What `distant_workername` and `local_workername` mean there by the name of this module.
WORKER_CLASS = ExecWorker

__all__ = ["WORKER_CLASS", "DistantWorker", "ExecWorker", "NodeSet", "WorkerError"]
