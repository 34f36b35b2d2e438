"""A client's log: messages of its program, written separately from the command's output.

The engine knows nothing of the program; the job defines which lines are for the diagnosis, and which are
messages for the user (`LogFormat`).
"""

from __future__ import annotations

import os

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from mpshell.wire.logformat import LogFormat, Redial

#: Bytes that are kept of the notes: the first, where a login is, and the last, where an end is.
_FIRST, _LAST = 3000, 1000

#: The number of bytes of a line in which its tag is searched.
_TAG_IN = 200

#: Bytes of a line without an end that are kept.
_LONGEST = 1 << 16


class LogLines:
    """A LogFormat in bytes, made once a job."""

    __slots__ = ("apart", "named", "noted", "private", "redial", "tag")

    def __init__(self, form: LogFormat) -> None:
        self.tag = None if form.tag is None else tuple(os.fsencode(text) for text in form.tag)
        self.noted = tuple(os.fsencode(text) for text in form.noted)
        self.private = tuple(os.fsencode(text) for text in form.private)
        self.named = tuple(os.fsencode(text) for text in form.named)
        self.apart = form.apart
        self.redial = None if form.redial is None else RedialTexts(form.redial)

    def begin(self) -> ClientLog:
        """Return the log of a client whose program is about to start."""
        return ClientLog(self)

    def sort(self, line: bytes) -> tuple[bool, bool, bytes]:
        """Return whether a line is noted, whether it is private, and its text without the tag."""
        if self.tag is None:
            noted = any(text in line for text in self.noted)
            return noted, line.startswith(self.private), line
        begin = line.find(self.tag[0], 0, _TAG_IN)
        end = 0
        for text in self.tag:
            at = line.find(text, end, _TAG_IN)
            if at < 0:
                return False, False, line
            end = at + len(text)
        text = line[end:]
        if text.startswith(self.named):
            text = line[line.rfind(b":", 0, begin) + 1 : begin] + b": " + text
        line = line[: line.rfind(b" ", 0, begin) + 1] + text
        return True, line.startswith(self.private), line


class RedialTexts:
    """A `Redial` in bytes, made once a job: looks for its texts in the notes of a log."""

    __slots__ = ("_connecting", "_dropped", "_opened", "_secured", "limit", "notice")

    def __init__(self, redial: Redial) -> None:
        self.limit = redial.limit
        self.notice = redial.notice
        self._connecting = _line_starts(redial.connecting)
        self._secured = _line_starts(redial.secured)
        self._opened = _line_starts(redial.opened)
        self._dropped = [os.fsencode(text) for text in redial.dropped]

    def place(self, notes: bytes) -> tuple[str, int] | None:
        """Return the address and port to which it connects, None if the log does not have them."""
        notes = b"\n" + notes
        at = max(notes.rfind(text) for text in self._connecting)
        if at < 0:
            return None
        line = notes[at + 1 :].partition(b"\n")[0].rstrip(b".")
        _, _, found = line.partition(b" [")
        address, _, port = found.rpartition(b"] port ")
        return (os.fsdecode(address), int(port)) if port.isdigit() else None

    def is_opened(self, notes: bytes) -> bool:
        return _holds(self._opened, b"\n" + notes)

    def is_secured(self, notes: bytes) -> bool:
        """Return whether the key exchange is over."""
        return _holds(self._secured + self._opened, b"\n" + notes)

    def is_dropped(self, notes: bytes, messages: bytes) -> bool:
        """Return whether this proves that the server has ended the connection before anything."""
        return not self.is_secured(notes) and _holds(self._dropped, notes + messages)


def _line_starts(texts: tuple[str, ...]) -> list[bytes]:
    return [b"\n" + os.fsencode(text) for text in texts]


def _holds(texts: list[bytes], text: bytes) -> bool:
    return any(each in text for each in texts)


class ClientLog:
    """One client's log, as far as it has been read."""

    __slots__ = ("_lines", "_rest", "notes")

    def __init__(self, lines: LogLines) -> None:
        self._lines = lines
        self._rest = b""
        #: The lines that are noted.
        self.notes = b""

    @property
    def apart(self) -> bool:
        """Whether its messages go a way of their own."""
        return self._lines.apart

    def take(self, data: bytes) -> bytes:
        """Take bytes that were read, note the lines to be noted, and return the messages for the user."""
        whole, newline, rest = (self._rest + data).rpartition(b"\n")
        if len(rest) > _LONGEST:
            whole, newline, rest = whole + newline + rest, b"\n", b""
        self._rest = rest
        if not newline:
            return b""
        messages = []
        for line in whole.split(b"\n"):
            if not line:
                continue
            noted, private, text = self._lines.sort(line)
            if noted:
                # ssh ends its lines as for a terminal in raw mode.
                self._note(text.removesuffix(b"\r"))
            if not private:
                messages.append(text + b"\n")
        return b"".join(messages)

    def _note(self, text: bytes) -> None:
        self.notes += text + b"\n"
        if len(self.notes) > _FIRST + 2 * _LAST:
            self.notes = self.notes[:_FIRST] + b"\n" + self.notes[-_LAST:]
