"""What every command of the package does around its own work: descriptors, outputs that fail, exit statuses."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

from mpshell.cli.text import visible_lines

#: sysexits.h: an internal error; an error of input or output.
INTERNAL_ERROR, IO_ERROR = 70, 74

#: What a shell says of a program that a signal has ended.
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
    """Drop what stderr could not take: the interpreter would end with 120 for it, whatever the status is."""
    try:
        sys.stderr.flush()
    except OSError:
        _forget(2)


def _forget(fd: int) -> None:
    """Let nobody read what is left in the buffer of an output: at the exit it could not be written either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), fd)


def _io_error(program: str, error: OSError) -> int:
    """Say that something could not be written or read, where that can be said."""
    _forget(1)
    try:
        sys.stderr.write(f"{program}: {visible_lines(str(error))}\n")
        sys.stderr.flush()
    except OSError:
        _forget(2)
    return IO_ERROR


def _have_all_descriptors() -> None:
    """Open what the caller has closed of stdin, stdout and stderr: no other file may get into its place.

    Each is opened for the wrong direction, so that a use of it is the error that it would be if it were
    closed, and output is not lost in silence.
    """
    for wanted, flag in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(wanted)
        except OSError:
            opened = os.open(os.devnull, flag)
            if opened != wanted:
                os.dup2(opened, wanted)
                os.close(opened)
    # Python has None in the place of a closed one, and print() to that is no error. With PYTHONUNBUFFERED it
    # has one without a buffer, whose write() may take a part of a text and leave the rest out.
    if sys.stdout is None or isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def own_error(error: BaseException) -> int:
    """Tell of an error of the program itself, or of a transport that is not ours."""
    import traceback

    try:
        sys.stderr.write(visible_lines("".join(traceback.format_exception(error))))
    except OSError:
        _forget(2)
    return INTERNAL_ERROR
