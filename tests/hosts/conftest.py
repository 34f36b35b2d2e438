"""Hosts for tests: outposts that are programs of this machine, each reached by a program of its own."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mpshell import EventHandler, NodeOutcome, Task, Worker, task_cleanup, task_self, task_terminate
from mpshell.hosts.launcher import HostsLauncher
from mpshell.hosts.packets import Way
from tests.engine.conftest import alive

OUTPOST = (sys.executable, "-P", "-m", "mpshell.hosts.outpost")


def local_hosts(number: int = 2, engines: int | None = None) -> HostsLauncher:
    """Return a launcher of so many hosts, which are all this machine."""
    return HostsLauncher([Way(f"gw{n + 1}", OUTPOST, 60.0) for n in range(number)], engines)


@pytest.fixture
def task() -> Iterator[Task]:
    """Give a Task; its engines end with the test."""
    task = task_self()
    yield task
    task_terminate()
    task_cleanup()


class Chain:
    """The processes between a program and one of its commands, found by the command's own parent."""

    def __init__(self, engine: int) -> None:
        process = psutil.Process(engine)
        self._found = {"engine": process}
        for name, parent in zip(
            ("fork_server", "outpost", "program"), process.parents(), strict=False
        ):
            self._found[name] = parent

    def of(self, name: str) -> psutil.Process:
        return self._found[name]


def switchboard() -> psutil.Process:
    """Return the switchboard of this program."""
    [found] = [
        child
        for child in psutil.Process().children()
        if "mpshell.hosts.switchboard" in " ".join(child.cmdline())
    ]
    return found


class Lag:
    """How late this machine is while a run goes on: a thread measures by how much a wait takes longer."""

    def __init__(self) -> None:
        self._most = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._measure)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _measure(self) -> None:
        before = time.monotonic()
        while not self._over.wait(0.1):
            now = time.monotonic()
            self._most, before = max(self._most, now - before - 0.1), now

    def within(self, seconds: float) -> float:
        """Return the bound for an action of so many seconds on an idle machine, through some ten processes."""
        return seconds + 20 * self._most


class Ledger(EventHandler):
    """The commands that really ran, by their own records, and those alive when a loss was reported."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Lost nodes whose command was alive when that was reported.
        self.alive: list[str] = []
        self.lost_at = 0.0
        self.lost: set[str] = set()

    def lines(self) -> list[tuple[str, int, int]]:
        """Return node, engine and pid of each command that has begun."""
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return []
        found = []
        for line in text.splitlines(keepends=True):
            if line.endswith("\n") and len(line.split()) == 3:
                node, engine, pid = line.split()
                found.append((node, int(engine), int(pid)))
        return found

    def ev_outcome(self, worker: Worker, outcome: NodeOutcome) -> None:
        if outcome.reason == "lost":
            self.lost.add(outcome.node)
            self.lost_at = time.monotonic()
            self.alive += [n for n, _, pid in self.lines() if n == outcome.node and alive(pid)]

    @property
    def command(self) -> str:
        """A command line's beginning that enters its node."""
        return f"echo %h $PPID $$ >> {os.fspath(self.path)}"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")
