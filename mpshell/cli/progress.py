"""The progress line on a terminal: how many nodes are done, at which rate, and which are still running.

A timer of the Task draws it, in its thread, with tqdm if that is installed (the extra `cli`), else as
plain counts.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable

from mpshell.cli.outcomes import Tally
from mpshell.cli.terminal import STDERR, STDOUT, is_pipe, is_terminal, write_all
from mpshell.cli.text import visible
from mpshell.nodeset import NodeSet

#: Seconds before the line is shown, and between two drawings.
FIRST, AGAIN = 0.5, 0.25

#: Seconds without a change after which the slow nodes are named.
_PATIENCE = 2.0

#: Seconds to wait for a drawing that goes on, when the program leaves at once.
_LEAVE = 0.2

#: Characters of the folded names of slow nodes.
_LONGEST = 60


#: Back to the begin of the line, and away with all that stands from there: the line and its ^C, also where a
#: narrower terminal has broken it into several.
_CLEAR = b"\r\033[J"

#: The line, never broken at the right edge. The cursor goes back to its begin, and stays there when the
#: terminal is resized.
_SHOWN = _CLEAR + b"\033[?7l%s\033[?7h\r"


class Progress:
    """The line. It makes way (`hide`) for every other output, and comes back at the next drawing."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._began = self._moved_at = time.monotonic()
        self._seen = 0
        self._text: Callable[[int, int, float, str, int], str] | None = None
        #: Returns how far relay copies are, "" without any.
        self.relays: Callable[[], str] = str
        self._shown = False
        self._left = False
        #: Of the thread of the Task, and of the main thread when that leaves at once.
        self._lock = threading.Lock()

    def draw(self) -> None:
        """Draw or redraw the line, unless the terminal is in use for something else."""
        if not has_terminal():
            return
        now = time.monotonic()
        if self._tally.done != self._seen:
            self._seen = self._tally.done
            self._moved_at = now
        if self._text is None:
            self._text = _text_of_tqdm() or plain_text
        text = self._text(
            self._tally.done, len(self._tally.nodes), now - self._began, self._news(now), _width()
        )
        with self._lock:
            if not self._left:
                self._shown = True
                write_all(STDERR, _SHOWN % text.encode(errors="backslashreplace"))

    def _news(self, now: float) -> str:
        """Return the text after the counts."""
        news = [f"failed {self._tally.failed}"] if self._tally.failed else []
        if relayed := self.relays():
            return ", ".join([*news, visible(relayed)])
        if self._tally.running and now - self._moved_at > _PATIENCE:
            names = visible(str(NodeSet.fromnames(self._tally.running)))
            if len(names) > _LONGEST:
                names = names[: _LONGEST - 3] + "..."
            news.append(f"waiting for {names}")
        return ", ".join(news)

    def hide(self) -> None:
        """Take the line away."""
        if self._shown:
            with self._lock:
                self._shown = False
                write_all(STDERR, _CLEAR)

    def interrupted(self) -> None:
        """Note a Ctrl-C: the terminal shows it as ^C, and the next write removes that."""
        if is_possible():
            self._shown = True

    def step_aside(self, meanwhile: Callable[[], object]) -> None:
        """Remove the line, and do not draw it while other work is done. For the main thread.

        This also removes the terminal's echo of the key (^Z). It does not wait for a drawing that hangs.
        """
        held = self._lock.acquire(timeout=_LEAVE)
        try:
            self._shown = False
            if is_possible() and select.select((), (STDERR,), (), 0)[1]:
                write_all(STDERR, _CLEAR)
            meanwhile()
        finally:
            if held:
                self._lock.release()

    def leave(self) -> None:
        """Take the line away for good, at once or not at all. For the main thread, beside the Task's."""
        if self._shown and self._lock.acquire(timeout=_LEAVE):
            self._left = True
            if select.select((), (STDERR,), (), 0)[1]:
                write_all(STDERR, _CLEAR)
            self._lock.release()


def _width() -> int:
    """Return how many characters the line may have: no variable, which would hold after a resize."""
    return (os.get_terminal_size(STDERR).columns or 80) - 1


def clear_interrupt() -> None:
    """Take away the ^C that a terminal has shown, when nothing else is to be written."""
    if is_possible():
        write_all(STDERR, _CLEAR)


def is_possible() -> bool:
    """Return whether there is a terminal for the line, and no pager or other program that writes there."""
    return is_terminal(STDERR) and not is_pipe(STDOUT)


def has_terminal() -> bool:
    """Return whether the program runs in the foreground of its terminal."""
    try:
        return os.tcgetpgrp(STDERR) == os.getpgrp()
    except OSError:
        # A terminal that is not the one that controls it.
        return True


def plain_text(done: int, total: int, seconds: float, news: str, width: int) -> str:
    """Return counts, without a library."""
    return f"{done}/{total} done{', ' if news else ''}{news}"[:width]


def _text_of_tqdm() -> Callable[[int, int, float, str, int], str] | None:
    """Return a function that makes a bar with counts, rate and remaining time; None without tqdm."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    form = "{n_fmt}/{total_fmt} |{bar:20}| {rate_fmt}, {remaining} left{postfix}"
    ascii_only = not (sys.stderr.encoding or "").lower().startswith("utf")

    def text(done: int, total: int, seconds: float, news: str, width: int) -> str:
        # Its function for the text alone: the line itself is written, and cleared, here.
        return str(
            tqdm.format_meter(
                done, total, seconds, ncols=width, ascii=ascii_only, unit=" nodes",
                bar_format=form, postfix=news or None,
            )
        )  # fmt: skip

    return text
