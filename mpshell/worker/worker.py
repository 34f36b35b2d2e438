"""The names that workers of every kind share, in one place to import them from."""

from mpshell.errors import WorkerBadArgumentError, WorkerError, WorkerException
from mpshell.worker.base import FANOUT_DEFAULT, FANOUT_UNLIMITED, Worker
from mpshell.worker.distant import DistantWorker
from mpshell.worker.stream import StreamWorker, WorkerSimple

__all__ = [
    "FANOUT_DEFAULT",
    "FANOUT_UNLIMITED",
    "DistantWorker",
    "StreamWorker",
    "Worker",
    "WorkerBadArgumentError",
    "WorkerError",
    "WorkerException",
    "WorkerSimple",
]
