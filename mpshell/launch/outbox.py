"""Packets to a fork server without room for them: kept in order, and sent when there is room.

A packet socket holds a few packets, and a fork server takes a millisecond for an engine: it has no room for a
thousand runs that begin at once. The caller, a run with a loop, does not wait; a thread does,
which exists only while packets are left.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from mpshell.runtime.descriptors import Descriptor
from mpshell.wire import control

#: Size of the socket's buffer in bytes: about forty packets. A packet here counts as waiting; the time that an
#: engine has for its first message begins when its packet is in the socket.
_BUFFER = 1 << 14

#: Seconds without any progress after which a fork server is given up.
_PATIENCE = 10.0

#: Seconds between two tries when no descriptor can report room: too many descriptors are in flight in sockets
#: (ETOOMANYREFS of unix(7)).
_RETRY = 0.02

#: Milliseconds of one wait for room.
_WAIT = 1000


class ForkProgress:
    """The last progress of a fork server: it took a packet, or one of its engines sent its first message."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.at = clock()

    def note(self) -> None:
        """Note progress now."""
        self.at = self._clock()


class Outbox:
    """The sending side of a control socket. Everything here is called with `lock` held, or takes it."""

    def __init__(
        self, sock: _socket.socket, lock: threading.RLock, wake: Callable[[], object]
    ) -> None:
        self._sock = sock
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, _BUFFER)
        self._descriptor = Descriptor(sock.fileno())
        self._lock = lock
        #: Continues a fork server that was stopped.
        self._wake = wake
        #: Packets, and copies of their descriptors.
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        self._thread: threading.Thread | None = None
        self._given_up = False
        self.progress = ForkProgress()
        #: Whether nothing is sent any more.
        self._retry = threading.Event()

    def ours(self) -> bool:
        """Return whether packets can be sent: the socket is open, and its reader was not given up."""
        return not self._given_up and self._descriptor.ours()

    def send(self, packet: bytes, fds: Sequence[int] = ()) -> None:
        """Send a packet, or keep it until there is room; OSError if the fork server has ended.

        The caller may close the descriptors at once.
        """
        with self._lock:
            if not self.ours():
                raise BrokenPipeError(
                    errno.EPIPE, "the control socket of the fork server is closed"
                )
            if self._waiting or not self._sent(packet, fds):
                self._keep(packet, fds)
        self._wake()

    def holds(self, engine_id: int) -> bool:
        """Return whether the request for an engine still waits."""
        # Without the lock: called at every heartbeat, and a late answer does no harm.
        fork = control.fork_packet(engine_id)
        return any(packet.startswith(fork) for packet, _ in list(self._waiting))

    def recall(self, engine_id: int) -> bool:
        """Drop the request for an engine if it still waits; return whether it did."""
        with self._lock:
            fork = control.fork_packet(engine_id)
            for entry in self._waiting:
                if entry[0].startswith(fork):
                    self._waiting.remove(entry)
                    _close(entry[1])
                    return True
        return False

    def close(self, shutdown: bool = False) -> None:
        """Drop the waiting packets and close the socket, if it is still ours."""
        self._drop()
        if shutdown and self._descriptor.ours():
            try:
                # Also if a fork of this process in C holds a copy.
                self._sock.shutdown(_socket.SHUT_RDWR)
            except OSError:
                pass  # the fork server has ended before
        # The object alone would close any descriptor that has its number now.
        self._sock.detach()
        self._descriptor.close()

    def _drop(self) -> None:
        with self._lock:
            self._given_up = True
            self._retry.set()
            while self._waiting:
                _close(self._waiting.popleft()[1])

    def _keep(self, packet: bytes, fds: Sequence[int]) -> None:
        copies: list[int] = []
        try:
            for fd in fds:
                copies.append(os.dup(fd))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._deliver, name="mpshell-outbox", daemon=True
                )
                self._thread.start()
        except (OSError, RuntimeError) as error:
            _close(copies)
            if self._thread is not None and not self._thread.is_alive():
                self._thread = None
            raise OSError(
                errno.EAGAIN, f"no room for a request to the fork server: {error}"
            ) from error
        self._waiting.append((packet, copies))

    def _sent(self, packet: bytes, fds: Sequence[int]) -> bool:
        """Return whether there was room."""
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))]
        try:
            self._sock.sendmsg([packet], rights if fds else (), _socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS):
                return False
            raise
        self.progress.note()
        return True

    # -- the thread that waits -------------------------------------------------------------------

    def _deliver(self) -> None:
        began = time.monotonic()
        room = False
        while (before := self._flush()) >= 0:
            if time.monotonic() > max(began, self.progress.at) + _PATIENCE:
                # The descriptors of waiting packets are closed with it: so their runs notice that there is no
                # engine.
                self._drop()
                continue
            self._wake()
            if room and not before:
                # The socket has room, but did not take the packet: no descriptor shows when it will.
                self._retry.wait(_RETRY)
            room = self._has_room()

    def _flush(self) -> int:
        """Send as many packets as there is room for; return their number, -1 if none is left."""
        with self._lock:
            sent = 0
            try:
                while self._waiting and self._descriptor.ours() and self._sent(*self._waiting[0]):
                    _close(self._waiting.popleft()[1])
                    sent += 1
            except OSError:
                # The fork server has ended.
                self._drop()
            if not self._descriptor.ours():
                self._drop()
            if not self._waiting:
                self._thread = None
                return -1
            return sent

    def _has_room(self) -> bool:
        """Wait a while for room; return whether there is some."""
        if not self._descriptor.ours():
            return False
        poll = select.poll()
        poll.register(self._descriptor.fd, select.POLLOUT)
        return bool(poll.poll(_WAIT))


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
