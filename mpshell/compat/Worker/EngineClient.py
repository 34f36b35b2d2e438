"""The names of ClusterShell.Worker.EngineClient."""

from mpshell.defaults import DEFAULTS
from mpshell.errors import (
    EngineClientEOF,
    EngineClientError,
    EngineClientException,
    EngineClientNotSupportedError,
)
from mpshell.task.ports import EnginePort

__all__ = [
    "DEFAULTS",
    "EngineClientEOF",
    "EngineClientError",
    "EngineClientException",
    "EngineClientNotSupportedError",
    "EnginePort",
]
