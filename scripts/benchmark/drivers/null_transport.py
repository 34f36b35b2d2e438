"""A million nodes through the coordinator alone: engines that answer at once, in this process.

The launcher below stands in for the one that forks. Its engines take real frames and answer with real
ones; the CPU time that they need themselves is measured and taken off. So what is left is sharding,
messages and results: the coordinator's own cost of a node.
"""

import time
from collections import deque
from types import SimpleNamespace
from typing import Any

import probe

from mpshell.launch import pool
from mpshell.wire import messages
from mpshell.worker.exec import ExecWorker

_BODY = b"a line that every node says\n"


class NullEngine:
    """An engine's handle, and the engine behind it: all that runs ends with the next turn."""

    def __init__(self, engine_id: int) -> None:
        self.engine_id = engine_id
        self.channel = SimpleNamespace(pending=0)
        self.ready: Any = None
        self.configured: Any = None
        self.detail = ""
        self.gone = False
        self.simulated = 0.0
        self.frames = 0
        self._loop: Any = None
        self._slots = 0
        self._pending: deque[int] = deque()
        self._running: list[int] = []
        self._ending = False
        self._greeted = False
        self._has_body = False
        self._turn_is_due = False

    def attach(self, loop: Any, on_frame: Any, on_gone: Any, on_drained: Any) -> None:
        self._loop, self._on_frame = loop, on_frame

    def detach(self) -> None:
        self._loop = None

    def send(self, commands: list[messages.Message]) -> None:
        frame = messages.encode(commands)
        begin = time.thread_time()
        for command in messages.decode(frame):
            self._take(command)
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)
        self.simulated += time.thread_time() - begin

    def _take(self, command: messages.Message) -> None:
        if isinstance(command, messages.Submit):
            first = messages.client_id(command.job_id, command.first)
            self._pending.extend(range(first, first + len(command.nodes)))
        elif isinstance(command, messages.SetSlots):
            self._slots = command.slots
        elif isinstance(command, messages.EndRun):
            self._ending = True

    def _turn(self) -> None:
        begin = time.thread_time()
        self._turn_is_due = False
        frame = messages.encode(self._report())
        self.frames += 1
        if self._running or self._ending:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)
        self.simulated += time.thread_time() - begin
        self._on_frame(self, messages.decode(frame))

    def _report(self) -> list[messages.Message]:
        report: list[messages.Message] = []
        if not self._greeted:
            self._greeted = True
            report.append(messages.Ready(self.engine_id, 0, "null"))
        if self._running:
            if not self._has_body:
                self._has_body = True
                report.append(messages.Bodies([(0, _BODY)], 0))
            report.append(
                messages.Finished(
                    [
                        (client, messages.EXITED, 0, 0, -1, 1.0, 0.5, None)
                        for client in self._running
                    ]
                )
            )
        pending = self._pending
        self._running = [pending.popleft() for _ in range(min(self._slots, len(pending)))]
        if self._running:
            report.append(messages.Starting(self._running))
        elif self._ending and not pending:
            self._ending = False
            report.append(messages.Drained())
        return report

    def fence(self) -> None:
        raise RuntimeError("an engine of the null transport is given up")

    def ended(self) -> bool:
        return False

    def close(self) -> None:
        self.gone = True


class NullLauncher:
    """Makes engines that are nowhere."""

    lossless = True

    def __init__(self) -> None:
        self.engines: list[NullEngine] = []

    def prepare(self) -> None:
        """There is nothing that takes time."""

    def start(self) -> Any:
        self.engines.append(NullEngine(len(self.engines) + 1))
        return self.engines[-1]

    def close(self) -> None:
        self.engines.clear()


def million(library: str, nodes: int, fanout: int, engines: int) -> dict[str, float]:
    """Run nothing on the nodes, and count the CPU time of the coordinator, from text to results."""
    from mpshell import task_self

    launcher: Any = NullLauncher()
    pool._pool = pool.EnginePool(launcher)
    task = task_self()
    task.set_info("fanout", fanout)
    task.set_info("engines", engines)
    begin = time.process_time()
    task.schedule(ExecWorker(f"node[1-{nodes}]", handler=None, command="true"))
    prepared = time.process_time()
    task.resume()
    run = time.process_time()
    simulated = sum(engine.simulated for engine in launcher.engines)
    frames = sum(engine.frames for engine in launcher.engines)
    said = {bytes(text): len(said_by) for text, said_by in task.iter_buffers()}
    codes = {code: len(ended) for code, ended in task.iter_retcodes()}
    end = time.process_time()
    if codes != {0: nodes} or said != {_BODY[:-1]: nodes}:
        raise RuntimeError(f"return codes of {nodes} nodes: {codes}; said: {said}")
    coordinator = end - begin - simulated
    return {
        "seconds": coordinator,
        "cpu": coordinator,
        "names_us": (prepared - begin) / nodes * 1e6,
        "run_us": (run - prepared - simulated) / nodes * 1e6,
        "results_us": (end - run) / nodes * 1e6,
        "frames": frames,
        **probe.memory(),
    }
