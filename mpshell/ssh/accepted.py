"""New host keys written to known_hosts (`StrictHostKeyChecking accept-new`), by the coordinator alone."""

from __future__ import annotations

import fcntl
import os


def append_line(path: str, line: str) -> bool:
    """Append a line to a file of host keys unless it is there; return whether it was not.

    The file and its directory are made if needed, as by ssh(1); OSError if that, or writing, fails. Any number
    of processes may do this at once: a lock on the file orders them, and a line is written as a whole. Lines
    with a hashed name differ each time, so a host may have a second one, which does no harm.
    """
    directory = os.path.dirname(path)
    if directory and not os.path.isdir(directory):
        os.makedirs(directory, mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with open(fd, "rb+", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        wanted = os.fsencode(line)
        size = os.fstat(fd).st_size
        # A hashed name differs each time, so do not search for it.
        if not wanted.startswith(b"|1|") and _holds(_all(fd), wanted):
            return False
        start = b"" if not size or os.pread(fd, 1, size - 1) == b"\n" else b"\n"
        data = start + wanted + b"\n"
        while data:
            data = data[os.write(fd, data) :]
    return True


def _all(fd: int) -> bytes:
    """Return the content of a file."""
    pieces = []
    at = 0
    while piece := os.pread(fd, 1 << 20, at):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _holds(data: bytes, line: bytes) -> bool:
    """Return whether a line is one of those in some bytes; a file may have very many."""
    at = data.find(line)
    while at >= 0:
        end = at + len(line)
        if data[at - 1 : at] in (b"", b"\n") and data[end : end + 1] in (b"", b"\n"):
            return True
        at = data.find(line, at + 1)
    return False
