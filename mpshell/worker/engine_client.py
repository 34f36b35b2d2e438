"""Where ClusterShell has the errors of clients (Worker.EngineClient): names to import from here too."""

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
]
