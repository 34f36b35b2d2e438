"""The handler of events: what a user derives from to hear of a worker, a timer or a port.

Every method is called in the thread of the task. Only what a handler overrides is sent across from the
engines, so a method that is not needed is best left out.
"""

from typing import Any


class EventHandler:
    """Base of event handlers; each method does nothing.

    Order for one worker: `ev_start` once, then for each node `ev_pickup`, any of `ev_read` and
    `ev_written`, `ev_hup` (not for a node that timed out or was aborted), `ev_outcome`, then `ev_close`
    once.
    """

    def ev_start(self, worker: Any) -> None:
        """The first command of a worker starts."""

    def ev_pickup(self, worker: Any, node: Any) -> None:
        """The command on a node starts."""

    def ev_read(self, worker: Any, node: Any, sname: str, msg: bytes) -> None:
        """A node has written a line, given without its newline; `sname` is 'stdout' or 'stderr'."""

    def ev_error(self, worker: Any) -> None:
        """A line of stderr is in `worker.current_errmsg`; deprecated, see `ev_read`."""

    def ev_written(self, worker: Any, node: Any, sname: str, size: int) -> None:
        """A node's stdin has taken `size` bytes."""

    def ev_hup(self, worker: Any, node: Any, rc: int | None) -> None:
        """The command on a node has ended with return code `rc`."""

    def ev_outcome(self, worker: Any, outcome: Any) -> None:
        """The command on a node has ended, after `ev_hup`; one that timed out has this event only.

        `outcome` is a NodeOutcome. Not for commands that were aborted or withdrawn.
        """

    def ev_close(self, worker: Any, timedout: bool) -> None:
        """The worker is done; `timedout` tells whether any of its nodes timed out."""

    def ev_port_start(self, port: Any) -> None:
        """A port takes part in a run."""

    def ev_msg(self, port: Any, msg: Any) -> None:
        """A message has come to a port."""

    def ev_timer(self, timer: Any) -> None:
        """A timer fires."""
