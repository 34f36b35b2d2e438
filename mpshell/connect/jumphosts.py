"""Connections to hosts on the way (ProxyJump): one for each in an engine, shared by the nodes behind it.

    JumpWay ── reach ──► JumpHost: CONNECTING ─► OPEN ─► CLOSED
    JumpWay ── open_channel ──► a channel to the node (direct-tcpip, RFC 4254, 7.2), a stream as TCP's is

A host on the way is connected to as any other one: its own part of the configuration, host key and login. Those
that are over several are each over the one before. In the thread of an engine, called by its loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import asyncssh

from mpshell.connect import failures
from mpshell.connect.transport import HIGH_WATER

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from mpshell.connect.failures import Failure
    from mpshell.connect.login import Login, Watcher
    from mpshell.connect.loop import ConnectionLoop
    from mpshell.connect.transport import Endpoint, MakeTransport
    from mpshell.engine.libc import Environment
    from mpshell.ssh.connection import Connection, Refusal
    from mpshell.ssh.setup import Target

CONNECTING: Final = "CONNECTING"
OPEN: Final = "OPEN"
CLOSED: Final = "CLOSED"

#: Bytes that a node may send through the host on the way before they are read, and of one packet.
_WINDOW, _PACKET = 1 << 20, 1 << 15

#: From where the connection comes, as ssh(1) has it for -W.
_ORIGIN = "127.0.0.1", 65535


class Crossing(Protocol):
    """A user of a jump host."""

    def ready(self) -> object:
        """The host on the way is connected."""

    def not_ready(self, failure: Failure, refusal: Refusal | None) -> object:
        """The host on the way cannot be connected."""

    def tell(self, text: str) -> object:
        """The host on the way has a message."""

    def wrote(self, data: bytes) -> object:
        """The command that connects the host on the way has written to its stderr."""

    def channel_opened(self, make_transport: MakeTransport) -> bool:
        """There is a channel; return whether it is still wanted."""

    def channel_refused(self, words: str, dropped: bool) -> object:
        """There is none: the host on the way cannot connect, or (`dropped`) is lost itself."""


class JumpHostOwner(Protocol):
    """The family of the carriers."""

    loop: ConnectionLoop

    def make_login(self, target: Target, env: Environment, watcher: Watcher) -> Login:
        """Return the way to a connection to a target, over those before it."""

    def host_key(self, connection: Connection) -> None:
        """Have the key of a host that was accepted added to its file."""


class JumpHosts:
    """The hosts on the way of an engine, each by those that lead to it."""

    def __init__(self, owner: JumpHostOwner) -> None:
        self._owner = owner
        self._jump_hosts: dict[Hashable, JumpHost] = {}

    def reach(self, jump: tuple[Target, ...], env: Environment, way: Crossing) -> JumpHost:
        """Notify a way when the last of these hosts is connected (`ready`), or cannot be (`not_ready`)."""
        key = tuple(target.key for target in jump)
        host = self._jump_hosts.get(key)
        if host is None or host.state is CLOSED:
            host = self._jump_hosts[key] = JumpHost(self._owner, jump[-1], env)
        host.add(way)
        return host

    def end_run(self) -> None:
        """Close those that nothing goes through."""
        for host in self._jump_hosts.values():
            host.end_run()
        self._jump_hosts = {
            key: host for key, host in self._jump_hosts.items() if host.state is not CLOSED
        }


class JumpHost:
    """The connection to one jump host; it watches its login."""

    def __init__(self, owner: JumpHostOwner, target: Target, env: Environment) -> None:
        self._owner = owner
        self.target = target
        self.state: str = CONNECTING
        #: Those that wait for it, and the channels through it.
        self._waiting: list[Crossing] = []
        self._channels: set[ChannelTransport] = set()
        self._is_over = False
        self._login = owner.make_login(target, env, self)
        self.call_soon(self._begin)

    def _begin(self) -> None:
        if self.state is CONNECTING:
            self._login.begin()

    def add(self, way: Crossing) -> None:
        """Notify a way when it can go on."""
        self._is_over = False
        self._waiting.append(way)
        if self.state is OPEN:
            self.call_soon(self._on_ready)

    def _on_ready(self) -> None:
        waiting, self._waiting = self._waiting, []
        for way in waiting:
            if self.state is OPEN:
                way.ready()
            else:
                way.not_ready(failures.lost_on_the_way(self.target), None)

    def leave(self, way: Crossing) -> None:
        """A way does not wait any more; if no other one does, do not connect to the jump host."""
        if way in self._waiting:
            self._waiting.remove(way)
            if self.state is CONNECTING and not self._waiting:
                self._close()

    # -- the login -------------------------------------------------------------------------------

    def opened(self) -> None:
        connection = self._login.connection
        if connection is None:
            return
        self.state = OPEN
        self._login.on_room = self._on_room
        self._login.on_lost = self._on_lost
        if connection.accepted is not None:
            self._owner.host_key(connection)
            self.banner(failures.added(self.target, connection.get_server_host_key()))
        self._on_ready()

    def not_opened(self, failure: Failure, refusal: Refusal | None) -> None:
        self.state = CLOSED
        waiting, self._waiting = self._waiting, []
        for way in waiting:
            way.not_ready(failure, refusal)

    def banner(self, text: str) -> None:
        if self.target.profile.log_level == "INFO":
            for way in list(self._waiting):
                way.tell(text)

    def wrote(self, data: bytes) -> None:
        for way in list(self._waiting):
            way.wrote(data)

    def _on_lost(self) -> None:
        """The connection is lost; its channels have been notified."""
        self.state = CLOSED

    def _on_room(self) -> None:
        for channel in list(self._channels):
            channel.on_room_below()

    @property
    def pending(self) -> int:
        """Bytes of all its channels that wait to be sent."""
        transport = self._login.transport
        return 0 if transport is None else transport.pending

    # -- channels --------------------------------------------------------------------------------

    def open_channel(self, target: Target, way: Crossing) -> bool:
        """Have the host on the way connect to a target; False when it is not connected itself any more."""
        connection = self._login.connection
        if self.state is not OPEN or connection is None:
            return False
        # Of the loop: a task of the connection would end with it, and the way would wait for ever.
        self._owner.loop.create_task(self._open(connection, target, way))
        return True

    async def _open(self, connection: Connection, target: Target, way: Crossing) -> None:
        try:
            _, channel = await connection.create_connection(
                lambda: ChannelTransport(self), target.host, target.port, *_ORIGIN,
                encoding=None, window=_WINDOW, max_pktsize=_PACKET,
            )  # fmt: skip
        except (asyncssh.Error, OSError) as error:
            reason = error.reason if isinstance(error, asyncssh.Error) else str(error)
            way.channel_refused(failures.no_channel(reason), self.state is not OPEN)
            return
        if not isinstance(channel, ChannelTransport):
            raise TypeError(f"a channel without its transport: {channel!r}")
        self._channels.add(channel)
        if not way.channel_opened(channel.serve):
            channel.abort()

    def forget(self, channel: ChannelTransport) -> None:
        """A channel is closed."""
        self._channels.discard(channel)
        if self._is_over:
            self.call_soon(self.end_run)

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call back at the end of this turn."""
        self._owner.loop.call_soon(callback)

    # -- ends ------------------------------------------------------------------------------------

    def end_run(self) -> None:
        """The run is over: close it as soon as nothing goes through it, connections that stay among them."""
        self._is_over = not self._waiting
        if self._is_over and not self._channels:
            self._close()

    def _close(self) -> None:
        if self.state is not CLOSED:
            self.state = CLOSED
            self._login.close()


