"""One end of the stream of frames between the coordinator and an engine.

Neither end ever blocks: `send` queues, `flush` writes as much as the socket takes, `receive` returns everything
that has arrived. The loop of each process watches the descriptor. Both processes use it, each from one
thread.

The engine's end checks the sender of each frame: only the program may command it.

The wire format is that of multiprocessing.connection (a length as 4 bytes in network order;
-1 and 8 bytes for a long one), so that either end may be a plain `Connection` in a test.
"""

from __future__ import annotations

# The C module of `socket`: the enums of the wrapper cost seven milliseconds at every start.
import _socket
import errno
import os
import struct
from collections import deque

from mpshell.errors import ProtocolError
from mpshell.runtime.descriptors import Descriptor
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.wire.credentials import (
    Sender,
    as_ancillary,
    ask_for_senders,
    receive_of,
    send_with,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHORT = struct.Struct("!i")
_LONG = struct.Struct("!Q")
#: Bytes of a read, and of one that follows a read as long as the first of these. A buffer of the second size is
#: mapped, touched and unmapped for each read, which costs 15 us: five times as much as a small frame.
_READ_SIZE, _LONG_READ_SIZE = 1 << 16, 1 << 18
_SHORT_MAX = 0x7FFFFFFF

#: A longer frame is treated as garbage.
MAX_FRAME = 1 << 30

#: The same for frames from another host.
MAX_FAR_FRAME = 1 << 24


class Channel:
    """Frames in and out of a connected stream socket, which it owns."""

    __slots__ = (
        "_closed", "_descriptor", "_in", "_longest", "_out", "_passed", "_passing", "_read_size", "_sender",
        "_signature", "_sock", "altered", "broken", "error", "pending"
    )  # fmt: skip

    def __init__(self, fd: int, sender: Sender | None = None, longest: int = MAX_FRAME) -> None:
        self._sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fileno=fd)
        self._sock.setblocking(False)
        self._descriptor = Descriptor(fd)
        self._in = bytearray()
        self._read_size = _READ_SIZE
        #: The most bytes of a received frame.
        self._longest = longest
        #: The only process whose frames are accepted; None: any process that has the other end.
        self._sender = sender
        self._signature = as_ancillary(sender) if sender is not None else None
        #: Whether some of the frames that `receive` returned last are from that process with other ids.
        self.altered = False
        self._out: deque[memoryview] = deque()
        #: Copies of the descriptors that are sent with a part of `_out`, in the same order.
        self._passing: deque[tuple[memoryview, list[Descriptor]]] = deque()
        #: Received descriptors that have not been taken.
        self._passed: list[int] = []
        self._closed = False
        #: Bytes queued and not yet written.
        self.pending = 0
        #: Whether the peer has ended: the queue is dropped.
        self.broken = False
        #: The bytes that arrived after the frames that `receive` returned last, and are not a frame.
        self.error: ProtocolError | None = None

    def fileno(self) -> int:
        """Return the descriptor, for a loop."""
        return self._sock.fileno()

    def ours(self) -> bool:
        """Return whether the descriptor is still this channel's (`mpshell.runtime.descriptors`)."""
        return self._descriptor.ours()

    def send(self, frame: bytes, descriptors: Iterable[int] = ()) -> None:
        """Queue a frame and write as much as can be written now.

        Copies of `descriptors` are sent with it, at most `MOST_DESCRIPTORS`; one that cannot be copied is left
        out. A peer that has ended is not an error here: `receive` raises EOFError.
        """
        size = len(frame)
        head = _SHORT.pack(size) if size <= _SHORT_MAX else _SHORT.pack(-1) + _LONG.pack(size)
        # One write for a small frame; a large one is not copied again to add its header.
        if size < 65536:
            self._queue(head + frame)
        else:
            self._queue(head)
            self._queue(frame)
        if descriptors:
            self._passing.append((self._out[-1], _copies(descriptors)))
        self.flush()

    def _queue(self, data: bytes) -> None:
        self._out.append(memoryview(data))
        self.pending += len(data)

    def flush(self) -> bool:
        """Write as much as the socket takes; return whether nothing is left."""
        out = self._out
        while out:
            try:
                if self._passing and self._passing[0][0] is out[0]:
                    sent = self._send_passing()
                else:
                    # Without MSG_NOSIGNAL a program with the default action of SIGPIPE would be killed.
                    sent = self._sock.send(out[0], _socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.EBADF):
                    raise
                self._drop_queue()
                self.broken = True
                return True
            self.pending -= sent
            if sent == len(out[0]):
                out.popleft()
            else:
                out[0] = out[0][sent:]
        return True

    def _send_passing(self) -> int:
        """Write a part, and pass its descriptors."""
        part, copies = self._passing[0]
        ours = [copy.fd for copy in copies if copy.ours()]
        try:
            sent = send_with(self._sock, part, ours)
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS:
                raise
            # More are in flight than this user may have. The peer notices that they have not arrived.
            sent = self._sock.send(part, _socket.MSG_NOSIGNAL)
        self._passing.popleft()
        for copy in copies:
            copy.close()
        return sent

    def _drop_queue(self) -> None:
        self._out.clear()
        self.pending = 0
        while self._passing:
            for copy in self._passing.popleft()[1]:
                copy.close()

    def take_descriptor(self, device: int, inode: int) -> int:
        """Return the received descriptor of that file, which the caller closes; -1 if there is none."""
        for fd in self._passed:
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == (device, inode):
                self._passed.remove(fd)
                return fd
        return -1

    def receive(self) -> list[bytes]:
        """Return the frames that one read completes, perhaps none.

        Raise EOFError if the peer has ended (an incomplete frame is dropped) or another process has
        written, ProtocolError for a length that no frame has: in the call after the one that returns the
        frames before it.
        """
        if self.error is not None:
            raise self.error
        try:
            data = self._sock.recv(self._read_size) if self._signature is None else self._read()
        except BlockingIOError:
            return []
        except ConnectionResetError:
            data = b""
        if not data:
            raise EOFError("the peer of a channel has ended")
        self._read_size = _READ_SIZE if len(data) < _READ_SIZE else _LONG_READ_SIZE
        self._in += data
        frames = self._cut()
        if self.error is not None and not frames:
            raise self.error
        return frames

    def _read(self) -> bytes:
        data, sender, descriptors = receive_of(self._sock, self._read_size, self._signature or [])
        self._passed += descriptors
        if sender is not None:
            if self._sender is None or sender.pid != self._sender.pid:
                raise EOFError(f"another process has written to a channel: {sender}")
            self.altered = True
        elif not self._in:
            # After an incomplete frame nothing of the channel can be trusted.
            self.altered = False
        return data

    def _cut(self) -> list[bytes]:
        frames = []
        buffer, start, end = self._in, 0, len(self._in)
        while end - start >= 4:
            (size,) = _SHORT.unpack_from(buffer, start)
            head = 4
            if size == -1:
                if end - start < 12:
                    break
                (size,) = _LONG.unpack_from(buffer, start + 4)
                head = 12
            if not 0 <= size <= self._longest:
                self.error = ProtocolError(
                    f"a frame of {size} bytes is announced, at most {self._longest}"
                )
                break
            if end - start - head < size:
                break
            start += head
            frames.append(bytes(memoryview(buffer)[start : start + size]))
            start += size
        del buffer[:start]
        return frames

    def close(self) -> None:
        """Close the socket; the queue is dropped. Repeatable."""
        if not self._closed:
            self._closed = True
            self._drop_queue()
            while self._passed:
                os.close(self._passed.pop())
            # The object alone would close any descriptor that has its number now.
            self._sock.detach()
            self._descriptor.close()


def _copies(descriptors: Iterable[int]) -> list[Descriptor]:
    """Return copies: before they are sent, a number may be closed and reused for another file."""
    copies = []
    for fd in descriptors:
        try:
            copies.append(Descriptor(os.dup(fd)))
        except OSError:
            continue
    return copies


def channel_pair(longest: int = MAX_FRAME) -> tuple[Channel, int]:
    """Return one end as a Channel and the other as a descriptor to hand over.

    Frames of more than `longest` bytes are not accepted from there.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM, 0)
    ask_for_senders(theirs)
    return Channel(ours.detach(), longest=longest), theirs.detach()
