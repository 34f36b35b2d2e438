"""A million nodes through the coordinator alone: engines that answer at once, in this process.

The launcher is the one that the tests have in the place of the one that forks (`tests/fakes.py`). Its engines
take real frames and answer with real ones; the CPU time that they need themselves is measured and taken off. So
what is left is sharding, messages and results: the coordinator's own cost of a node.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import probe

# The driver is run by its path.
sys.path.append(str(Path(__file__).parents[3]))

from mpshell.launch import pool
from mpshell.wire import codec, messages
from mpshell.worker.exec import ExecWorker
from tests.fakes import FakeEngine, FakeLauncher

_BODY = b"a line that every node says\n"


class NullEngine(FakeEngine):
    """An engine of which all that runs ends with the next turn; it measures its own CPU time."""

    def __init__(self, engine_id: int, launcher: FakeLauncher) -> None:
        super().__init__(engine_id, launcher)
        self.simulated = 0.0
        self.frames = 0
        self._has_body = False
        self._turn_is_due = False

    def send(self, commands: list[messages.Message], descriptors: Sequence[int] = ()) -> None:
        frame = codec.encode(commands)
        begin = time.thread_time()
        for command in codec.decode(frame):
            self.take(command)
        self._plan_turn()
        self.simulated += time.thread_time() - begin

    def _plan_turn(self) -> None:
        if not self._turn_is_due:
            self._turn_is_due = True
            self.later(self._turn)

    def _turn(self) -> None:
        begin = time.thread_time()
        self._turn_is_due = False
        if self.ready is None:
            self.greet()
        self._finish_all()
        started = self.start()
        # A million of them would be seen in the memory.
        self.launcher.ledger.clear()
        if not started and self.ending:
            self.ending = False
            self.report.append(messages.RunEnded())
        self.settle_slots()
        report, self.report = self.report, []
        frame = codec.encode(report)
        self.frames += 1
        if any(self.running.values()) or self.ending:
            self._plan_turn()
        self.simulated += time.thread_time() - begin
        if self.on_frame is not None:
            self.on_frame(self, codec.decode(frame))

    def _finish_all(self) -> None:
        ended = [client for running in self.running.values() for client in running]
        if not ended:
            return
        self.running.clear()
        if not self._has_body:
            self._has_body = True
            self.report.append(messages.Bodies([(0, _BODY)], 0))
        self.report.append(
            messages.Finished(
                [(client, messages.EXITED, 0, 0, -1, 1.0, 0.5, None) for client in ended]
            )
        )


def million(library: str, nodes: int, fanout: int, engines: int) -> dict[str, float]:
    """Run nothing on the nodes, and count the CPU time of the coordinator, from text to results."""
    from mpshell import task_self

    made: list[NullEngine] = []

    def make(engine_id: int, launcher: FakeLauncher) -> NullEngine:
        made.append(NullEngine(engine_id, launcher))
        return made[-1]

    pool._pools[None] = pool.EnginePool(FakeLauncher(make))
    task = task_self()
    task.set_info("fanout", fanout)
    task.set_info("engines", engines)
    begin = time.process_time()
    task.schedule(ExecWorker(f"node[1-{nodes}]", handler=None, command="true"))
    prepared = time.process_time()
    task.resume()
    run = time.process_time()
    simulated = sum(engine.simulated for engine in made)
    frames = sum(engine.frames for engine in made)
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
