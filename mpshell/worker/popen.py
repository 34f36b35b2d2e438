"""WorkerPopen: one local command, identified by a key."""

from mpshell.errors import WorkerError as WorkerError
from mpshell.worker.kinds import WorkerPopen as WorkerPopen

WORKER_CLASS = WorkerPopen