class ChannelTransport(asyncssh.SSHTCPSession[bytes]):
    """The transport of a connection through a jump host: the data of a turn are sent in one piece."""

    def __init__(self, host: JumpHost) -> None:
        self._host = host
        self._channel: asyncssh.SSHTCPChannel[bytes] | None = None
        self._endpoint: Endpoint | None = None
        self._on_room: Callable[[], object] | None = None
        self._pieces: list[bytes] = []
        #: Why it was closed before it had an endpoint.
        self._lost: tuple[Exception | None] | None = None
        self._full = False

    def serve(self, endpoint: Endpoint, on_room: Callable[[], object]) -> ChannelTransport:
        """Be the transport of a connection."""
        self._endpoint, self._on_room = endpoint, on_room
        endpoint.connection_made(self)
        if self._lost is not None:
            endpoint.connection_lost(*self._lost)
        return self

    # -- as the session of a channel ---------------------------------------------------------------

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        # Never paused: each channel of the connection has a small window of its own.
        if self._endpoint is not None:
            self._endpoint.data_received(data)

    def eof_received(self) -> bool:
        if self._endpoint is not None:
            self._endpoint.eof_received()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._host.forget(self)
        self._channel = None
        self._pieces.clear()
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.connection_lost(exc)
        else:
            self._lost = (exc,)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self.on_room_below()

    def on_room_below(self) -> None:
        """There is room in the connection to the host on the way, or in this channel."""
        if self._on_room is not None and self.pending <= HIGH_WATER:
            self._on_room()

    # -- as the transport of a connection ------------------------------------------------------------

    @property
    def pending(self) -> int:
        if self._channel is None:
            return 0
        own = self._channel.get_write_buffer_size() + sum(map(len, self._pieces))
        return HIGH_WATER + 1 if self._full else max(own, self._host.pending)

    def write(self, data: bytes) -> None:
        """Send bytes at the end of this turn."""
        if self._channel is not None:
            if not self._pieces:
                self._host.call_soon(self._flush)
            self._pieces.append(data)

    def _flush(self) -> None:
        if self._channel is None or not self._pieces:
            return
        was_full = self.pending > HIGH_WATER
        pieces, self._pieces = self._pieces, []
        try:
            self._channel.write(b"".join(pieces))
        except OSError:
            # Closed in this turn: its end is on its way.
            return
        if was_full:
            self.on_room_below()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return nothing: there is no socket of its own."""
        return default

    def is_closing(self) -> bool:
        return self._channel is None

    def abort(self) -> None:
        """Close the channel; written data are sent as far as there is room."""
        self._flush()
        channel, self._channel = self._channel, None
        self._endpoint = self._on_room = None
        if channel is not None:
            self._host.forget(self)
            channel.abort()

    close = abort
