"""Frames: a batch of messages, all that one turn of a loop has to say, pickled once and sent over a `Channel`.

Used by both processes. A frame makes messages and nothing else, each field of its type.
"""

from __future__ import annotations

import io

from mpshell.errors import ProtocolError
from mpshell.runtime.lean import pickle
from mpshell.wire import checks, messages
from mpshell.wire.connect import CHECK_CONNECT, Connect, FileCopy

_INT, _FLOAT, _BOOL, _STR, _BYTES = map(checks.kind, (int, float, bool, str, bytes))
_NUMBER, _TEXTS = checks.kind(int, float), checks.series(tuple, _STR)
_TEMPLATE = checks.series(tuple, checks.kind(str, int))
_VARIABLES = checks.maybe(checks.mapping(bytes, bytes))
_LOG_FORMAT = checks.fields(checks.maybe(_TEXTS), _TEXTS, _TEXTS, _BOOL)
_JOB_SPEC = checks.fields(
    checks.maybe(_TEMPLATE), checks.series(tuple, _TEMPLATE), checks.maybe(_NUMBER), _BOOL, _BOOL,
    _INT, _INT, _BOOL, _NUMBER, checks.maybe(_NUMBER), _BOOL, _INT, checks.pairs(_STR, _STR, tuple),
    _BOOL, checks.maybe_one(messages.LogFormat, _LOG_FORMAT), _BOOL,
    checks.maybe_one(Connect, CHECK_CONNECT),
)  # fmt: skip

#: Every message that a frame may hold, with the check of its fields.
_CHECKS: dict[type, checks.Check] = {
    messages.Configure: checks.fields(_BYTES, checks.maybe(_INT), _VARIABLES),
    messages.Submit: checks.fields(
        _INT, checks.maybe_one(messages.JobSpec, _JOB_SPEC), _INT, checks.series(list, _STR), _TEXTS
    ),
    messages.Write: checks.fields(_INT, _BYTES),
    messages.Stored: checks.fields(_INT, _INT, _INT, _INT),
    messages.CloseStdin: checks.fields(_INT),
    messages.SetSlots: checks.fields(_INT, _INT),
    messages.Cancel: checks.fields(checks.maybe(_INT), _INT, _BOOL),
    messages.Withdraw: checks.fields(_INT),
    messages.ForgetJob: checks.fields(_INT),
    messages.EndRun: checks.fields(),
    messages.ConnectLimits: checks.fields(_INT, checks.maybe(_NUMBER)),
    messages.PasswordGiven: checks.fields(_INT, _STR),
    messages.PasswordState: checks.fields(_INT, _STR, _INT, _INT),
    messages.Ping: checks.fields(),
    messages.Lease: checks.fields(_FLOAT),
    messages.Ready: checks.fields(_INT, _INT, _STR),
    messages.Located: checks.fields(_FLOAT, _INT),
    messages.Starting: checks.starting,
    messages.Output: checks.output,
    messages.Written: checks.fields(checks.pairs(_INT, _INT)),
    messages.Bodies: checks.fields(checks.pairs(_INT, _BYTES), _INT),
    messages.Finished: checks.finished,
    messages.SlotsHeld: checks.fields(_INT, _INT),
    messages.Trace: checks.fields(checks.pairs(_INT, _STR)),
    messages.Pong: checks.fields(),
    messages.Warn: checks.fields(_STR),
    messages.InputLost: checks.fields(_INT, _STR),
    messages.Notices: checks.fields(checks.pairs(_STR, _INT)),
    messages.HostKeys: checks.fields(checks.pairs(_STR, _STR)),
    messages.PasswordNews: checks.fields(checks.pairs(_INT, _STR)),
    messages.EngineFailed: checks.fields(_STR),
    messages.RunEnded: checks.fields(),
}

#: What the unpickler may make, by module and name: messages, and the job within one with its parts.
_CLASSES: dict[tuple[str, str], type] = {
    (cls.__module__, cls.__name__): cls
    for cls in (*_CHECKS, messages.JobSpec, messages.LogFormat, Connect, FileCopy)
}


class _Unpickler(pickle.Unpickler):
    """Knows the messages and nothing else: a frame never makes any other object."""

    def find_class(self, module: str, name: str) -> type:
        found = _CLASSES.get((module, name))
        if found is not None:
            return found
        raise ProtocolError(f"a frame names {module:.80}.{name:.80}, which is no message")


def encode(batch: list[messages.Message]) -> bytes:
    """Return the frame that carries messages."""
    return pickle.dumps(batch, 5)


def decode(frame: bytes) -> list[messages.Message]:
    """Return the messages of a frame, each field of its type; ProtocolError for any other bytes.

    MemoryError when there is no room for a frame of that size.
    """
    try:
        batch: list[messages.Message] = _Unpickler(io.BytesIO(frame)).load()
    except ProtocolError:
        raise
    # Unpickling garbage raises nearly anything; all of it means the same here.
    except Exception as error:
        if isinstance(error, MemoryError):
            # Garbage may ask for any size. A frame of messages takes about its own.
            bytearray(len(frame))
        raise ProtocolError(f"a frame of {len(frame)} bytes cannot be read: {error!r}") from error
    if batch.__class__ is not list:
        raise ProtocolError(f"a frame holds {type(batch).__name__}, not a list of messages")
    for message in batch:
        check = _CHECKS.get(message.__class__)
        # No value is shown: one may be nested too deeply for its repr(), and of any length.
        if check is None:
            raise ProtocolError(f"a frame holds {type(message).__name__}, which is no message")
        try:
            passes = check(message)
        except ValueError:
            passes = False
        if not passes:
            raise ProtocolError(f"a frame holds a {type(message).__name__} with other fields")
    return batch
