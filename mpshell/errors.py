"""Exceptions of every layer. The names and their ancestry are those of ClusterShell."""

from __future__ import annotations


class TaskException(Exception):
    """Base of a Task's errors."""


class TaskError(TaskException):
    """Base of the errors of a Task."""


class TimeoutError(TaskError):
    """The time given to `resume()` or `run()` is over. Not the builtin of that name."""


class AlreadyRunningError(TaskError):
    """`resume()` was called on a Task that runs already, from its own thread."""


class TaskMsgTreeError(TaskError):
    """Recorded output was requested while its recording is off."""


class TaskSettingError(TaskError, ValueError):
    """A value that a Task's setting cannot take."""


class JournalError(TaskError):
    """A journal that cannot be used: of another version, damaged, locked, or there is no room for it."""


class DefaultsError(ValueError):
    """A file of defaults cannot be read; `path` is its name, the text has the place and the allowed values."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path

    def __str__(self) -> str:
        """Return the file and its fault."""
        return f"{self.path}: {self.args[1]}"


class UnknownThreadError(TaskError, LookupError):
    """No living thread has the identifier given."""


class WorkerException(Exception):
    """Base of a worker's errors."""


class WorkerError(WorkerException):
    """A worker is used in a state, or with a command, that does not allow it."""


#: ClusterShell's name for it; it *is* ValueError.
WorkerBadArgumentError = ValueError


class EngineException(Exception):
    """Base of the errors of the machinery under a Task."""


class EngineAbortException(EngineException):
    """Raised through a handler that called `abort()`: code after the call is not run."""

    def __init__(self, kill: bool) -> None:
        super().__init__(kill)
        self.kill = kill


class EngineTimeoutException(EngineException):
    """A run's time is over."""


class EngineIllegalOperationError(EngineException):
    """A timer or port is used in a state that does not allow it."""


class EngineAlreadyRunningError(EngineIllegalOperationError):
    """The run has begun already."""


class EngineNotSupportedError(EngineException):
    """An engine of that name does not exist."""

    def __init__(self, engineid: str) -> None:
        super().__init__(engineid)
        self.engineid = engineid


class EngineClientException(Exception):
    """Base of the errors of one client."""


class EngineClientError(EngineClientException):
    """A client cannot do the requested work."""


class EngineClientNotSupportedError(EngineClientError):
    """This kind of client does not support the operation."""


class EngineClientEOF(EngineClientException):
    """A client's stream has ended."""


class EngineStartError(EngineException):
    """No engine process can be started."""


class NoHostError(EngineStartError):
    """No other host can be used for engines; the message has the reason of each."""


class InputStorageError(EngineException, OSError):
    """Input for commands cannot be stored, usually because the disk is full.

    `errno` is that of the system's error. The run that needs the input ends.
    """

    @classmethod
    def of(cls, error: OSError) -> InputStorageError:
        """Return it for an error of the system."""
        made = cls(f"the input of commands cannot be stored: {error.strerror or error}")
        made.errno = error.errno
        return made


class ProtocolError(EngineException):
    """Bytes on a channel that are not a frame, or a frame that is not allowed there."""


class InvalidTransition(EngineException):
    """An event that is not possible in the state of a client; the text contains its history."""
