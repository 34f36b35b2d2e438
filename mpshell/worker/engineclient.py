"""The same names as `mpshell.worker.engine_client`, for who lower-cases module names mechanically."""

from mpshell.worker.engine_client import (
    EngineClientEOF,
    EngineClientError,
    EngineClientException,
    EngineClientNotSupportedError,
    EnginePort,
)

__all__ = [
    "EngineClientEOF",
    "EngineClientError",
    "EngineClientException",
    "EngineClientNotSupportedError",
    "EnginePort",
]
