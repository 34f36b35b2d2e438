"""Where ClusterShell has ports and the errors of clients (Worker.EngineClient): names to import from here."""

from mpshell.errors import (
    EngineClientEOF,
    EngineClientError,
    EngineClientException,
    EngineClientNotSupportedError,
)
from mpshell.task.ports import EnginePort

__all__ = [
    "EngineClientEOF",
    "EngineClientError",
    "EngineClientException",
    "EngineClientNotSupportedError",
    "EnginePort",
]
