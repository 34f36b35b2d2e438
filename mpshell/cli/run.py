"""One run of the program: the Task in a thread of its own, while the main thread waits for events.

    main thread: poll ◄── signals (wake-up descriptor), stdin, receipts for it, the end of the run
                   └──► worker.write, worker.abort, a message to the display (a port of the Task)

So a signal is handled in one place, between two waits, and never in the middle of
other work. The display's handlers run in the Task's thread.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from mpshell.cli.display import Display
from mpshell.cli.guard import IO_ERROR
from mpshell.cli.progress import AGAIN, FIRST, Progress, is_possible
from mpshell.errors import EngineClientNotSupportedError
from mpshell.event import EventHandler
from mpshell.task.task import Task

_STDIN = 0

#: Bytes of one read of stdin, and the most bytes on the way to the Task's thread, which stores them on a
#: disk that may be slower than the writer. That is well below a port's limit of messages (`port_qlimit`).
_READ, _ON_THE_WAY = 1 << 16, 1 << 20

#: Signals that stop a run, and Ctrl-C, which does when it comes twice.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: Seconds between the two.
_TWICE = 1.0

#: Seconds beyond the grace after which a run that was stopped is left alone: its output is stuck.
_PATIENCE = 10.0


class ProgramRun:
    """A Task's only run. In a session at the prompt one Ctrl-C stops it, and the program goes on."""

    def __init__(self, in_session: bool = False) -> None:
        self._in_session = in_session
        self._thread = threading.Thread(target=self._run, name="mpshell-run")
        self.task = Task(thread=self._thread)
        #: The exit status of a run that was stopped, by a signal or for lack of its input.
        self.status: int | None = None
        #: The exception that ended the run, if any.
        self.error: BaseException | None = None
        self._ended, self._end = os.pipe()
        self._relay = StdinRelay(self.task)
        self._workers: list[Any] = []
        self._say: Callable[[str], object] = str
        self._own: Callable[[str], object] = str
        self._progress: Progress | None = None
        self._port: Any = None
        self._last_interrupt = -_TWICE * 2
        self._deadline: float | None = None

    def _run(self) -> None:
        try:
            self.task.resume()
        except BaseException as error:
            # The main thread reports it.
            self.error = error
        finally:
            os.write(self._end, b"x")

    def attend(self, display: Display, feed: bool, shows_progress: bool) -> float:
        """Run the workers of a display, which are scheduled, to their end; return the seconds it took.

        With `feed`, stdin goes to their commands.
        """
        self._workers = display.workers
        if feed:
            self._relay.open()
        self._say, self._own = display.terminal.message, display.terminal.own
        self._progress = display.progress
        self._port = self.task.port(handler=display, autoclose=True)
        if shows_progress and is_possible():
            self.task.timer(FIRST, display, interval=AGAIN, autoclose=True)
        with Signals((*_SIGNALS, signal.SIGTSTP) if is_possible() else _SIGNALS) as signals:
            began = time.monotonic()
            self._thread.start()
            self._wait(signals, feed)
            self._thread.join()
            took = time.monotonic() - began
        display.progress.hide()
        return took

    def _wait(self, signals: Signals, feed: bool) -> None:
        poller = select.poll()
        poller.register(self._ended, select.POLLIN)
        poller.register(signals.descriptor, select.POLLIN)
        if feed:
            poller.register(_STDIN, select.POLLIN)
            poller.register(self._relay.descriptor, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll(self._patience())}
            if self._ended in ready:
                return
            for number in signals.taken() if signals.descriptor in ready else ():
                self._on_signal(number)
            if self._relay.descriptor in ready:
                self._relay.note_taken()
                if feed:
                    poller.register(_STDIN, select.POLLIN)
            if _STDIN in ready:
                more = self._feed()
                if not more or self._relay.full:
                    poller.unregister(_STDIN)
                feed = feed and more
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._leave()

    def close(self) -> None:
        """Close everything of this run, which is over or will not begin: a session has many runs."""
        if self._thread.ident is None:
            self.task.abort(kill=True)
        os.close(self._ended)
        os.close(self._end)
        self._relay.close()

    def _patience(self) -> int | None:
        """Return the milliseconds that a stopped run still has, None for one that goes on."""
        if self._deadline is None:
            return None
        return max(0, round((self._deadline - time.monotonic()) * 1000))

    def _feed(self) -> bool:
        """Pass on data from stdin; return whether more may come."""
        try:
            data = os.read(_STDIN, _READ)
        except BlockingIOError:
            return True
        except OSError as error:
            # No end: what has come is a part, and a command must not take it for all.
            self._own(f"stdin cannot be read: {error.strerror}")
            self._stop(IO_ERROR)
            return False
        for worker in self._workers:
            try:
                if data:
                    worker.write(data)
                else:
                    worker.set_write_eof()
            except EngineClientNotSupportedError as error:
                if data:
                    self._say(f"stdin cannot be passed on: {error}")
                return False
        self._relay.passed_on(len(data))
        return bool(data)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGTSTP:
            if self._progress is not None:
                self._progress.step_aside(stop_here)
            return
        if number != signal.SIGINT:
            self._stop(128 + number)
            return
        now = time.monotonic()
        if self._progress is not None:
            self._progress.interrupted()
        if self._in_session:
            self._stop(128 + number)
        elif self.status is not None:
            # Requested once more: the stopped commands get no time to end.
            self._leave()
        elif now - self._last_interrupt <= _TWICE:
            self._stop(128 + number)
        else:
            self._last_interrupt = now
            self._port.msg_send("interrupt")

    def _stop(self, status: int) -> None:
        """End all commands; their output so far is kept."""
        if self.status is None:
            self.status = status
            self._deadline = time.monotonic() + float(self.task.info("grace")) + _PATIENCE
            for worker in self._workers:
                worker.abort()

    def _leave(self) -> None:
        """End the program at once; the engines notice that, and kill their commands."""
        if self._progress is not None:
            self._progress.leave()
        os._exit(128 + signal.SIGINT if self.status is None else self.status)


