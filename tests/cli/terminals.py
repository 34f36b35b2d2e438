"""A program on a terminal of its own, for the tests of its displays and questions there."""

from __future__ import annotations

import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pexpect


@contextmanager
def on_a_terminal(
    line: Sequence[str], env: dict[str, str], **options: Any
) -> Iterator[pexpect.spawn[str]]:
    """Give a program that runs on a terminal; it is killed at the end when it still runs."""
    settings: dict[str, Any] = {"timeout": 60, "encoding": "utf-8", **options}
    child: pexpect.spawn[str] = pexpect.spawn(line[0], list(line[1:]), env=env, **settings)
    # An interrupt from a terminal discards output that its reader has not read yet: a key sent at once
    # would remove the program's earlier output.
    mode = termios.tcgetattr(child.child_fd)
    mode[3] |= termios.NOFLSH
    termios.tcsetattr(child.child_fd, termios.TCSANOW, mode)
    try:
        yield child
    finally:
        child.close(force=True)


def rest(child: pexpect.spawn[str]) -> str:
    """Return all that is shown until the end."""
    child.expect(pexpect.EOF)
    child.wait()
    return str(child.before)
