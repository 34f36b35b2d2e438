"""A Task driven through random sequences: after any of them the contract of events holds."""

from __future__ import annotations

import collections
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import psutil
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mpshell import EngineStartError, EventHandler, ExecWorker, NodeOutcome, Task, TaskError
from tests.faults.conftest import engines, fork_servers, hurt
from tests.support import commands, eventually, is_engine

#: Each first writes a line to the ledger. One that waits for an end of file, or hangs, costs its timeout.
COMMANDS = {
    "quick": "echo %h",
    "talks": "echo %h; echo err >&2; sleep 0.03; echo end; exit %n",
    "sleeps": "sleep 0.2",
    "reads": "cat; echo end",
    "dies": "echo x; kill -9 $$",
    "hangs": "echo x; sleep 60; :",
}
TIMEOUT = 0.25
#: Kinds of commands and numbers of nodes.
JOBS = st.lists(
    st.tuples(st.sampled_from(sorted(COMMANDS)), st.integers(0, 6)), min_size=1, max_size=3
)

#: Counts of the actions on Tasks that ran, over all sequences.
done: collections.Counter[str] = collections.Counter()


class Log(EventHandler):
    """All events of one worker's handler, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.threads: set[threading.Thread] = set()

    def _note(self, *event: Any) -> None:
        self.events.append(event)
        self.threads.add(threading.current_thread())

    def ev_start(self, worker: Any) -> None:
        self._note("start", None)

    def ev_pickup(self, worker: Any, node: str) -> None:
        self._note("pickup", node)

    def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:
        self._note("read", node, msg)

    def ev_written(self, worker: Any, node: str, sname: str, size: int) -> None:
        self._note("written", node)

    def ev_hup(self, worker: Any, node: str, rc: int | None) -> None:
        self._note("hup", node, rc)

    def ev_outcome(self, worker: Any, outcome: NodeOutcome) -> None:
        self._note("outcome", outcome.node, outcome)

    def ev_close(self, worker: Any, timedout: bool) -> None:
        self._note("close", None, timedout)

    def ev_timer(self, timer: Any) -> None:
        self._note("timer", None)


class Scheduled:
    """A worker that was scheduled, and its expected events."""

    def __init__(self, worker: ExecWorker, log: Log, nodes: list[str]) -> None:
        self.worker = worker
        self.log = log
        self.nodes = nodes
        self.aborted = False

    def check(self, lost_may_be: bool, ran: list[str]) -> None:
        """Hold a worker's events against the contract."""
        events = self.log.events
        names = collections.Counter(event[0] for event in events)
        if not events:
            assert self.aborted or not self.nodes
            return
        assert events[0][0] == "start" and events[-1][0] == "close"
        assert (names["start"], names["close"]) == (1, 1)
        by_node: dict[str, list[tuple[Any, ...]]] = collections.defaultdict(list)
        for event in events[1:-1]:
            by_node[event[1]].append(event)
        assert set(by_node) <= set(self.nodes)
        if not self.aborted:
            assert set(by_node) == set(self.nodes), "every node was started"
        ended = [self.check_node(node, seen, lost_may_be, ran) for node, seen in by_node.items()]
        assert events[-1][2] == any(outcome and outcome.timed_out for outcome in ended)

    def check_node(
        self, node: str, seen: list[tuple[Any, ...]], lost_may_be: bool, ran: list[str]
    ) -> NodeOutcome | None:
        """Check pickup, (read | written)*, hup unless it timed out, outcome: each once, in that order."""
        names = [event[0] for event in seen]
        middle = [name for name in names if name in ("read", "written")]
        if names == ["pickup", *middle]:
            assert self.aborted, "every node has one verdict"
            return None
        assert names[-1] == "outcome", (node, seen)
        outcome: NodeOutcome = seen[-1][2]
        ends = [] if outcome.timed_out else ["hup"]
        assert names == ["pickup", *middle, *ends, "outcome"], (node, seen)
        if ends:
            assert seen[-2][2] == outcome.returncode
        assert outcome.reason in ("exit", "signal", "timeout", *(["lost"] if lost_may_be else []))
        assert (outcome.returncode is None) == outcome.timed_out
        if outcome.reason == "lost":
            assert outcome.returncode == 255
        else:
            assert node in ran or outcome.timed_out
        return outcome


def all_cleared() -> bool:
    """Return whether nothing of a dead engine is left with its fork server."""
    try:
        return all(is_engine(child) for server in fork_servers() for child in server.children())
    except psutil.NoSuchProcess:
        return False


