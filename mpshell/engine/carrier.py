"""The carrier of a client: the interface between a client's life and the means by which its command runs.

    Clients ── start, write, terminate, kill, resume ──► Carrier (a child process, a channel of a connection)
    Clients ◄── received, stream_ended, ended ───────────────┘

Carriers are started by their family and report to their owner (`mpshell.engine.family`). A carrier never
decides how a client has ended: that is the state machine's (`mpshell.engine.client`).
Everything here is called in the engine's thread, by its loop, and nothing blocks.
"""

from __future__ import annotations

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    class InputSink(Protocol):
        """Takes the bytes of a command's standard input."""

        def write(self, data: memoryview) -> int | None:
            """Take bytes and return how many: 0 when it is full, None when the command reads no more."""

        def await_room(self, callback: Callable[[], None] | None) -> None:
            """Call back each time there is room, until None takes the callback's place."""

        def close_input(self) -> None:
            """Give the command its end of file; repeatable."""

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
            """Yield the bytes that can be read now, stream by stream; stop when the iteration stops."""

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

    class Redialing(Carrier, Protocol):
        """A client's carrier between two programs of it, which watches over them (`mpshell.engine.redial`)."""

        #: Bytes of standard input that have been reported as written.
        fed: int

        @property
        def undecided(self) -> bool:
            """Whether the log has to be read to its end to interpret the end of its program."""

        def look(self, notes: bytes, messages: bytes) -> bytes:
            """Take the notes of the log, and new messages; return those to pass on now."""

        def take_messages(self) -> bytes:
            """Return the messages that were held back."""

        def goes_on(self, status: int, signaled: bool) -> bool:
            """Take the end of a program; return whether another one is to be started, after `pause`."""

        def verdict(self, status: int, signaled: bool) -> tuple[int, bool]:
            """Return how the client has ended, from how its last program has."""

        def pause(self) -> None:
            """Have the next program started, a little later."""
