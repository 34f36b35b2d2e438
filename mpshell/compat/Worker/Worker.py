"""The names of ClusterShell.Worker.Worker."""

from mpshell.errors import WorkerBadArgumentError, WorkerError, WorkerException
from mpshell.nodeset import NodeSet
from mpshell.worker.base import FANOUT_DEFAULT, FANOUT_UNLIMITED
from mpshell.worker.kinds import DistantWorker, Worker
from mpshell.worker.stream import StreamWorker, WorkerSimple

__all__ = [
    "FANOUT_DEFAULT",
    "FANOUT_UNLIMITED",
    "DistantWorker",
    "NodeSet",
    "StreamWorker",
    "Worker",
    "WorkerBadArgumentError",
    "WorkerError",
    "WorkerException",
    "WorkerSimple",
]
