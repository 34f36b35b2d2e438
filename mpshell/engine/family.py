"""Families of carriers, and the owner that all carriers report to.

A family (`Family`) starts the carriers of one kind, and keeps all that outlives one of them: child processes
are the first (`mpshell.engine.processes`). The owner is `mpshell.engine.clients.Clients`.
"""

from __future__ import annotations

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from mpshell.engine.carrier import Carrier
    from mpshell.engine.helpers import Helper
    from mpshell.engine.libc import Environment
    from mpshell.engine.work import Execution
    from mpshell.wire.messages import ConnectLimits, PasswordGiven, PasswordState

    #: Messages of the coordinator about connections.
    Steering = ConnectLimits | PasswordGiven | PasswordState

    class Family(Protocol):
        """All carriers of one kind in an engine."""

        @property
        def busy(self) -> bool:
            """Whether a command has not been seen off yet."""

        def start(self, execution: Execution) -> Carrier:
            """Begin to run a client's command; OSError or ValueError when that fails."""

        def kill_all(self) -> None:
            """Kill all that runs; to be called again for processes that each leaves, until nothing is left."""

        def end_run(self) -> None:
            """Nothing runs any more: all that is still there belongs to no run to come."""

    class Programs(Family, Protocol):
        """The family of child processes."""

        def start_helper(
            self, argv: list[bytes], env: Environment, on_stderr: Callable[[bytes], object]
        ) -> Helper:
            """Start a program that carries a connection; OSError or ValueError when that fails."""

    class Connecting(Family, Protocol):
        """A family whose carriers make connections."""

        #: The coordinator is on another host: files are this host's.
        is_far: bool

        def set_limits(self, most: int, rate: float | None) -> None:
            """Make no more than `most` at once, and begin no more than `rate` in a second (None: no limit)."""

        def take_room(self, descriptors: int) -> None:
            """Leave so many descriptors to clients: idle connections may use the others."""

        def give_password(self, number: int, text: str) -> None:
            """Take a password of the run that goes on."""

        def set_password_state(self, state: PasswordState) -> None:
            """Take the rules for a password that hold from now on."""

    class Owner(Protocol):
        """The owner of carriers, to which they report."""

        @property
        def congested(self) -> bool:
            """Whether the coordinator is behind: a carrier stops reading then, and calls `pause`."""

        @property
        def leaving(self) -> bool:
            """Whether the engine exits: all is killed, and nothing is started any more."""

        def pause(self, carrier: Carrier) -> None:
            """Note that a carrier has stopped reading, to resume it later."""

        def trace(self, execution: Execution, text: str) -> None:
            """Report a command line, for a job with `trace`."""

        def received(self, execution: Execution, stream: int, data: bytes) -> None:
            """Take bytes that a command has written."""

        def stream_ended(self, execution: Execution) -> None:
            """Note that a stream is at its end; the carrier has closed it."""

        def ended(self, execution: Execution, status: int, signaled: bool) -> None:
            """Note that the command has ended, with its exit status or signal number."""

        def failed(self, execution: Execution, reason: int, detail: str) -> None:
            """Note that the connection that carries a command has failed: CUT, UNREACHABLE and so on."""

        def start_over(self, execution: Execution, family: Family) -> bool:
            """Let a family start a client of which nothing has run; False if there is no room now."""

        def hand_over(self, execution: Execution, carrier: Carrier | None) -> None:
            """Close the carrier of a client of which nothing has run, and have another one in its place."""

        def read_log(self, execution: Execution) -> None:
            """Read the rest of a client's log: its program has ended."""

        def host_key(self, path: str, line: str) -> None:
            """Report a line for a file of host keys."""

        def password_news(self, number: int, event: str) -> None:
            """Report the fate of a password: ASKED and so on of `mpshell.wire.messages`."""

        def notice(self, text: str) -> None:
            """Count one more node of which the user should know that."""
