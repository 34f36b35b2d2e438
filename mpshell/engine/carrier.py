"""What carries a client: the interface between a client's life and the means by which its command runs.

    Clients ── start, write, terminate, kill, resume ──► Carrier (a child process, a channel of a connection)
    Clients ◄── received, stream_ended, ended ───────────────┘

A family of carriers (`Family`) starts them and keeps what outlives one of them. A carrier reports to its
`Owner` and never decides how a client has ended: that is the state machine's (`mpshell.engine.client`).
Everything here is called in the engine's thread, by its loop, and nothing blocks.
"""

from __future__ import annotations

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    from mpshell.engine.work import Execution

    class InputSink(Protocol):
        """Takes the bytes of a command's standard input."""

        def write(self, data: memoryview) -> int | None:
            """Take bytes and return how many: 0 when it is full, None when the command reads no more."""

        def await_room(self, callback: Callable[[], None] | None) -> None:
            """Call back each time there is room, until None takes the callback's place."""

        def close_input(self) -> None:
            """Give the command its end of file; harmless when done already."""

    class Carrier(InputSink, Protocol):
        """One running command, from its start to its release."""

        @property
        def has_input(self) -> bool:
            """Whether the command's standard input is open for `write`."""

        @property
        def paused(self) -> bool:
            """Whether some output is not read because the coordinator is behind."""

        def resume_reading(self) -> None:
            """Read again: the coordinator has caught up."""

        def rest(self) -> Iterable[tuple[int, bytes]]:
            """Read what is there now without waiting, stream by stream; stop when iterated no further."""

        def rest_of_log(self) -> bytes:
            """Read all that is in the command's log now; empty for one without a log."""

        def terminate(self) -> None:
            """Ask the command to end (SIGTERM)."""

        def kill(self) -> None:
            """End the command without asking (SIGKILL)."""

        def abandon(self) -> None:
            """Report no end any more: the command cannot be killed."""

        def close(self) -> None:
            """Close all that is open: the client's slot is free."""

    class Family(Protocol):
        """All carriers of one kind in an engine."""

        @property
        def busy(self) -> bool:
            """Whether a command has not been seen off yet."""

        def start(self, execution: Execution) -> Carrier:
            """Begin to run a client's command; OSError or ValueError when that fails."""

        def kill_all(self) -> None:
            """Kill all that runs; to be called again for what each leaves, until nothing is left."""

        def end_run(self) -> None:
            """Nothing runs any more: what is still there is not of a run to come."""

    class Owner(Protocol):
        """What carriers report to."""

        @property
        def congested(self) -> bool:
            """Whether the coordinator is behind: a carrier stops reading then, and calls `pause`."""

        def pause(self, carrier: Carrier) -> None:
            """Note that a carrier has stopped reading, to resume it later."""

        def trace(self, execution: Execution, text: str) -> None:
            """Report a command line, for a job that asks for it."""

        def received(self, execution: Execution, stream: int, data: bytes) -> None:
            """Take bytes that a command has written."""

        def stream_ended(self, execution: Execution) -> None:
            """Note that a stream is at its end; the carrier has closed it."""

        def ended(self, execution: Execution, status: int, signaled: bool) -> None:
            """Note that the command has ended, with its exit status or signal number."""
