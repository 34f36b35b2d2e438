"""The outcomes of one command as they arrive: an iterator whose steps advance the run.

    for ... in ──► next() ──► turns of the run's loop, until a node has ended ──► its outcome

The run is in the thread of its Task, and makes its turns only within `next()`: no thread is made, and a slow
caller delays the run and so the engines, like a slow handler.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from mpshell.coordinator.interrupt import Interrupts
from mpshell.errors import EngineAbortException
from mpshell.outcome import NodeOutcome
from mpshell.task.runs import Runs
from mpshell.worker.kinds import Worker

if TYPE_CHECKING:
    from types import TracebackType

    from mpshell.coordinator.coordinator import Coordinator

W = TypeVar("W", bound=Worker, covariant=True)


class Arrivals:
    """The handler of a worker whose outcomes are iterated over."""

    def __init__(self) -> None:
        #: Those that have not been taken.
        self.waiting: deque[NodeOutcome] = deque()
        self._told: set[Any] = set()

    def ev_outcome(self, worker: Worker, outcome: NodeOutcome) -> None:
        self._told.add(outcome.node)
        self.waiting.append(outcome)

    def take_rest(self, worker: Worker) -> None:
        """Take the outcomes without an event, after the run: of commands that were aborted or not run."""
        self.waiting.extend(
            outcome for outcome in worker.outcomes() if outcome.node not in self._told
        )


class Outcomes(Iterator[NodeOutcome], Generic[W]):
    """An iterator over the outcomes of a command, in the order of their ends; a context that ends it.

    Nothing runs before the first outcome is requested. When the iterator is closed, or dropped, commands that
    still run are ended.
    """

    def __init__(self, runs: Runs, worker: W, arrivals: Arrivals) -> None:
        #: The worker of the command, for its output and stdin.
        self.worker = worker
        # The generator must not refer to this object: then a dropped one is ended at once, without a cycle.
        self._steps = _run(runs, worker, arrivals, weakref.WeakMethod(self.close))
        # Advance to the beginning of the run: a dropped, unused iterator has to be ended too.
        next(self._steps)

    def __next__(self) -> NodeOutcome:
        """Return the next outcome as soon as a command has ended; raise an error that ends the run early."""
        outcome = next(self._steps)
        if outcome is None:
            raise StopIteration
        return outcome

    def __enter__(self) -> Outcomes[W]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the commands that still run, and wait for that. Repeatable; not from a handler of the run."""
        self._steps.close()


#: The iterator of outcomes, None before the first.
Steps: TypeAlias = Generator[NodeOutcome | None, None, None]
Leave: TypeAlias = "weakref.WeakMethod[Callable[[], object]]"


def _run(runs: Runs, worker: Worker, arrivals: Arrivals, leave: Leave) -> Steps:
    abort: EngineAbortException | None = None
    with Interrupts() as interrupts:
        coordinator = runs.open(interrupts)
        try:
            yield from _turns(runs, coordinator, arrivals, interrupts, leave)
        except EngineAbortException as error:
            abort = error
        finally:
            runs.close(coordinator)
    if abort is not None:
        runs.terminate(abort.kill)
        return
    arrivals.take_rest(worker)
    while arrivals.waiting:
        yield arrivals.waiting.popleft()


def _turns(
    runs: Runs, coordinator: Coordinator, arrivals: Arrivals, interrupts: Interrupts, leave: Leave
) -> Steps:
    run, waiting = coordinator.run, arrivals.waiting
    try:
        yield from _hand_over(None, runs, interrupts, leave)
        while coordinator.step(runs.task_thread.on_idle, run.loop.run_once):
            while waiting:
                yield from _hand_over(waiting.popleft(), runs, interrupts, leave)
                run.leave_copy()
    except BaseException as error:
        # Raised by the caller: the iterator was closed, or a signal handler has raised.
        run.note(error)
    coordinator.finish()


def _hand_over(
    outcome: NodeOutcome | None, runs: Runs, interrupts: Interrupts, leave: Leave
) -> Steps:
    """Give the caller an outcome. Signal handlers are called during that, as in a handler."""
    runs.leave_iteration = leave
    try:
        interrupts.lift()
        yield outcome
    finally:
        interrupts.open = False
        runs.leave_iteration = None
