"""The progress line on a terminal: how many nodes are done, how fast, and whom everybody waits for.

Drawn by a timer of the Task, in its thread, with tqdm where that is installed (the extra `cli`), as
plain counts where it is not.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from typing import Any

from mpshell.cli.outcomes import Tally
from mpshell.cli.terminal import STDERR, write_all
from mpshell.cli.text import visible
from mpshell.nodeset import NodeSet

#: Seconds before the line is shown, and between two drawings.
FIRST, AGAIN = 0.5, 0.25

#: Seconds without a change after which the slow nodes are named.
_PATIENCE = 2.0

#: Characters of the folded names of slow nodes.
_LONGEST = 60


class Progress:
    """The line. It makes way (`hide`) for every other output, and comes back at the next drawing."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._began = self._moved_at = time.monotonic()
        self._seen = 0
        self._line: Any = None
        self._shown = False

    def draw(self) -> None:
        """Draw or redraw the line, unless the terminal is somebody else's for now."""
        if not has_terminal():
            return
        now = time.monotonic()
        if self._tally.done != self._seen:
            self._seen = self._tally.done
            self._moved_at = now
        if self._line is None:
            self._line = make_line(len(self._tally.nodes), now - self._began)
        self._line.draw(self._tally.done, self._news(now))
        self._shown = True

    def _news(self, now: float) -> str:
        """Return what is to be said beside the counts."""
        news = [f"failed {self._tally.failed}"] if self._tally.failed else []
        if self._tally.running and now - self._moved_at > _PATIENCE:
            names = visible(str(NodeSet.fromlist(self._tally.running)))
            if len(names) > _LONGEST:
                names = names[: _LONGEST - 3] + "..."
            news.append(f"waiting for {names}")
        return ", ".join(news)

    def hide(self) -> None:
        """Take the line away."""
        if self._shown:
            self._line.clear()
            self._shown = False


def has_terminal() -> bool:
    """Return whether the program runs in the foreground of its terminal."""
    try:
        return os.tcgetpgrp(STDERR) == os.getpgrp()
    except OSError:
        # A terminal that is not the one that controls it.
        return True


class PlainLine:
    """Counts, without a library."""

    def __init__(self, total: int) -> None:
        self._total = total

    def draw(self, done: int, news: str) -> None:
        text = f"{done}/{self._total} done{', ' if news else ''}{news}"
        width = shutil.get_terminal_size().columns
        write_all(STDERR, b"\r%s\033[K" % os.fsencode(text[: width - 1]))

    def clear(self) -> None:
        write_all(STDERR, b"\r\033[K")


class TqdmLine:
    """A bar with counts, rate and the time that is left."""

    _FORMAT = "{n_fmt}/{total_fmt} |{bar:20}| {rate_fmt}, {remaining} left{postfix}"

    def __init__(self, tqdm: Any, total: int, age: float) -> None:
        # It has one lock for all processes of the program, and a thread to watch it: neither is needed.
        tqdm.set_lock(threading.RLock())
        tqdm.monitor_interval = 0
        self._bar = tqdm(
            total=total, unit=" nodes", leave=False, dynamic_ncols=True, bar_format=self._FORMAT,
            delay=1e-9,
        )  # fmt: skip
        self._bar.start_t -= age

    def draw(self, done: int, news: str) -> None:
        self._bar.n = done
        self._bar.set_postfix_str(news, refresh=False)
        self._bar.refresh()

    def clear(self) -> None:
        self._bar.clear()


def make_line(total: int, age: float) -> PlainLine | TqdmLine:
    """Return the best line there is, for a run that began `age` seconds ago."""
    try:
        from tqdm import tqdm
    except ImportError:
        return PlainLine(total)
    return TqdmLine(tqdm, total, age)
