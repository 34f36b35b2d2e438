"""One engine process, and a driver that sends messages to it and keeps its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from mpshell.launch.fork import ForkLauncher
from mpshell.launch.link import Link
from mpshell.runtime.loop import EventLoop
from mpshell.wire import messages as m

TIMEOUT = 60.0

_Message = TypeVar("_Message")


class Driver:
    """A coordinator's place, taken by a test."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.launcher = ForkLauncher()
        self.events: list[m.Message] = []
        self.gone = False
        self.handle = self.launcher.start()
        self.handle.attach(self.loop, self._on_frame, self._on_gone, lambda handle: None)

    def _on_frame(self, handle: Link, events: list[m.Message]) -> None:
        self.events += events

    def _on_gone(self, handle: Link) -> None:
        self.gone = True

    def send(self, *commands: m.Message) -> None:
        self.handle.send(list(commands))

    def until(self, predicate: Callable[[], object]) -> None:
        """Turn until the predicate is true."""
        late = self.loop.call_later(TIMEOUT, lambda: None)
        while not predicate():
            assert self.loop.time() < late.when, f"not within {TIMEOUT} s; so far {self.events}"
            self.loop.run_once()
        late.cancel()

    def of(self, kind: type[_Message]) -> list[_Message]:
        return [event for event in self.events if isinstance(event, kind)]

    def results(self) -> dict[int, m.Result]:
        """Return the results by index; an index that finishes twice is an error."""
        found: dict[int, m.Result] = {}
        for event in self.events:
            if isinstance(event, m.Finished):
                for result in event.results:
                    index = m.job_and_index(result[0])[1]
                    assert index not in found
                    found[index] = result
        return found

    def text(self, index: int, stream: int = m.STDOUT) -> bytes:
        """Return the output of a client: passed on, and gathered."""
        bodies = {n: body for e in self.events if isinstance(e, m.Bodies) for n, body in e.bodies}
        passed = b"".join(
            block
            for event in self.events
            if isinstance(event, m.Output)
            for client, which, block in event.blocks
            if (m.job_and_index(client)[1], which) == (index, stream)
        )
        _, _, _, stdout, stderr, *_ = self.results()[index]
        ref = stdout if stream == m.STDOUT else stderr
        return passed + (bodies[ref] if ref >= 0 else b"")

    def run(self, job: m.JobSpec, nodes: list[str], slots: int = 64) -> None:
        """Run a job to its end."""
        self.send(m.SetSlots(0, slots), m.Submit(1, job, 0, nodes))
        self.until(lambda: len(self.results()) == len(nodes))
        self.send(m.EndRun())
        self.until(lambda: self.of(m.RunEnded))

    def close(self) -> None:
        self.handle.detach()
        self.handle.close()
        self.launcher.close()
        self.loop.close()


@pytest.fixture
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


def job(shell: str | None = None, **changes: Any) -> m.JobSpec:
    """Return a job for /bin/sh; `%h` in it is the node."""
    template: m.Template | None = None
    if shell is not None:
        before, mark, after = shell.partition("%h")
        template = (before, m.NODE, after) if mark else (shell,)
    spec = m.JobSpec(
        template, (), None, False, False, m.GATHER, m.GATHER, False, 1.0, 5.0, False, 0
    )
    return spec._replace(**changes)


def alive(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
