"""The first and the last moments of a command: Ctrl-C ends it without a traceback there too.

Until its modules are loaded, and after its work, there is nothing to be cleared away, and the KeyboardInterrupt
of Python's own handler would be raised in an import, or in a function at the exit of the interpreter.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Work = Callable[[Sequence[str]], int]

#: The exit status, as a shell has it for a program that Ctrl-C has ended.
_INTERRUPTED = 128 + signal.SIGINT


def _leave_with(status: int) -> None:
    """Have Ctrl-C end this process with a status."""
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(status))


def start(program: str, load: Callable[[], Work], words: Sequence[str] | None) -> int:
    """Load the work of a program, do it, and return the exit status; `words` None: the process's own."""
    # Not where it is ignored, as in the background of a shell, or where a caller has a handler.
    ours = words is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        _leave_with(_INTERRUPTED)
    from mpshell.cli.guard import guarded

    work = load()

    def run() -> int:
        if not ours:
            return work(sys.argv[1:] if words is None else words)
        status = 0
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            status = work(sys.argv[1:])
        finally:
            # A status of the work stays, as that of SIGTERM. Output may be lost, which is no success.
            _leave_with(status or _INTERRUPTED)
        return status

    return guarded(program, run)
