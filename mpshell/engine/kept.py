"""Files on the host of an engine that all engines there read: input of commands, and sources of copies.

They come over the channel of one engine and are stored in a directory of the outpost, which is removed at its
end. Each message has the place to write to; after the death of another engine the same bytes may be written
again.
"""

from __future__ import annotations

import os

from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.wire import files

if TYPE_CHECKING:
    from mpshell.engine.report import Report
    from mpshell.wire.messages import Message


class FileKeeper:
    """The files that this engine has open for writing, by their path."""

    #: Messages that make a command read a file, or need the coordinator's privileges.
    reads, powerful = files.StoredAt, (files.StoredAt, files.Keep)

    def __init__(self, report: Report) -> None:
        self._report = report
        self._open: dict[str, int] = {}

    def _keep(self, command: files.Keep) -> None:
        """Write bytes of a file; report how far it goes, or why it cannot be kept."""
        path, at = command.path, command.offset
        try:
            fd = self._open.get(path)
            if fd is None:
                fd = self._open[path] = _open(path)
            view = memoryview(command.data)
            while view:
                written = os.pwrite(fd, view, at)
                at += written
                view = view[written:]
        except OSError as error:
            self._report.kept.append(files.Kept(path, -1, _why(error)))
        else:
            self._report.kept.append(files.Kept(path, at, ""))

    def _finish(self, command: files.KeepEnd) -> None:
        """Give a whole file its mode and its times."""
        path = command.path
        try:
            fd = self._open.pop(path, None)
            if fd is None:
                fd = _open(path)
            try:
                os.fchmod(fd, command.mode)
                os.utime(fd, ns=(command.accessed, command.modified))
            finally:
                os.close(fd)
        except OSError as error:
            self._report.kept.append(files.Kept(path, -1, _why(error)))
        else:
            self._report.kept.append(files.Kept(path, files.WHOLE, ""))

    def handle(self, command: Message) -> bool:
        """Take a message about files that are kept; return False for any other."""
        if isinstance(command, files.Keep):
            self._keep(command)
        elif isinstance(command, files.KeepEnd):
            self._finish(command)
        elif isinstance(command, files.Drop):
            self._drop(command.path)
        return isinstance(command, files.KEEPING)

    def _drop(self, path: str) -> None:
        """Remove a file, with the directory that it has to itself."""
        if (fd := self._open.pop(path, None)) is not None:
            os.close(fd)
        for remove, name in ((os.unlink, path), (os.rmdir, os.path.dirname(path))):
            try:
                remove(name)
            except OSError:
                pass  # another engine has done it, or the outpost, which removes all at its end


def _open(path: str) -> int:
    try:
        os.mkdir(os.path.dirname(path), 0o700)
    except FileExistsError:
        pass  # another engine of this host was the first
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _why(error: OSError) -> str:
    return error.strerror or str(error)
