"""A stream of bytes as the transport of an asyncio protocol: the data of a turn are sent in one piece.

AsyncSSH writes each packet by itself, several in a row; asyncio sends each at once, which costs a system call
and wakes the server each time. Here they leave together at the end of the turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpshell.connect.loop import ConnectionLoop
    from mpshell.connect.stream import ByteStream

    class Endpoint(Protocol):
        """The receiver of the bytes of a connection."""

        def connection_made(self, transport: Any) -> object:
            """The connection is open."""

        def data_received(self, data: bytes) -> object:
            """Bytes have come."""

        def eof_received(self) -> object:
            """The other side sends no more."""

        def connection_lost(self, exc: Exception | None) -> object:
            """The connection has failed."""

    class LowerTransport(Protocol):
        """The transport to which a connection writes, over any stream."""

        @property
        def pending(self) -> int:
            """Bytes that wait to be sent; above HIGH_WATER no more input is written."""

        def abort(self) -> None:
            """Close it; written data are sent as far as there is room."""

    #: Makes the transport of an endpoint; calls back when no more than HIGH_WATER waits to be sent any more.
    MakeTransport = Callable[[Endpoint, Callable[[], object]], LowerTransport]


# The states of a transport, by its output.
_IDLE: Final = "IDLE"  # nothing waits to be sent
_DUE: Final = "DUE"  # something is sent at the end of this turn
_FULL: Final = "FULL"  # the stream is full, and watched for room
_CLOSED: Final = "CLOSED"

#: Bytes of one read: the packets of a piece are cut off its front one by one.
_READ_SIZE = 32768

#: Bytes that wait to be sent at which a command's input is written no more.
HIGH_WATER = 1 << 18


class SshTransport:
    """The transport over a stream, which it owns from now on."""

    def __init__(
        self,
        loop: ConnectionLoop,
        stream: ByteStream,
        endpoint: Endpoint,
        on_room: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._stream = stream
        self._endpoint = endpoint
        #: Called when no more than HIGH_WATER waits to be sent any more.
        self._on_room = on_room
        #: The data that were written and not sent, in pieces, and their length.
        self._pieces: list[bytes] = []
        self.pending = 0
        self._state: str = _IDLE
        loop.add_reader(stream.reading, self._on_readable)
        endpoint.connection_made(self)

    # -- input -----------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        try:
            data = self._stream.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        if data:
            self._endpoint.data_received(data)
        else:
            self._loop.remove_reader(self._stream.reading)
            self._endpoint.eof_received()

    def _fail(self, error: OSError) -> None:
        self._drop()
        self._loop.remove_reader(self._stream.reading)
        self._endpoint.connection_lost(error)

    # -- output ----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes at the end of this turn."""
        if self._state is _CLOSED:
            return
        self._pieces.append(data)
        self.pending += len(data)
        if self._state is _IDLE:
            self._state = _DUE
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._state is _DUE:
            self._state = _IDLE
        if self._state is _CLOSED or not self._pieces:
            return
        was_full = self.pending > HIGH_WATER
        data = b"".join(self._pieces)
        try:
            sent = self._stream.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # Read the end of the other side, and the data before it.
            self._drop()
            return
        self._pieces = [data[sent:]] if sent < len(data) else []
        self.pending -= sent
        if self._pieces and self._state is _IDLE:
            self._state = _FULL
            self._loop.add_writer(self._stream.writing, self._flush)
        elif not self._pieces:
            self._stop_watching()
        if was_full and self.pending <= HIGH_WATER:
            self._on_room()

    def _drop(self) -> None:
        self._pieces.clear()
        self.pending = 0
        self._stop_watching()

    def _stop_watching(self) -> None:
        if self._state is _FULL:
            self._state = _IDLE
            self._loop.remove_writer(self._stream.writing)

    # -- as a protocol asks ------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the socket, or an address of it, if there is one."""
        found = self._stream.info(name)
        return default if found is None else found

    def is_closing(self) -> bool:
        return self._state is _CLOSED

    def abort(self) -> None:
        """Close the stream; written data are sent as far as there is room."""
        if self._state is not _CLOSED:
            self._flush()
            self._drop()
            self._state = _CLOSED
            self._loop.remove_reader(self._stream.reading)
            self._stream.close()

    close = abort
