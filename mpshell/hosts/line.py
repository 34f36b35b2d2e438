"""One end of a line: its descriptors in a loop. Frames are sent in order, except those that must not wait.

A beat that had to wait for a megabyte of output would let a lease run out on a slow network. So frames
about time and room are sent first, and a body is short (`mpshell.hosts.frames.BODY`).

Each write wakes all processes on the way to the coordinator. So an end may make a pause between two writes, and
the frames of the pause are sent together. A frame for an idle line is sent at once.
"""

import os
from collections import deque
from collections.abc import Callable

from mpshell.errors import ProtocolError
from mpshell.hosts import frames
from mpshell.runtime.loop import EventLoop, TimerHandle

#: Frames that go before the others. An engine's START is one, so that a FENCE never comes before it.
_URGENT = frozenset(
    (frames.HELLO, frames.START, frames.FENCE, frames.CONFIRM, frames.BEAT, frames.CREDIT)
)  # fmt: skip

_READ_SIZE = 1 << 18

#: The other end is gone, as at an end of file, and has left bytes unread (unix(7)): the reason is in the last
#: words of its program, not in the name of the error.
_GONE = (ConnectionResetError, BrokenPipeError)

OnFrame = Callable[[bytes, int, bytes], object]


class LineEnd:
    """Frames in and out of two descriptors, which may be one, and which it owns.

    `on_frame` gets a kind, an engine's number and a body, and may raise ProtocolError; `on_end` gets the reason
    why nothing comes or goes any more, once. `pause` is the seconds between two writes, at least, unless there
    is much to be written.
    """

    def __init__(
        self,
        fds: tuple[int, int],
        loop: EventLoop,
        on_frame: OnFrame,
        on_end: Callable[[str], object],
        greeted: bool,
        pause: float = 0.0,
    ) -> None:
        self._read_fd, self._write_fd = fds
        self._loop = loop
        self._on_frame = on_frame
        self._on_end = on_end
        self._pause = pause
        self._frames = frames.Frames(greeted)
        self._urgent: deque[bytes] = deque()
        self._bulk: deque[bytes] = deque()
        #: The data that are being written.
        self._out = memoryview(b"")
        #: Bytes in `_urgent` and `_bulk`.
        self._size = 0
        #: The next write, while one is to come; the moment when the pause after the last one is over.
        self._due: TimerHandle | None = None
        self._rested = 0.0
        self._writing = False
        self.closed = False
        for fd in set(fds):
            os.set_blocking(fd, False)
        loop.add_reader(self._read_fd, self.receive)

    def send(self, kind: bytes, engine: int = 0, body: bytes = b"") -> None:
        """Send a frame together with the waiting ones."""
        if self.closed:
            return
        frame = frames.pack(kind, engine, body)
        (self._urgent if kind in _URGENT else self._bulk).append(frame)
        self._size += len(frame)
        if self._writing:
            return
        when = self._rested if self._pause and self._size < frames.BODY else 0.0
        if self._due is not None:
            if self._due.when <= when:
                return
            self._due.cancel()
        self._due = self._loop.call_at(when, self._flush)

    def greet(self) -> None:
        """Send the greeting, before all frames."""
        self._urgent.append(frames.GREETING)
        self._size += len(frames.GREETING)

    def _flush(self) -> None:
        self._due = None
        while not self.closed and (self._out or self._fill()):
            try:
                written = os.write(self._write_fd, self._out)
            except BlockingIOError:
                if not self._writing:
                    self._writing = True
                    self._loop.add_writer(self._write_fd, self._flush)
                return
            except _GONE:
                self._fail("")
                return
            except OSError as error:
                self._fail(os.strerror(error.errno or 0))
                return
            self._out = self._out[written:]
        if self._pause:
            self._rested = self._loop.time() + self._pause
        if self._writing and not self.closed:
            self._writing = False
            self._loop.remove_writer(self._write_fd)

    def _fill(self) -> bool:
        """Take the data to write next; return whether there are any."""
        chosen, size = [], 0
        while (self._urgent or self._bulk) and size < frames.BODY:
            chosen.append((self._urgent or self._bulk).popleft())
            size += len(chosen[-1])
        self._size -= size
        self._out = memoryview(b"".join(chosen))
        return bool(chosen)

    def receive(self) -> bool:
        """Receive data; return whether any have arrived."""
        if self.closed:
            return False
        try:
            data = os.read(self._read_fd, _READ_SIZE)
        except BlockingIOError:
            return False
        except _GONE:
            self._fail("")
            return False
        except OSError as error:
            self._fail(os.strerror(error.errno or 0))
            return False
        if not data:
            self._fail("")
            return False
        try:
            for kind, engine, body in self._frames.feed(data):
                self._on_frame(kind, engine, body)
                if self.closed:
                    break
        except ProtocolError as error:
            self._fail(str(error))
        return True

    def _fail(self, why: str) -> None:
        if not self.closed:
            self.close()
            self._on_end(why)

    def close(self) -> None:
        """Close the descriptors; unwritten data are dropped. Repeatable."""
        if self.closed:
            return
        self.closed = True
        if self._due is not None:
            self._due.cancel()
        self._loop.remove_reader(self._read_fd)
        self._loop.remove_writer(self._write_fd)
        for fd in {self._read_fd, self._write_fd}:
            os.close(fd)
