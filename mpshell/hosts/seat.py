"""One engine of another host, at the switchboard: the ends of its channel and sentinel, and its circuit."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from mpshell.hosts import frames
from mpshell.hosts.circuit import Circuit
from mpshell.hosts.packets import REFUSED, UNCERTAIN
from mpshell.runtime.loop import EventLoop
from mpshell.wire import codec, messages
from mpshell.wire.channel import MAX_FAR_FRAME, Channel

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Home(Protocol):
        """The host of an engine (`mpshell.hosts.host`), as the engine's seat uses it."""

        def send(self, kind: bytes, engine: int = 0, body: bytes = b"") -> None: ...
        def forget(self, number: int) -> None: ...


#: Bytes of an engine's end, which its link reads at once.
_WORDS = 200


class Seat:
    """An engine, from its start until its end is reported; `on_end` is called with its number then."""

    def __init__(
        self,
        number: int,
        library: str,
        channel: Channel,
        sentinel: int,
        loop: EventLoop,
        on_end: Callable[[int], object],
    ) -> None:
        self.number = number
        #: The library of connections that it is to host; "" for none.
        self.ssh_library = library
        self._channel = channel
        self._sentinel = sentinel
        self._loop = loop
        self._on_end = on_end
        self._host: Home | None = None
        self._circuit: Circuit | None = None
        self._ending = False
        # The writing end of a pipe can be read when the other one is closed: the engine is not needed any more.
        loop.add_reader(sentinel, self._on_let_go)

    @property
    def waits(self) -> bool:
        """Whether it has not been started yet, and is to be."""
        return self._circuit is None and self._sentinel >= 0

    def wait_for(self, host: Home) -> None:
        """Note the host on which it will run."""
        self._host = host

    def start(self, host: Home, located: messages.Located) -> None:
        """Have it started on a host that is up."""
        host.send(frames.START, self.number, self.ssh_library.encode())
        self._circuit = Circuit(
            self.number, self._channel, self._loop, host.send, self._on_circuit_end, MAX_FAR_FRAME
        )
        self._circuit.tell(codec.encode([located]))
        self._circuit.open()

    def _on_circuit_end(self, circuit: Circuit) -> None:
        """The coordinator sends nothing more."""
        if self._host is not None:
            self._host.send(frames.END, self.number)

    def _on_let_go(self) -> None:
        self._loop.remove_reader(self._sentinel)
        if self._circuit is None:
            self._finish("")
        elif self._host is not None:
            self._circuit.close()
            self._host.send(frames.END, self.number)

    def fence(self) -> None:
        """Have it killed."""
        if self._circuit is None:
            self._finish("signal 9")
        elif self._host is not None:
            self._host.send(frames.FENCE, self.number)

    # -- frames of its host --------------------------------------------------------------------

    def take(self, kind: bytes, body: bytes) -> None:
        """Take a frame of the line about it; ProtocolError for one that cannot be."""
        circuit = self._circuit
        if circuit is None:
            return
        if kind in (frames.PIECE, frames.LAST):
            circuit.take(kind, body)
        elif kind == frames.CREDIT:
            circuit.credit(frames.unpack_number(body))
        elif kind == frames.END:
            # The coordinator sees the end of the channel behind all that came before it.
            circuit.when_flushed(circuit.close)
        elif kind == frames.GONE:
            text = body.decode(errors="replace")
            # Not as if it were this process that reports it.
            self._end_with(text.lstrip(REFUSED + UNCERTAIN) or "it has ended")

    # -- ends ----------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Nothing more will be received from it, but it may run on for a while."""
        if self._circuit is not None:
            self._circuit.when_flushed(self._circuit.close)

    def refuse(self, why: str) -> None:
        """It was never started."""
        self._finish(REFUSED + why)

    def give_up(self, why: str) -> None:
        """It has surely ended by now; how far it came is not known."""
        self._end_with(UNCERTAIN + why)

    def _end_with(self, text: str) -> None:
        """Report its end after all its data; the first report counts."""
        if self._ending or self._circuit is None:
            return
        self._ending = True
        self._circuit.when_flushed(lambda: self._finish(text))

    def _finish(self, text: str) -> None:
        if self._sentinel < 0:
            return
        self._loop.remove_reader(self._sentinel)
        if text:
            try:
                os.write(self._sentinel, text.encode(errors="replace")[:_WORDS])
            except OSError as error:
                if error.errno != errno.EPIPE:
                    raise
        os.close(self._sentinel)
        self._sentinel = -1
        if self._circuit is None:
            self._channel.close()
        else:
            self._circuit.close()
        if self._host is not None:
            self._host.forget(self.number)
        self._on_end(self.number)