class StdinRelay(EventHandler):
    """Counts the bytes of stdin on their way to the Task's thread, which acknowledges each part."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._port: Any = None
        self._on_the_way = 0
        self.descriptor = self._writer = -1

    def open(self) -> None:
        """Begin, before the run does."""
        self.descriptor, self._writer = os.pipe()
        self._port = self._task.port(handler=self, autoclose=True)

    def close(self) -> None:
        """Close the descriptors, when the run is over."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            os.close(self._writer)

    @property
    def full(self) -> bool:
        """Whether no more is to be read."""
        return self._on_the_way >= _ON_THE_WAY

    def passed_on(self, size: int) -> None:
        """Note that a part has been handed to the workers."""
        if size:
            self._on_the_way += _READ
            self._port.msg_send("taken?")

    def ev_msg(self, port: Any, msg: Any) -> None:
        """In the Task's thread, when it has taken all that was handed over before."""
        os.write(self._writer, b"x")

    def note_taken(self) -> None:
        """Note the acknowledgements of the Task's thread."""
        self._on_the_way -= _READ * len(os.read(self.descriptor, _ON_THE_WAY // _READ))


class Signals:
    """A context in which signals are bytes on a descriptor. Those that are ignored stay so."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = numbers
        self.descriptor, self._writer = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._writer, False)
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in self._numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._old[number] = signal.signal(number, _noted)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self.descriptor)
        os.close(self._writer)

    def taken(self) -> list[int]:
        """Return the signals that have come since the last call."""
        try:
            return list(os.read(self.descriptor, 512))
        except BlockingIOError:
            return []


def stop_here() -> None:
    """Stop like an unhandled Ctrl-Z, and return when this process is continued."""
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    # To this thread: it has been taken when the call returns.
    signal.raise_signal(signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)


def _noted(number: int, frame: FrameType | None) -> None:
    """Do nothing: that it came is on the descriptor."""


def stdin_is_for_commands() -> bool:
    """Return whether there is a stdin to pass on: none that a user types at."""
    return sys.stdin is not None and not os.isatty(_STDIN)
