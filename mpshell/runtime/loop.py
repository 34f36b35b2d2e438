"""The poll loop that both processes run: descriptors, deadlines, and wake-ups from other threads.

Its methods have the names and the meaning of those on `asyncio.AbstractEventLoop`, except `call_soon`,
which returns no handle. One turn is: wait for descriptors or the next deadline, call the readers that are
ready, call the deadlines that have come, then make each call of `call_soon` once. So a call that a reader
schedules with `call_soon` runs in the same turn: in this way all messages of one turn are sent in one frame.

Only the thread that runs the loop calls its methods, except `call_soon_threadsafe`.
"""

from __future__ import annotations

import errno
import heapq
import os
import select
import time
from collections import deque

from mpshell.runtime.descriptors import Descriptor
from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Callback = Callable[..., object]

_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT
_READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_WRITABLE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
_EVENTS_A_TURN = 256
#: Seconds of one wait: epoll_wait(2) counts milliseconds in an int, which is 24 days.
_LONGEST_WAIT = 86400.0


class TimerHandle:
    """A call at a deadline, which `cancel` can cancel."""

    __slots__ = ("_cancelled", "_loop", "args", "callback", "when")

    def __init__(
        self, when: float, callback: Callback, args: tuple[Any, ...], loop: EventLoop
    ) -> None:
        self.when = when
        self.callback: Callback | None = callback
        self.args = args
        self._loop = loop
        self._cancelled = False

    def cancel(self) -> None:
        """Cancel the call; no effect if it was made or cancelled before."""
        self._cancelled = True
        if self.callback is not None:
            self.callback = None
            self.args = ()
            self._loop._cancelled += 1

    def cancelled(self) -> bool:
        """Return whether `cancel` was called; False for a call that was made."""
        return self._cancelled

    def __lt__(self, other: TimerHandle) -> bool:
        return self.when < other.when


