"""The state of a Task as its table has it: every pair, and the runs that can be."""

from __future__ import annotations

import threading

import pytest

from mpshell.coordinator.interrupt import Interrupts
from mpshell.errors import TaskError
from mpshell.task import threads as t
from tests.unit.tables import STAY, Walk


class FakeRunner:
    """Records each request."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.waiting = False
        self.thread: t.TaskThread | None = None

    def run(self, timeout: float | None, interrupts: Interrupts) -> None:
        self.asked.append(("run", timeout))
        if self.thread is not None:
            self.thread.stopped()

    def failed(self, error: BaseException) -> None:
        self.asked.append(("failed", error))

    def terminate(self, kill: bool, keep_results: bool = False) -> None:
        self.asked.append(("terminate", kill))

    def abort_run(self, kill: bool) -> None:
        self.asked.append(("abort_run", kill))

    def waits(self) -> bool:
        return self.waiting

    def renew_locks(self) -> None:
        self.asked.append(("renew_locks", None))

    def lose_thread(self) -> None:
        self.asked.append(("lose_thread", None))


class Locked:
    """A TaskThread that takes its events under its lock."""

    def __init__(self) -> None:
        self.thread = t.TaskThread(FakeRunner(), threading.current_thread())

    @property
    def state(self) -> str:
        return self.thread.state

    def handle(self, event: str) -> None:
        with self.thread.condition:
            self.thread.handle(event)


WAYS = {
    t.IDLE: [],
    t.STARTING: [t.START],
    t.RUNNING: [t.START, t.BEGIN],
    t.ENDING: [t.START, t.BEGIN, t.END],
    t.DYING: [t.START, t.KILL],
    t.DEAD: [t.KILL],
}
#: Row by row, for: start, begin, end, stop, kill.
EXPECTED = {
    t.IDLE: (t.STARTING, None, None, None, t.DEAD),
    t.STARTING: (None, t.RUNNING, t.ENDING, t.IDLE, t.DYING),
    t.RUNNING: (None, None, t.ENDING, None, t.DYING),
    t.ENDING: (None, None, STAY, t.IDLE, t.DYING),
    t.DYING: (None, None, STAY, t.DEAD, STAY),
    t.DEAD: (None, None, None, None, STAY),
}
WALK = Walk(t, Locked, WAYS, EXPECTED, "{event} of a task that is {state}")


@pytest.mark.parametrize(("state", "event"), WALK.pairs())
def test_every_pair_is_as_in_the_table(state: str, event: str) -> None:
    WALK.check(state, event)


def test_every_state_can_be_reached_and_only_the_dead_stay() -> None:
    reached, waiting = {t.IDLE}, [t.IDLE]
    while waiting:
        for after in t.TABLE[waiting.pop()].values():
            if after not in reached:
                reached.add(after)
                waiting.append(after)
    assert reached == set(t.STATES)
    assert [state for state, row in t.TABLE.items() if set(row.values()) <= {state}] == [t.DEAD]


@pytest.mark.parametrize(
    ("state", "in_a_run", "killed"),
    [
        (t.IDLE, False, False), (t.STARTING, True, False), (t.RUNNING, True, False),
        (t.ENDING, True, False), (t.DYING, True, True), (t.DEAD, False, True),
    ],
)  # fmt: skip
def test_the_meaning_of_a_state(state: str, in_a_run: bool, killed: bool) -> None:
    thread = t.TaskThread(FakeRunner(), threading.current_thread())
    thread.state = state
    assert (thread.in_a_run, thread.killed) == (in_a_run, killed)
    if killed:
        with pytest.raises(TaskError, match="has been killed"):
            thread.check_alive()
    else:
        thread.check_alive()


def elsewhere(call: object, *args: object) -> None:
    """Call in another thread, to its end."""
    assert callable(call)
    thread = threading.Thread(target=call, args=args)
    thread.start()
    thread.join()


@pytest.mark.parametrize("state", [t.IDLE, t.STARTING, t.ENDING, t.DEAD])
def test_a_call_for_the_own_thread_waits_only_while_a_run_goes_on(state: str) -> None:
    thread = t.TaskThread(FakeRunner(), threading.current_thread())
    thread.state = state
    calls: list[int] = []
    elsewhere(thread.in_own_thread, calls.append, 1)
    assert calls == ([] if state in (t.STARTING, t.ENDING) else [1])
    if not calls:
        thread.stopped()
        assert calls == [1]


def test_work_that_comes_too_late_for_a_run_has_the_next_one_asked_for() -> None:
    """The Task's own thread makes it; before that no joining thread is released."""
    runner = FakeRunner()
    runner.thread = thread = t.TaskThread(runner, None)
    thread.state = t.ENDING
    elsewhere(thread.ask, None)
    thread.stopped()
    joined = threading.Thread(target=thread.join)
    joined.start()
    joined.join(60)
    assert not joined.is_alive()
    thread.state = t.ENDING
    runner.waiting = True
    elsewhere(thread.ask, 7.0)
    thread.stopped()
    thread.thread.start()
    elsewhere(thread.join)
    assert runner.asked == [("run", 7.0)]
    with thread.condition:
        thread.state = t.IDLE
        thread.kill()
    thread.thread.join(60)
    assert runner.asked[-1] == ("terminate", True)


def test_in_the_child_of_a_fork_the_task_of_another_thread_is_dead() -> None:
    runner = FakeRunner()
    thread = t.TaskThread(runner, threading.current_thread())
    thread.state = t.RUNNING
    thread.lose_thread()
    assert thread.killed and not thread.in_a_run
    assert runner.asked == [("renew_locks", None), ("lose_thread", None)]
