"""For the fault table: a sweep that keeps a ledger, and the processes to hurt."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpshell import EventHandler, ExecWorker, Task
from tests.support import eventually, is_engine

#: Forks all the time, so that its end comes in the middle of a fork.
STORM = "echo x; i=0; while [ $i -lt 80 ]; do (setsid sleep 77 &); i=$((i+1)); done; sleep 78"

_libc = ctypes.CDLL(None, use_errno=True)
_PIDFD_GETFD = 438  # the number of the system call, on every architecture


class Observer(EventHandler):
    """Counts the events of a handler, by node, and calls an action at the pickup of a node."""

    def __init__(self, actions: dict[int, Callable[[], object]] | None = None) -> None:
        self.pickups: collections.Counter[str] = collections.Counter()
        self.hups: dict[str, list[int | None]] = collections.defaultdict(list)
        self.closes: list[bool] = []
        self.starts = 0
        self._actions = dict(actions or {})

    def ev_start(self, worker: Any) -> None:
        self.starts += 1

    def ev_pickup(self, worker: Any, node: str) -> None:
        self.pickups[node] += 1

    def ev_hup(self, worker: Any, node: str, rc: int | None) -> None:
        self.hups[node].append(rc)
        action = self._actions.pop(len(self.hups), None)
        if action is not None:
            action()

    def ev_close(self, worker: Any, timedout: bool) -> None:
        self.closes.append(timedout)


def engines_under(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return [child for child in parent.children() if is_engine(child)]
    except psutil.NoSuchProcess:
        return []


def fork_servers() -> list[psutil.Process]:
    return engines_under(psutil.Process())


def engines() -> list[psutil.Process]:
    """Return the engine processes of this program, the oldest first."""
    return [child for server in fork_servers() for child in engines_under(server)]


def hurt(processes: list[psutil.Process], number: int = signal.SIGKILL) -> list[psutil.Process]:
    """Send a signal, and return the processes that got it: one that has ended meanwhile does not."""
    hit = []
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
            hit.append(process)
    return hit


def channel_of(engine: psutil.Process) -> socket.socket:
    """Return a copy of an engine's end of its channel: bytes sent there appear as the engine's."""
    [server] = fork_servers()
    common = {
        os.readlink(f"/proc/{server.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{server.pid}/fd")
    }
    pidfd = os.pidfd_open(engine.pid)
    try:
        for name in os.listdir(f"/proc/{engine.pid}/fd"):
            what = os.readlink(f"/proc/{engine.pid}/fd/{name}")
            if what.startswith("socket:") and what not in common:
                copy = _libc.syscall(_PIDFD_GETFD, pidfd, int(name), 0)
                assert copy >= 0, os.strerror(ctypes.get_errno())
                return socket.socket(fileno=copy)
    finally:
        os.close(pidfd)
    raise LookupError(f"no channel in {engine}")


def send_as(engine: psutil.Process, data: bytes, cut: bool = False) -> list[psutil.Process]:
    """Send bytes in an engine's place, and cut its channel after that with `cut`; return the engine."""
    with channel_of(engine) as channel:
        channel.setblocking(True)
        channel.sendall(data)
        channel.setblocking(False)
        if cut:
            channel.shutdown(socket.SHUT_RDWR)
    return [engine]