class EventLoop:
    """A selector on epoll, a heap of deadlines and a wake-up descriptor.

    `clock` returns monotonic seconds; a test passes its own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.time = clock
        self._epoll = select.epoll()
        #: Waits for (descriptor, events), with a timeout in seconds and a maximal number; may be wrapped.
        self.wait: Callable[[float, int], list[tuple[int, int]]] = self._epoll.poll
        self._readers: dict[int, tuple[Callback, tuple[Any, ...]]] = {}
        self._writers: dict[int, tuple[Callback, tuple[Any, ...]]] = {}
        self._timers: list[TimerHandle] = []
        self._cancelled = 0
        self._ready: deque[tuple[Callback, tuple[Any, ...]]] = deque()
        self._stopping = False
        #: The number of its turns, including the current one.
        self.turns = 0
        #: Whether the wait of this turn has found anything to read or write.
        self.busy = False
        # A pipe, which can be recognized; eventfds share an inode.
        wakeup, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup, self._wake = Descriptor(wakeup), Descriptor(wake)
        self.add_reader(wakeup, self._on_wakeup)

    # -- descriptors --

    def add_reader(self, fd: int, callback: Callback, *args: Any) -> None:
        """Call `callback` when `fd` can be read, is at its end, or has an error; replaces an earlier one."""
        self._change(fd, self._readers, (callback, args))

    def remove_reader(self, fd: int) -> bool:
        """Return whether there was one."""
        return self._forget(fd, self._readers)

    def add_writer(self, fd: int, callback: Callback, *args: Any) -> None:
        """Call `callback` when `fd` can be written, or has an error; replaces an earlier one."""
        self._change(fd, self._writers, (callback, args))

    def remove_writer(self, fd: int) -> bool:
        """Return whether there was one."""
        return self._forget(fd, self._writers)

    def _mask(self, fd: int) -> int:
        return (_READ if fd in self._readers else 0) | (_WRITE if fd in self._writers else 0)

    def _change(
        self,
        fd: int,
        table: dict[int, tuple[Callback, tuple[Any, ...]]],
        entry: tuple[Callback, tuple[Any, ...]],
    ) -> None:
        before = self._mask(fd)
        known = fd in table
        table[fd] = entry
        if known:
            return
        try:
            if before:
                self._epoll.modify(fd, self._mask(fd))
            else:
                self._epoll.register(fd, self._mask(fd))
        except OSError:
            del table[fd]
            raise

    def _forget(self, fd: int, table: dict[int, tuple[Callback, tuple[Any, ...]]]) -> bool:
        if table.pop(fd, None) is None:
            return False
        mask = self._mask(fd)
        try:
            if mask:
                self._epoll.modify(fd, mask)
            else:
                # An empty mask is not enough: epoll reports a hang-up with any mask.
                self._epoll.unregister(fd)
        except OSError as error:
            # Closed elsewhere, or another descriptor now: the kernel has removed it.
            if error.errno not in (errno.EBADF, errno.ENOENT, errno.EPERM, errno.EINVAL):
                raise
        return True

    # -- calls --

    def call_soon(self, callback: Callback, *args: Any) -> None:
        """Call it at the end of this turn; a call from there is made at the end of the next one."""
        self._ready.append((callback, args))

    def call_soon_threadsafe(self, callback: Callback, *args: Any) -> None:
        """`call_soon` from any thread."""
        self._ready.append((callback, args))
        self.wake()

    def wake(self) -> None:
        """End the wait of this turn, from any thread."""
        if self._wake.ours():
            try:
                os.write(self._wake.fd, b"w")
            except BlockingIOError:
                # The pipe is full, so the loop is woken already.
                return

    def _on_wakeup(self) -> None:
        os.read(self._wakeup.fd, 4096)

    def intact(self) -> bool:
        """Return whether the loop's descriptors are still its own: a program may have closed them all."""
        return self._wakeup.ours()

    def call_at(self, when: float, callback: Callback, *args: Any) -> TimerHandle:
        """Call it when the clock has reached `when`."""
        handle = TimerHandle(when, callback, args, self)
        heapq.heappush(self._timers, handle)
        return handle

    def call_later(self, delay: float, callback: Callback, *args: Any) -> TimerHandle:
        """Call it in `delay` seconds."""
        return self.call_at(self.time() + delay, callback, *args)

    # -- running --

    def run_forever(self) -> None:
        """Make turns until `stop` is called. An exception of a callback is raised, and the loop can go on."""
        self._stopping = False
        while not self._stopping:
            self.run_once()

    def stop(self) -> None:
        """Leave `run_forever` after this turn."""
        self._stopping = True

    def run_once(self, poll_only: bool = False) -> None:
        """Make one turn, without waiting if `poll_only`."""
        self.turns += 1
        timeout = 0.0 if poll_only or self._ready else self._until_next_deadline()
        readers, writers = self._readers, self._writers
        found = self.wait(timeout, _EVENTS_A_TURN)
        self.busy = bool(found)
        for fd, mask in found:
            if mask & _READABLE and (entry := readers.get(fd)) is not None:
                entry[0](*entry[1])
            if mask & _WRITABLE and (entry := writers.get(fd)) is not None:
                entry[0](*entry[1])
        if self._timers:
            self._call_due()
        ready = self._ready
        for _ in range(len(ready)):
            callback, args = ready.popleft()
            callback(*args)

    def _until_next_deadline(self) -> float:
        timers = self._timers
        # Cancelled deadlines are removed when they come to the top, or when they are most of the heap.
        if self._cancelled > 1000 and self._cancelled * 2 > len(timers):
            timers[:] = [handle for handle in timers if handle.callback is not None]
            heapq.heapify(timers)
            self._cancelled = 0
        while timers and timers[0].callback is None:
            heapq.heappop(timers)
            self._cancelled -= 1
        return max(0.0, min(timers[0].when - self.time(), _LONGEST_WAIT)) if timers else -1

    def _call_due(self) -> None:
        timers = self._timers
        now = self.time()
        due = []
        while timers and (timers[0].callback is None or timers[0].when <= now):
            handle = heapq.heappop(timers)
            if handle.callback is None:
                self._cancelled -= 1
            else:
                due.append(handle)
        # An earlier one of these calls may have cancelled this one.
        for position, handle in enumerate(due):
            callback = handle.callback
            if callback is None:
                self._cancelled -= 1
                continue
            # Drop callback and args: the owner often stores the handle, and the cycle would live until the GC
            # runs.
            args, handle.args = handle.args, ()
            handle.callback = None
            try:
                callback(*args)
            except BaseException:
                for left in due[position + 1 :]:
                    heapq.heappush(timers, left)
                raise

    def close(self) -> None:
        """Close the loop's own descriptors."""
        self._readers.clear()
        self._writers.clear()
        self._timers.clear()
        self._ready.clear()
        if self._has_its_epoll():
            self._epoll.close()
        else:
            _keep_for_ever(self._epoll)
        self._wakeup.close()
        self._wake.close()

    def _has_its_epoll(self) -> bool:
        """Return whether the epoll descriptor is this loop's: no other one watches the wake-up pipe."""
        if not self._wakeup.ours():
            return False
        try:
            self._epoll.modify(self._wakeup.fd, _READ)
        except (OSError, ValueError):
            return False
        return True


def _keep_for_ever(epoll: select.epoll) -> None:
    """Prevent Python from closing the number of an epoll object, which belongs to another file now.

    An object that is deallocated closes its descriptor, also when the interpreter ends, and the user's files
    are flushed later than that.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(epoll))
