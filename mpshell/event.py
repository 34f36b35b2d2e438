"""The handler of events, the base class of a user's handlers for a worker, a timer or a port.

Every method is called in the thread of the task. Engines send only the events whose methods a handler
overrides, so do not define methods that you do not need.
"""

from __future__ import annotations

from collections.abc import Callable

#: Known to type checkers by its name; `typing` takes longer to load than all of this package that a run needs.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any, TypeVar

    from mpshell.outcome import NodeOutcome
    from mpshell.task.ports import EnginePort
    from mpshell.task.timers import EngineTimer
    from mpshell.worker.kinds import Worker

    _Method = TypeVar("_Method", bound=Callable[..., object])


def _does_nothing(method: _Method) -> _Method:
    """Mark a method, so that `mpshell.worker.dispatch` sees that a handler has not overridden it."""
    vars(method)["does_nothing"] = True
    return method


class EventHandler:
    """Base of event handlers; each method does nothing.

    Order for one worker: `ev_start` once, then for each node `ev_pickup`, any of `ev_read` and
    `ev_written`, `ev_hup` (not for a node that timed out or was aborted), `ev_outcome`, then `ev_close`
    once. A node is its name, for a local command its key.
    """

    @_does_nothing
    def ev_start(self, worker: Worker) -> None:
        """The first command of a worker starts."""

    @_does_nothing
    def ev_pickup(self, worker: Worker, node: Any) -> None:
        """The command on a node starts."""

    @_does_nothing
    def ev_read(self, worker: Worker, node: Any, sname: str, msg: bytes) -> None:
        """A node has written a line, given without its newline; `sname` is 'stdout' or 'stderr'."""

    @_does_nothing
    def ev_error(self, worker: Worker) -> None:
        """A line of stderr is in `worker.current_errmsg`; deprecated, see `ev_read`."""

    @_does_nothing
    def ev_written(self, worker: Worker, node: Any, sname: str, size: int) -> None:
        """A node's stdin has taken `size` bytes."""

    @_does_nothing
    def ev_hup(self, worker: Worker, node: Any, rc: int | None) -> None:
        """The command on a node has ended with return code `rc`; None for a stream, which has none."""

    @_does_nothing
    def ev_outcome(self, worker: Worker, outcome: NodeOutcome) -> None:
        """The command on a node has ended, after `ev_hup`; one that timed out has this event only.

        Not for commands that were aborted or withdrawn.
        """

    @_does_nothing
    def ev_retry(self, worker: Worker, outcome: NodeOutcome, delay: float) -> None:
        """An attempt on a node has ended with `outcome`; the next one is due in `delay` seconds.

        Only with a policy for that (info keys `retry`, `retry_lost`). There is an `ev_pickup` for each attempt,
        and `ev_hup`, `ev_outcome` for the last one.
        """

    @_does_nothing
    def ev_relay(self, worker: Worker, node: Any, source: str | None, offset: int) -> None:
        """In a relay copy a node is to fetch the file from `source`, None for this host, from byte `offset` on.

        Called at least once for each node, and again each time it gets another source.
        """

    @_does_nothing
    def ev_close(self, worker: Worker, timedout: bool) -> None:
        """The worker is done; `timedout` is true if any of its nodes timed out."""

    @_does_nothing
    def ev_port_start(self, port: EnginePort) -> None:
        """A port takes part in a run."""

    @_does_nothing
    def ev_msg(self, port: EnginePort, msg: Any) -> None:
        """A port has received a message."""

    @_does_nothing
    def ev_timer(self, timer: EngineTimer) -> None:
        """A timer fires."""
