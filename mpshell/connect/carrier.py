"""A command on a node over a connection: login, channel, streams, end.

    CONNECTING ◄─► OPENING ─► RUNNING ─► ENDED
         └────────────┴──────────┴──► ENDED

It is the session of its channel: AsyncSSH's term for the receiver of a channel's events. In the thread of an
engine, called by its loop (`mpshell.engine.carrier`).
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, Final, Protocol

import asyncssh

from mpshell.connect import failures
from mpshell.connect.access import Access, Means
from mpshell.connect.transport import HIGH_WATER
from mpshell.ssh.connection import silence
from mpshell.wire.messages import CUT, STDERR, STDOUT
from mpshell.wire.notices import NOT_LET_IN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpshell.connect.failures import Failure
    from mpshell.connect.login import Login
    from mpshell.engine.family import Owner
    from mpshell.engine.work import Execution
    from mpshell.ssh.connection import Connection
    from mpshell.ssh.setup import Setup, Target

CONNECTING: Final = "CONNECTING"
OPENING: Final = "OPENING"
RUNNING: Final = "RUNNING"
ENDED: Final = "ENDED"

# The states of a command's stdin.
OPEN_INPUT: Final = "OPEN"
_FULL: Final = "FULL"  # the server takes no more now
_CLOSED: Final = "CLOSED"  # it has none, or its end was sent

# The states of its output.
_FLOWING: Final = "FLOWING"
_PAUSED: Final = "PAUSED"  # the coordinator is behind
_CATCHING_UP: Final = (
    "CATCHING_UP"  # data that were kept during a pause are being passed to the owner
)

#: Bytes that a server may send before they are read: all of it is kept while the coordinator is behind.
_WINDOW = 1 << 18

#: Bytes of one packet of a channel, and of one write to it.
_PACKET, _PIECE = 1 << 15, 1 << 16

#: Log levels at which ssh(1) does not report why it failed.
_SILENT = ("QUIET", "FATAL")

#: Seconds from the last signal until the connection is given up: the server closes it after its commands.
_PATIENCE = 2.0

#: For a POSIX shell with ps(1): signal the process groups of the shell's siblings, each the leader of its own.
#: One command runs on a connection, so no other one is hit.
_SIGNAL_SIBLINGS = (
    'for p in $(ps -o pid= --ppid "$PPID"); do'
    ' [ "$p" -eq $$ ] || kill -s {} -- "-$p"; done 2>/dev/null'
)

#: The number for a signal without one on this system.
_UNKNOWN_SIGNAL = 99


class House(Means, Protocol):
    """The family of a carrier."""

    owner: Owner

    def host_key(self, connection: Connection) -> None:
        """Have the key of a host that was accepted added to its file."""

    def ended(self, carrier: SshCarrier) -> None:
        """Its command is over."""

    def fall_back(self, execution: Execution, reason: str) -> None:
        """Let ssh(1) connect: this side has given up before the login."""


class SshCarrier(asyncssh.SSHClientSession[bytes]):
    """One command; a carrier of `mpshell.engine.carrier`."""

    def __init__(self, family: House, execution: Execution, setup: Setup, target: Target) -> None:
        self._family = family
        self._loop = family.loop
        self._owner = family.owner
        self.execution = execution
        self.state: str = CONNECTING
        job = execution.job
        self._access = Access(family, setup, target, self._node, job.env, job.spec.connect, self)
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._output: str = _FLOWING
        self._input: str = OPEN_INPUT if execution.job.spec.stdin else _CLOSED
        self._on_room: Callable[[], None] | None = None
        #: How the command has ended, as the server has reported it: its status or signal.
        self._end: tuple[int, bool] | None = None

    @property
    def _node(self) -> str:
        """The node as ssh(1) takes it: [USER@]HOST."""
        return self.execution.node

    def begin(self) -> None:
        """Connect, and run the command."""
        if self.state is CONNECTING:
            self._access.begin()

    # -- the connection ----------------------------------------------------------------------------

    def made(self, connection: Connection) -> None:
        """A new connection has been made: its host's key may be new too."""
        target = self._access.target
        if connection.accepted is not None:
            self._family.host_key(connection)
            self._tell(failures.added(target, connection.get_server_host_key()))

    def connected(self, connection: Connection) -> None:
        """Open a channel, and start the command."""
        for text in connection.notices:
            self._owner.notice(text)
        self.state = OPENING
        connection.create_task(self._open(self._access.login))

    def disconnected(self) -> None:
        """An earlier connection opens no channel: make a new one."""
        self.state = CONNECTING

    def not_connected(self, failure: Failure) -> None:
        """There is no connection, and nothing has run."""
        if failure.dropped:
            self._owner.notice(NOT_LET_IN)
        self._fail(failure)

    def not_wanted(self, reason: str) -> None:
        """This side has given up before the login."""
        self._finish()
        self._family.fall_back(self.execution, reason)

    def banner(self, text: str) -> None:
        """A server shows a message before the login."""
        self._tell(text)

    def wrote(self, data: bytes) -> None:
        """A command that makes the connection has written to its stderr, which is that of ssh(1)."""
        separate = self.execution.job.spec.separate_stderr
        self._owner.received(self.execution, STDERR if separate else STDOUT, data)

    def _command(self) -> bytes:
        connect = self.execution.job.spec.connect
        return b"" if connect is None else os.fsencode(connect.command)

    async def _open(self, way: Login) -> None:
        """Open a channel, and start the command."""
        await self._start(way)

    async def _start(self, way: Login) -> bool:
        """Return whether the server runs the command over this connection."""
        # The bytes of the system, not UTF-8 as AsyncSSH would have them.
        command: Any = self._command()
        access = self._access
        try:
            await way.open_connection().create_session(
                lambda: self._session(way), command,
                encoding=None, window=_WINDOW, max_pktsize=_PACKET,
            )  # fmt: skip
        except (asyncssh.Error, OSError) as error:
            if way is not access.login or access.try_anew():
                # It has been given up, and was asked to run nothing.
                return False
            if access.is_open and isinstance(error, asyncssh.ChannelOpenError):
                self._fail(failures.refused(access.target, error))
            else:
                self._fail(failures.cut(access.target))
            return False
        return self.state is RUNNING

    def _session(self, way: Login) -> SshCarrier:
        """Return the session of a channel that is open: the server is asked to run the command after this."""
        if self._access.login is not way or self.state is not OPENING:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "it is not wanted")
        self._access.channel_opened()
        return self

    # -- as the session of a channel ---------------------------------------------------------------

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan
        silence(chan)

    def session_started(self) -> None:
        """The server runs the command."""
        if self.state is not OPENING or self._channel is None:
            return
        self.state = RUNNING
        self._access.call_when_sent(self._room)
        if self._input is not _CLOSED:
            self._room()
        else:
            self._channel.write_eof()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        owner = self._owner
        separate = datatype is not None and self.execution.job.spec.separate_stderr
        owner.received(self.execution, STDERR if separate else STDOUT, data)
        if owner.congested and self._output is _FLOWING:
            self._pause()

    def _pause(self) -> None:
        if self._channel is not None:
            self._output = _PAUSED
            self._channel.pause_reading()
            self._owner.pause(self)

    def eof_received(self) -> bool:
        """Nothing more comes; return that this side may go on to send."""
        return True

    def exit_status_received(self, status: int) -> None:
        self._end = status, False

    def exit_signal_received(self, name: str, core_dumped: bool, msg: str, lang: str) -> None:
        number = getattr(signal, f"SIG{name.partition('@')[0]}", _UNKNOWN_SIGNAL)
        self._end = int(number), True

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed, or the connection below it."""
        if self.state is ENDED:
            return
        if self._end is not None and exc is None and self._access.is_open:
            self._access.ended()
            self._finish()
            self._owner.ended(self.execution, *self._end)
        elif self.state is RUNNING:
            self._fail(failures.cut(self._access.target))

    def pause_writing(self) -> None:
        if self._input is OPEN_INPUT:
            self._input = _FULL

    def resume_writing(self) -> None:
        if self._input is _FULL:
            self._input = OPEN_INPUT
        self._room()

    def xon_xoff_requested(self, client_can_do: bool) -> None:
        """There is no terminal."""

    # -- output ----------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return self._output is _PAUSED

    def resume_reading(self) -> None:
        self._output = _FLOWING
        if self._channel is None or self.state is not RUNNING:
            return
        if not self._owner.congested:
            # All that the channel has kept, a window at most. With the first piece of it AsyncSSH opens the
            # whole window to the server again: data not passed on now would be kept beside another one.
            self._output = _CATCHING_UP
            self._channel.resume_reading()
            self._output = _FLOWING
        if self._owner.congested:
            # Again, or another one has been before.
            self._pause()

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """All that has come was passed on when it came."""
        return iter(())

    def rest_of_log(self) -> bytes:
        return b""

    # -- input -----------------------------------------------------------------------------------

    @property
    def has_input(self) -> bool:
        return self._input is not _CLOSED

    def write(self, data: memoryview) -> int | None:
        if self.state is ENDED:
            return None
        if (
            self.state is not RUNNING
            or self._input is _FULL
            or self._channel is None
            or self._access.pending > HIGH_WATER
        ):
            return 0
        size = min(len(data), _PIECE)
        try:
            self._channel.write(bytes(data[:size]))
        except OSError:
            # It reads no more: the rest is not for it.
            return None
        return size

    def await_room(self, callback: Callable[[], None] | None) -> None:
        self._on_room = callback

    def _room(self) -> None:
        if self._on_room is not None:
            self._on_room()

    def close_input(self) -> None:
        if self._input is not _CLOSED:
            self._input = _CLOSED
            if self.state is RUNNING and self._channel is not None:
                self._channel.write_eof()

    # -- ends ------------------------------------------------------------------------------------

    def terminate(self) -> None:
        self._end_there("TERM")

    def kill(self) -> None:
        self._end_there("KILL")
        self._loop.call_later(_PATIENCE, self._give_up)

    def _end_there(self, name: str) -> None:
        """End the command on the node, in both possible ways: sshd confirms neither."""
        self._access.signalled()
        connection = self._access.connection
        if self.state is not RUNNING or self._channel is None or connection is None:
            # Nothing runs there yet, as far as is known here.
            self._loop.call_soon(self._give_up)
            return
        try:
            self._channel.send_signal(name)
        except OSError:
            # Closed in the meantime: its end will be reported.
            return
        # For root, and where a command is forced, sshd refuses to signal.
        connection.create_task(self._signal_beside(connection, name))

    @staticmethod
    async def _signal_beside(connection: asyncssh.SSHClientConnection, name: str) -> None:
        """Signal the command from another channel: its group is a sibling's of the shell that does it."""
        try:
            await connection.create_session(
                asyncssh.SSHClientSession, _SIGNAL_SIBLINGS.format(name), encoding=None
            )
        except (asyncssh.Error, OSError):
            # No second channel here, or the connection has ended: the first way has to do.
            return

    def _give_up(self) -> None:
        """End the connection, and so the knowledge about the command."""
        if self.state is not ENDED:
            self._finish()
            self._owner.failed(self.execution, CUT, "")

    def _fail(self, failure: Failure) -> None:
        if self.state is ENDED:
            return
        self._finish()
        if self._access.target.profile.log_level not in _SILENT:
            self._say(failure.words)
        self._owner.failed(self.execution, failure.reason, failure.words)

    def _tell(self, words: str) -> None:
        """Write a message that is not an error, unless the user's LogLevel hides it."""
        if self._access.target.profile.log_level == "INFO":
            self._say(words)

    def _say(self, words: str) -> None:
        """Write a message like ssh(1) on its stderr."""
        separate = self.execution.job.spec.separate_stderr
        text = "".join(f"{line}\r\n" for line in words.splitlines())
        self._owner.received(self.execution, STDERR if separate else STDOUT, text.encode())

    def _finish(self) -> None:
        self.state = ENDED
        self._on_room = None
        self._family.ended(self)

    def abandon(self) -> None:
        self._finish()
        self._access.abort()

    def close(self) -> None:
        if self.state is not ENDED:
            self._finish()
        self._access.leave()
        self._channel = None
