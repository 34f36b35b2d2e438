"""Programs that attack their own processes of before, with privileges that they have dropped meanwhile."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

import mpshell
from mpshell.wire.codec import encode
from mpshell.wire.messages import Message
from tests.support import ENGINE_MARK, run_script

#: The checkout, for the `sys.path` of a program.
ROOT = str(Path(mpshell.__path__[0]).parent)


def attack(program: str, where: Path, way: str = "", when: str = "") -> str:
    """Run a program with these arguments, in a directory that is open to all users; return its output."""
    where.chmod(0o777)
    for parent in where.parents:
        if parent != Path("/tmp") and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o711)
    done = run_script(program, args=[str(where), way, when], env={"PATH": "/usr/bin:/bin"})
    assert done.stderr == ""
    return done.stdout


# -- for the programs -----------------------------------------------------------------------------------


def alive() -> list[int]:
    """Return this process' fork servers and engines."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE and ENGINE_MARK in " ".join(
                process.cmdline()
            ):
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def drop() -> None:
    """Become a user without privileges, for good."""
    os.setgroups([])
    os.setresgid(54322, 54322, 54322)
    os.setresuid(54321, 54321, 54321)


def framed(commands: Sequence[Message]) -> bytes:
    """Return the frame of a channel with these messages."""
    data = encode(list(commands))
    return struct.pack("!i", len(data)) + data


def write(fd: int, data: bytes) -> None:
    """Write to a descriptor; a reader that has ended is no error."""
    try:
        os.write(fd, data)
    except BrokenPipeError:
        pass


def fork(call: Callable[..., object], *args: object) -> None:
    """Make a call in a fork of this process, and wait for its end."""
    pid = os.fork()
    if not pid:
        try:
            call(*args)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
