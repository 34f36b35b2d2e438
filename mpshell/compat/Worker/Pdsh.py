"""The names of ClusterShell.Worker.Pdsh."""

from mpshell.errors import EngineClientError, EngineClientNotSupportedError, WorkerError
from mpshell.nodeset import NodeSet
from mpshell.worker.exec import ExecWorker
from mpshell.worker.pdsh import WorkerPdsh

#: The transport that `distant_workername` and `local_workername` name by this module.
WORKER_CLASS = WorkerPdsh

__all__ = [
    "WORKER_CLASS",
    "EngineClientError",
    "EngineClientNotSupportedError",
    "ExecWorker",
    "NodeSet",
    "WorkerError",
    "WorkerPdsh",
]
