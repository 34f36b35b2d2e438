"""How an engine reads the log of a program, and the proofs about its connection in it."""

from __future__ import annotations

from mpshell.runtime.lean import NamedTuple
from mpshell.wire import checks


class Redial(NamedTuple):
    """A program that is started again if its log proves that a server ended its connection before the login.

    The proof is a line that begins with one of `connecting`, none with one of `secured` and `opened`, one of
    `dropped` anywhere in the log, and an exit status that is not 0.
    """

    limit: float  # seconds to connect, over all tries; 0: none
    connecting: tuple[str, ...]  # a connection to "[ADDRESS] port NUMBER" is begun
    secured: tuple[str, ...]  # the key exchange is over
    opened: tuple[str, ...]  # it is logged in: from here on something may run
    dropped: tuple[str, ...]
    notice: str  # text for the user about nodes that were dropped until the time was over


class LogFormat(NamedTuple):
    """How an engine reads the log that a client writes to LOG_PATH, line by line.

    A line with all texts of `tag`, in this order, is noted for the diagnosis; the tag, from the last space
    before the first text to the end of the last, is removed. Without a tag, a line that contains one of the
    texts in `noted` is noted. Lines that begin with a text in `private` are not passed on if they were noted or
    there is no tag; all others are treated like the client's stderr. The function's name, which the tag has
    before its first text, is put back in front of texts in `named`.
    """

    tag: tuple[str, ...] | None
    noted: tuple[str, ...]
    private: tuple[str, ...]
    apart: bool = False  # as LOG, and not like stderr
    named: tuple[str, ...] = ()
    redial: Redial | None = None  # when to start the client once more


_TEXTS, _TEXT = checks.series(tuple, checks.kind(str)), checks.kind(str)
_REDIAL = checks.fields(checks.kind(int, float), _TEXTS, _TEXTS, _TEXTS, _TEXTS, _TEXT)

CHECK_LOG_FORMAT = checks.fields(
    checks.maybe(_TEXTS),
    _TEXTS,
    _TEXTS,
    checks.kind(bool),
    _TEXTS,
    checks.maybe_one(Redial, _REDIAL),
)
