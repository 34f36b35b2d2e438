"""The names of ClusterShell.Worker.Exec."""

from mpshell.errors import WorkerError
from mpshell.nodeset import NodeSet
from mpshell.worker.exec import ExecWorker
from mpshell.worker.kinds import DistantWorker

#: The transport that `distant_workername` and `local_workername` name by this module.
WORKER_CLASS = ExecWorker

__all__ = ["WORKER_CLASS", "DistantWorker", "ExecWorker", "NodeSet", "WorkerError"]