class Driven(RuleBasedStateMachine):
    """A Task with a thread of its own, and another thread that does things to it."""

    @initialize(
        count=st.sampled_from([1, 2, 4]),
        fanout=st.sampled_from([1, 3, 16]),
        held=st.booleans(),
        first=JOBS,
    )
    def begin(self, count: int, fanout: int, held: bool, first: list[tuple[str, int]]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Path(self.folder.name) / "ledger"
        self.ledger.touch()
        self.task = Task()
        self.task.set_info("engines", count)
        self.task.set_info("fanout", fanout)
        self.task.set_info("grace", 0.2)
        self.task.set_info("heartbeat", 1.5)
        self.scheduled: list[Scheduled] = []
        self.timers: list[Log] = []
        self.suspended = False
        self.hurt = 0
        self.killed: list[psutil.Process] = []
        self.errors: list[type[BaseException]] = []
        self.task.excepthook = lambda kind, error, tb: self.errors.append(kind)
        # A port holds a run: later calls then reach a run that goes on.
        self.port = self.task.port() if held else None
        self.schedule(first, False)
        if held:
            self.task.resume()

    @contextmanager
    def unless_dead(self) -> Iterator[None]:
        """Killing engine after engine before one has begun kills the Task in the end."""
        try:
            yield
        except TaskError:
            self.check_death()

    def check_death(self) -> None:
        assert self.errors == [EngineStartError]
        assert self.hurt >= 3, "one blow is never enough"
        assert eventually(lambda: self.task.running() is None)
        done["death"] += 1

    def live(self) -> bool:
        return not self.suspended

    def ran(self) -> list[str]:
        return self.ledger.read_text().split()

    @rule(jobs=JOBS, own=st.booleans())
    def schedule(self, jobs: list[tuple[str, int]], own: bool) -> None:
        for kind, count in jobs:
            log = Log()
            nodes = [f"w{len(self.scheduled)}n{i}" for i in range(count)]
            command = f"echo %h >> {self.ledger}; {COMMANDS[kind]}"
            worker = ExecWorker(nodes, handler=log, command=command, timeout=TIMEOUT)
            if own:
                worker._fanout = 2
            with self.unless_dead():
                self.task.schedule(worker)
            self.scheduled.append(Scheduled(worker, log, nodes))
            done["schedule"] += bool(self.task.running())

    @rule()
    def resume(self) -> None:
        self.suspended = False
        with self.unless_dead():
            self.task.resume()
        done["resume"] += 1

    @precondition(live)
    @rule()
    def suspend(self) -> None:
        # The next steps have to follow from the draws, not from the faster thread.
        self.suspended = True
        done["suspend"] += self.task.suspend()

    @precondition(lambda self: self.scheduled)
    @rule(which=st.integers(0, 100), data=st.binary(max_size=20), end=st.booleans())
    def write(self, which: int, data: bytes, end: bool) -> None:
        worker = self.scheduled[which % len(self.scheduled)].worker
        worker.write(data)
        if end:
            worker.set_write_eof()
        done["write"] += bool(self.task.running())

    @precondition(lambda self: self.scheduled)
    @rule(which=st.integers(0, 100))
    def abort_worker(self, which: int) -> None:
        scheduled = self.scheduled[which % len(self.scheduled)]
        scheduled.aborted = True
        scheduled.worker.abort()
        done["abort"] += bool(self.task.running())

    @rule(delay=st.sampled_from([0, 0.01, 0.1]))
    def timer(self, delay: float) -> None:
        self.timers.append(Log())
        self.task.timer(delay, self.timers[-1])
        done["timer"] += 1

    @rule(fanout=st.sampled_from([1, 2, 5, 20]))
    def change_fanout(self, fanout: int) -> None:
        self.task.set_info("fanout", fanout)

    @rule(seconds=st.sampled_from([0.01, 0.05]))
    def let_it_run(self, seconds: float) -> None:
        threading.Event().wait(seconds)

    @rule(how=st.sampled_from(["kill one", "kill all", "stop one", "kill the fork server"]))
    def hurt_engines(self, how: str) -> None:
        if how == "kill the fork server":
            # After a kill of both at one moment no process is left to clear up (docs/reliability.md).
            assert eventually(
                lambda: not any(p.is_running() for p in self.killed) and all_cleared()
            )
        victims = {"kill all": engines, "kill the fork server": fork_servers}.get(
            how, lambda: engines()[:1]
        )()
        if hit := hurt(victims, signal.SIGSTOP if how == "stop one" else signal.SIGKILL):
            self.hurt += 1
            if how in ("kill one", "kill all"):
                self.killed += hit
            done["hurt"] += bool(self.task.running())

    def teardown(self) -> None:
        if not hasattr(self, "task"):
            return
        for scheduled in self.scheduled:
            scheduled.worker.set_write_eof()
        if self.port is not None:
            self.task.remove_port(self.port)
        # Calls after the end of a run wait for the next.
        for _ in range(2):
            with self.unless_dead():
                self.task.resume()
            self.task.join()
        assert not self.task.running()
        if self.errors:
            self.check_death()
            # Work that had not begun by then is not reported, as after an abort.
            for scheduled in self.scheduled:
                scheduled.aborted = True
        ran = self.ran()
        assert len(ran) == len(set(ran)), "at most once"
        for scheduled in self.scheduled:
            scheduled.check(self.hurt > 0, ran)
            assert self.errors or scheduled.worker.task is self.task
            assert scheduled.log.threads <= {self.task.thread}
        for log in self.timers:
            assert log.events == [("timer", None)] or (self.errors and not log.events)
        assert eventually(lambda: commands() == [])
        self.task.abort(kill=True)
        self.task.thread.join(20)
        assert not self.task.thread.is_alive()
        self.folder.cleanup()


_KINDS = ("schedule", "resume", "suspend", "write", "abort", "timer", "hurt")


@pytest.mark.timeout(900)
def test_random_sequences() -> None:
    """Each sequence may take some seconds under load: a node after the other with a fanout of 1."""
    done.clear()
    examples = os.environ.get("MPSHELL_FUZZ_EXAMPLES")
    missing = list(_KINDS)
    # The draws are random: an action that no round has taken on a running Task yet comes in a later one.
    for _ in range(5):
        run_state_machine_as_test(
            Driven,
            settings=settings(
                max_examples=int(examples or 40),
                stateful_step_count=20,
                deadline=None,
                # A failure that takes a moment's timing cannot be shrunk.
                phases=[Phase.explicit, Phase.reuse, Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
        missing = [what for what in _KINDS if not done[what]]
        if not missing:
            break
    assert not missing, f"no sequence has done this to a running Task: {missing}"
