"""Frames of messages: a batch of all messages of one turn of a loop, pickled once for a `Channel`.

Used by both processes. The unpickler of a frame accepts the messages (`mpshell.wire.messages`) and
nothing else, and then the types of all fields are checked (`mpshell.wire.checks`). Classes that few runs need
are loaded with the first frame that has one.
"""

from __future__ import annotations

import io

from mpshell.errors import ProtocolError
from mpshell.runtime.lean import TYPE_CHECKING, pickle
from mpshell.wire import checks
from mpshell.wire.messages import (
    Bodies,
    Cancel,
    CloseStdin,
    Configure,
    ConnectLimits,
    EndRun,
    EngineFailed,
    Finished,
    ForgetJob,
    HostKeys,
    InputLost,
    JobSpec,
    Lease,
    Located,
    Notices,
    Output,
    PasswordGiven,
    PasswordNews,
    PasswordState,
    Ping,
    Pong,
    Ready,
    RunEnded,
    SetSlots,
    SlotsHeld,
    Starting,
    Stored,
    Submit,
    Trace,
    Warn,
    Withdraw,
    Write,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from mpshell.wire.messages import Message


def _log_format(value: Any) -> bool:
    if value is None:
        return True
    from mpshell.wire.logformat import CHECK_LOG_FORMAT, LogFormat

    return value.__class__ is LogFormat and CHECK_LOG_FORMAT(value)


def _connect(value: Any) -> bool:
    if value is None:
        return True
    from mpshell.wire.connect import CHECK_CONNECT, Connect

    return value.__class__ is Connect and CHECK_CONNECT(value)


_INT, _FLOAT, _BOOL, _STR, _BYTES = map(checks.kind, (int, float, bool, str, bytes))
_NUMBER, _TEXTS = checks.kind(int, float), checks.series(tuple, _STR)
_TEMPLATE = checks.series(tuple, checks.kind(str, int))
_VARIABLES = checks.maybe(checks.mapping(bytes, bytes))
_JOB_SPEC = checks.fields(
    checks.maybe(_TEMPLATE), checks.series(tuple, _TEMPLATE), checks.maybe(_NUMBER), _BOOL, _BOOL,
    _INT, _INT, _BOOL, _NUMBER, checks.maybe(_NUMBER), _BOOL, _INT, checks.pairs(_STR, _STR, tuple),
    _BOOL, _log_format, _BOOL, _connect, _BOOL,
)  # fmt: skip

#: Every message that a frame may hold, with the check of its fields.
_CHECKS: dict[type, checks.Check] = {
    Configure: checks.fields(_BYTES, checks.maybe(_INT), _VARIABLES),
    Submit: checks.fields(
        _INT, checks.maybe_one(JobSpec, _JOB_SPEC), _INT, checks.series(list, _STR), _TEXTS
    ),
    Write: checks.fields(_INT, _BYTES, checks.maybe(_INT)),
    Stored: checks.fields(_INT, _INT, _INT, _INT),
    CloseStdin: checks.fields(_INT, checks.maybe(_INT)),
    SetSlots: checks.fields(_INT, _INT),
    Cancel: checks.fields(checks.maybe(_INT), _INT, _BOOL),
    Withdraw: checks.fields(_INT),
    ForgetJob: checks.fields(_INT),
    EndRun: checks.fields(),
    ConnectLimits: checks.fields(_INT, checks.maybe(_NUMBER)),
    PasswordGiven: checks.fields(_INT, _STR),
    PasswordState: checks.fields(_INT, _STR, _INT, _INT),
    Ping: checks.fields(),
    Lease: checks.fields(_FLOAT),
    Ready: checks.fields(_INT, _INT, _STR),
    Located: checks.fields(_FLOAT, _INT, _STR, _STR),
    Starting: checks.starting,
    Output: checks.output,
    Written: checks.fields(checks.pairs(_INT, _INT)),
    Bodies: checks.fields(checks.pairs(_INT, _BYTES), _INT),
    Finished: checks.finished,
    SlotsHeld: checks.fields(_INT, _INT),
    Trace: checks.fields(checks.pairs(_INT, _STR)),
    Pong: checks.fields(),
    Warn: checks.fields(_STR),
    InputLost: checks.fields(_INT, _STR),
    Notices: checks.fields(checks.pairs(_STR, _INT)),
    HostKeys: checks.fields(checks.pairs(_STR, _STR)),
    PasswordNews: checks.fields(checks.pairs(_INT, _STR)),
    EngineFailed: checks.fields(_STR),
    RunEnded: checks.fields(),
}

#: The classes that the unpickler may make, by module and name: messages, and a job and its parts in a message.
_CLASSES: dict[tuple[str, str], type] = {}


def _admit(classes: Iterable[type]) -> None:
    _CLASSES.update(((cls.__module__, cls.__name__), cls) for cls in classes)


def _admit_files() -> None:
    from mpshell.wire.files import FILE_CHECKS

    _CHECKS.update(FILE_CHECKS)
    _admit(FILE_CHECKS)


def _admit_log_format() -> None:
    from mpshell.wire.logformat import LogFormat, Redial

    _admit((LogFormat, Redial))


def _admit_connect() -> None:
    from mpshell.wire.connect import Connect, FileCopy

    _admit((Connect, FileCopy))


_admit((*_CHECKS, JobSpec))

#: Modules that are loaded when a frame names one of them, and the functions that register their classes.
_LATER = {
    "mpshell.wire.files": _admit_files,
    "mpshell.wire.logformat": _admit_log_format,
    "mpshell.wire.connect": _admit_connect,
}


class _Unpickler(pickle.Unpickler):
    """Accepts the messages and nothing else: a frame never makes any other object."""

    def find_class(self, module: str, name: str) -> type:
        found = _CLASSES.get((module, name))
        if found is None and (admit := _LATER.get(module)) is not None:
            admit()
            found = _CLASSES.get((module, name))
        if found is not None:
            return found
        raise ProtocolError(f"a frame names {module:.80}.{name:.80}, which is not a message")


def encode(batch: list[Message]) -> bytes:
    """Return the frame that carries a batch of messages."""
    return pickle.dumps(batch, 5)


def decode(frame: bytes) -> list[Message]:
    """Return the messages of a frame, with checked field types; ProtocolError for any other bytes.

    MemoryError if there is no room for a frame of that size.
    """
    try:
        batch: list[Message] = _Unpickler(io.BytesIO(frame)).load()
    except ProtocolError:
        raise
    # Unpickling garbage may raise almost any exception; all of them mean the same here.
    except Exception as error:
        if isinstance(error, MemoryError):
            # Garbage may request any size. A frame of messages takes about its own.
            bytearray(len(frame))
        raise ProtocolError(f"a frame of {len(frame)} bytes cannot be read: {error!r}") from error
    if batch.__class__ is not list:
        raise ProtocolError(f"a frame holds {type(batch).__name__}, not a list of messages")
    for message in batch:
        check = _CHECKS.get(message.__class__)
        # Show no value: it may be nested too deeply for its repr(), and of any length.
        if check is None:
            raise ProtocolError(f"a frame holds {type(message).__name__}, which is not a message")
        try:
            passes = check(message)
        except ValueError:
            passes = False
        if not passes:
            raise ProtocolError(f"a frame holds a {type(message).__name__} with other fields")
    return batch
