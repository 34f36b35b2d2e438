"""The frame of every command of the package: descriptors, outputs that fail, exit statuses."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

from mpshell.cli.text import visible_lines

#: sysexits.h: an internal error; an error of input or output.
INTERNAL_ERROR, IO_ERROR = 70, 74

#: Added to a signal's number, as in a shell, for a program that the signal ended.
_INTERRUPTED, _NO_READER = 130, 141


def guarded(program: str, work: Callable[[], int]) -> int:
    """Do the work of a program and return its exit status, also where its outputs fail."""
    _have_all_descriptors()
    try:
        try:
            return work()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        _forget(1)
        return _NO_READER
    except OSError as error:
        return _io_error(program, error)
    except KeyboardInterrupt:
        from mpshell.cli.progress import clear_interrupt

        clear_interrupt()
        return _INTERRUPTED
    except Exception as error:
        return own_error(error)
    finally:
        _flush_stderr()


def _flush_stderr() -> None:
    """Drop data that stderr could not take: because of them the interpreter would end with 120."""
    try:
        sys.stderr.flush()
    except OSError:
        _forget(2)


def _forget(fd: int) -> None:
    """Point an output at /dev/null so that the flush at interpreter exit cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), fd)


def _io_error(program: str, error: OSError) -> int:
    """Report on stderr, if possible, that something could not be written or read."""
    _forget(1)
    try:
        sys.stderr.write(f"{program}: {visible_lines(str(error))}\n")
        sys.stderr.flush()
    except OSError:
        _forget(2)
    return IO_ERROR


def _have_all_descriptors() -> None:
    """Open stdin, stdout and stderr if the caller has closed them, so that no other file gets their number.

    Each is opened for the wrong direction, so that its use fails as if it were
    closed, and output is not lost silently.
    """
    for wanted, flag in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(wanted)
        except OSError:
            opened = os.open(os.devnull, flag)
            if opened != wanted:
                os.dup2(opened, wanted)
                os.close(opened)
    # Python has None for a closed one, and print() to None does not fail. With PYTHONUNBUFFERED it has one
    # without a buffer, whose write() may take a part of a text and drop the rest.
    if sys.stdout is None or isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def own_error(error: BaseException) -> int:
    """Report an error of the program itself, or of a user's transport."""
    import traceback

    try:
        sys.stderr.write(visible_lines("".join(traceback.format_exception(error))))
    except OSError:
        _forget(2)
    return INTERNAL_ERROR
