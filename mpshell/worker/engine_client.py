"""Where ClusterShell has ports and the errors of clients (Worker.EngineClient): names to import from here."""

from mpshell.coordinator.ports import EnginePort
from mpshell.errors import (
    EngineClientEOF,
    EngineClientError,
    EngineClientException,
    EngineClientNotSupportedError,
)

__all__ = [
    "EngineClientEOF",
    "EngineClientError",
    "EngineClientException",
    "EngineClientNotSupportedError",
    "EnginePort",
]