class Sweep:
    """A worker over nodes n1 to nN; each command writes its node into a ledger as it begins."""

    def __init__(
        self,
        task: Task,
        ledger: Path,
        nodes: int,
        observer: Observer,
        body: str = "sleep 0.05; echo out",
    ) -> None:
        self.task = task
        self.ledger = ledger
        self.observer = observer
        self.nodes = [f"n{i}" for i in range(1, nodes + 1)]
        self.worker = ExecWorker(
            self.nodes, handler=observer, command=f"echo %h >> {ledger}; {body}"
        )

    def run(self) -> None:
        self.task.schedule(self.worker)
        self.task.resume()

    def ran(self) -> list[str]:
        return self.ledger.read_text().split() if self.ledger.exists() else []

    def lost(self) -> list[str]:
        return [o.node for o in self.worker.outcomes() if o.reason == "lost"]

    def check(self, at_most_lost: int, once: bool = True) -> None:
        """Check the results against the contract; see docs/reliability.md."""
        codes = dict(self.worker.iter_node_retcodes())
        assert sorted(codes) == sorted(self.nodes), "every node has one verdict"
        assert {node: len(hups) for node, hups in self.observer.hups.items()} == dict.fromkeys(
            self.nodes, 1
        )
        assert (self.observer.starts, self.observer.closes) == (1, [False])
        ran = self.ran()
        if once:
            assert len(ran) == len(set(ran)), "no node runs twice"
            assert max(self.observer.pickups.values()) == 1
        assert {node for node, code in codes.items() if code == 0} <= set(ran)
        lost = [outcome for outcome in self.worker.outcomes() if outcome.reason == "lost"]
        assert len(lost) <= at_most_lost
        assert all(outcome.returncode == 255 and outcome.detail for outcome in lost)
        assert {node for node, code in codes.items() if code} == {outcome.node for outcome in lost}
        assert {code for code in codes.values()} <= {0, 255}
        # The next job of the same Task is an ordinary one.
        after = Observer()
        next_one = ExecWorker("m[1-6]", handler=after, command="echo %h")
        self.task.schedule(next_one)
        self.task.resume()
        assert {node: bytes(text) for node, text in next_one.iter_node_buffers()} == {
            f"m{i}": b"m%d" % i for i in range(1, 7)
        }
        assert after.closes == [False]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def later(action: Callable[[], object]) -> threading.Thread:
    """Run an action in a thread of its own."""
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def marked(mark: str, node: str | None = None) -> list[str]:
    """Return the processes that carry a mark in their environment: all, or those of one node.

    These come from a command that begins with `export MPSHELL_TEST_NODE=%h;`.
    """
    found = []
    for process in psutil.process_iter():
        try:
            environ, words = process.environ(), process.cmdline()
            its = node in (None, environ.get("MPSHELL_TEST_NODE")) or any(
                f"_NODE={node};" in word for word in words
            )
            if environ.get("MPSHELL_TEST_MARK") == mark and its:
                found.append(f"{process.pid} {process.status()} {words}")
        except psutil.Error:
            continue
    return found


def running(ledger: Path) -> list[str]:
    """Return the processes, of any parent, that have a file in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(ledger) in word for word in process.cmdline()):
                found.append(f"{process.pid} {process.status()} {process.cmdline()}")
        except psutil.Error:
            continue
    return found


#: Seconds for all of a program to be gone when that has ended: a tenth of one as a rule, and two are promised.
GONE = 10.0


def all_gone(mark: str, left: int = 0) -> bool:
    """Wait until no more processes than that carry a mark, for no longer than a bound that is far off."""
    return eventually(lambda: len(marked(mark)) <= left, GONE)


def run_to_its_end(source: str, mark: str, output: Path) -> int:
    """Run a marked program with its output in a file; return its exit status as soon as it has ended.

    Processes that it leaves may hold its output open: a reader of a pipe would wait for their end as well.
    """
    with output.open("w") as out:
        return subprocess.run(
            [sys.executable, "-c", source],
            env={**os.environ, "MPSHELL_TEST_MARK": mark},
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=60, check=False,
        ).returncode  # fmt: skip


def own_memory(pid: int) -> int:
    """Return the bytes of a process that belong to no file; of shared ones its part.

    The share of a page of a file depends on the other processes that map it, and other tests come and go.
    """
    with open(f"/proc/{pid}/smaps_rollup") as file:
        fields = dict(line.split(":") for line in file if line.startswith("Pss_"))
    return sum(int(fields[name].split()[0]) << 10 for name in ("Pss_Anon", "Pss_Shmem"))


def memory(process: psutil.Process) -> int:
    """Return the bytes of a process and of the engines under it, shared pages counted once."""
    total = own_memory(process.pid)
    for member in process.children(recursive=True):
        try:
            if is_engine(member):
                total += own_memory(member.pid)
        except (psutil.Error, OSError):
            continue
    return total
