"""Helpers of the black-box suite: a handler that records, a fanout counter, probes of processes."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from mpshell import EventHandler

Event = tuple[Any, ...]


class Recorder(EventHandler):
    """Record each event as a tuple that starts with its short name; then run an action on it.

    `Recorder(hup=f)` calls `f` with the arguments of every `ev_hup`, after recording it.
    """

    def __init__(self, **actions: Callable[..., object]) -> None:
        self.events: list[Event] = []
        self.threads: set[int] = set()
        self.workers: set[Any] = set()
        self._actions = actions

    def _note(self, event: Event, *args: Any) -> None:
        self.events.append(event)
        self.threads.add(threading.get_ident())
        action = self._actions.get(event[0])
        if action is not None:
            action(*args)

    def ev_start(self, worker: Any) -> None:
        self.workers.add(worker)
        self._note(("start",), worker)

    def ev_pickup(self, worker: Any, node: Any) -> None:
        self._note(("pickup", node), worker, node)

    def ev_read(self, worker: Any, node: Any, sname: str, msg: bytes) -> None:
        self._note(("read", node, sname, msg), worker, node, sname, msg)

    def ev_written(self, worker: Any, node: Any, sname: str, size: int) -> None:
        self._note(("written", node, sname, size), worker, node, sname, size)

    def ev_hup(self, worker: Any, node: Any, rc: int | None) -> None:
        self._note(("hup", node, rc), worker, node, rc)

    def ev_close(self, worker: Any, timedout: bool) -> None:
        self.workers.add(worker)
        self._note(("close", timedout), worker, timedout)

    def ev_port_start(self, port: Any) -> None:
        self._note(("port_start",), port)

    def ev_msg(self, port: Any, msg: Any) -> None:
        self._note(("msg", msg), port, msg)

    def ev_timer(self, timer: Any) -> None:
        self._note(("timer",), timer)

    def names(self) -> list[str]:
        """Return the short names of all events, in order."""
        return [event[0] for event in self.events]

    def count(self, name: str) -> int:
        return self.names().count(name)

    def of(self, name: str) -> list[Event]:
        """Return the events of that name, in order."""
        return [event for event in self.events if event[0] == name]

    def nodes(self, name: str) -> list[Any]:
        """Return the nodes of the events of that name, in order."""
        return [event[1] for event in self.of(name)]

    def lines(self, node: Any = ..., sname: str | None = None) -> list[bytes]:
        """Return the lines read, in order: of one node, of one stream, or all."""
        return [
            event[3]
            for event in self.of("read")
            if node in (..., event[1]) and sname in (None, event[2])
        ]

    def rcs(self) -> dict[Any, int | None]:
        return {event[1]: event[2] for event in self.of("hup")}

    def closes(self) -> list[bool]:
        """Return the `timedout` of every `ev_close`."""
        return [event[1] for event in self.of("close")]


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail when the body takes longer; the bound is meant to be far off."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


class Marks:
    """A file to which commands append `+name` when they begin and `-name` when they end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def command(self, body: str = "sleep 0.05", name: str = "%h") -> str:
        """Return a shell command that does `body` between its two marks."""
        return f"echo +{name} >> {self.path}; {body}; echo -{name} >> {self.path}"

    def entries(self) -> list[str]:
        return self.path.read_text().split()

    def begun(self) -> list[str]:
        """Return the names of those that began, in that order."""
        return [entry[1:] for entry in self.entries() if entry[0] == "+"]

    def peak(self) -> int:
        """Return the largest number of commands that ran at the same time."""
        running = peak = 0
        for entry in self.entries():
            running += 1 if entry[0] == "+" else -1
            peak = max(peak, running)
        return peak


def meeting(folder: Path, size: int, name: str = "%h") -> str:
    """Return a shell command that exits 0 only if `size` of its kind run at the same time.

    Each one waits (10 s at most) until all are there, so a smaller fanout fails it.
    """
    return (
        f"touch {folder}/{name}; i=0; "
        f"while [ $(ls {folder} | wc -l) -lt {size} ] && [ $i -lt 200 ]; "
        "do sleep 0.05; i=$((i+1)); done; "
        f"[ $(ls {folder} | wc -l) -ge {size} ]"
    )


def until(path: Path) -> str:
    """Return a shell command that waits (a minute at most) until that file is there."""
    return (
        f"i=0; while [ ! -e {path} ] && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done; "
        f"[ -e {path} ]"
    )


def alive(pid: int) -> bool:
    """Return whether that process runs (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read_pids(path: Path) -> list[int]:
    """Return the numbers that commands wrote to a file, one a line."""
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def kill_all(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)


def folded(pairs: Iterable[tuple[Any, Any]]) -> dict[bytes, list[str]]:
    """Return the items of `iter_buffers()` as a dict of bytes to sorted node names."""
    return {bytes(elem): sorted(str(key) for key in keys) for elem, keys in pairs}
