"""The outputs of the program: stdout and stderr as bytes, colours, and room for the progress line.

The thread of the Task uses them while it runs, then the main thread; never both at once, except for
`message`, which is one write.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable, Iterable, Sequence

from mpshell.cli.text import visible, visible_lines

STDOUT, STDERR = 1, 2

#: Bytes of output that are copied to be shown; more is written in pieces.
PIECE = 1 << 16

_BLUE, _RED, _CYAN, _PLAIN = b"\033[34m", b"\033[31m", b"\033[36m", b"\033[0m"


class Terminal:
    """The two outputs. A write to a stdout without a reader raises BrokenPipeError."""

    def __init__(self, color: str, quiet: bool) -> None:
        self.quiet = quiet
        #: Takes a progress line away before something else is written.
        self.make_way: Callable[[], object] = _nothing
        #: Why something of the program's own could not be written.
        self.unsaid: OSError | None = None
        self._colored = {fd: _is_colored(fd, color) for fd in (STDOUT, STDERR)}
        self._labels: dict[tuple[int, str], bytes] = {}

    def out(self, *parts: bytes) -> None:
        """Write to stdout, in one piece unless that is a big one: it would be a copy."""
        self.make_way()
        _write_parts(STDOUT, parts)

    def stream(self, pieces: Iterable[bytes]) -> None:
        """Write to stdout in the order of the pieces, small ones together."""
        self.make_way()
        write_pieces(STDOUT, pieces)

    def err(self, data: bytes) -> None:
        """Write to stderr; if the user has closed it, drop the data."""
        self.make_way()
        try:
            write_all(STDERR, data)
        except BrokenPipeError:
            pass

    def message(self, text: str) -> None:
        """Write a line of the program's own to stderr, unless it has to be quiet."""
        if not self.quiet:
            self.own(text)

    def own(self, *texts: str) -> None:
        """Write lines of the program itself to stderr; if that is not possible the run goes on.

        If a node's failure cannot be reported, the others need not stop: `unsaid` keeps the error for the end.
        """
        try:
            self.err(b"".join(map(own_line, texts)))
        except OSError as error:
            self.unsaid = error

    def label(self, fd: int, name: str) -> bytes:
        """Return the label before a line of one or several nodes."""
        label = self._labels.get((fd, name))
        if label is None:
            label = (
                self.paint(fd, os.fsencode(f"{visible(name)}:"), _RED if fd == STDERR else _BLUE)
                + b" "
            )
            self._labels[fd, name] = label
        return label

    def header(self, name: str) -> bytes:
        """Return the header above the common output of nodes."""
        rule = b"-" * 15
        text = self.paint(STDOUT, b"\n".join((rule, os.fsencode(visible(name)), rule)), _BLUE)
        return text + b"\n"

    def diff_line(self, line: bytes) -> bytes:
        """Return a line of a diff, coloured by its kind."""
        if line.startswith((b"---", b"+++", b"@@")):
            return self.paint(STDOUT, line, _CYAN)
        if line.startswith(b"-"):
            return self.paint(STDOUT, line, _RED)
        return self.paint(STDOUT, line, _BLUE) if line.startswith(b"+") else line

    def paint(self, fd: int, text: bytes, color: bytes) -> bytes:
        return color + text + _PLAIN if self._colored[fd] else text


def own_line(text: str) -> bytes:
    """Return a line of the program itself."""
    return os.fsencode(f"mpshell: {visible_lines(text)}\n")


def write_all(fd: int, data: bytes) -> None:
    """Write everything, waiting where the other side is slow."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            # Another program with which it is shared has made it non-blocking.
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            poller.poll()


def _write_parts(fd: int, parts: Sequence[bytes]) -> None:
    if sum(map(len, parts)) <= PIECE:
        parts = (b"".join(parts),)
    for part in parts:
        write_all(fd, part)


def write_pieces(fd: int, pieces: Iterable[bytes]) -> None:
    """Write everything in the order of the pieces, small ones together; what is there before an error, too."""
    parts: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            parts.append(piece)
            size += len(piece)
            if size > PIECE:
                taken, parts, size = parts, [], 0
                _write_parts(fd, taken)
    finally:
        if parts:
            _write_parts(fd, parts)


def is_pipe(fd: int) -> bool:
    """Return whether a descriptor leads to another program, which may write to the same terminal."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def is_terminal(fd: int) -> bool:
    """Return whether a descriptor is a terminal on which lines can be taken back."""
    return os.isatty(fd) and os.environ.get("TERM", "dumb") != "dumb"


def _is_colored(fd: int, color: str) -> bool:
    if color == "auto":
        return is_terminal(fd)
    return color == "always"


def _nothing() -> None:
    """There is nothing to take away."""
