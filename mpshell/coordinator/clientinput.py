"""The stdin of single clients of a job: the bytes for each, and how many of them were sent to its engine.

All bytes are kept until the client has ended: a client that its engine never announced runs in another one, and
reads all of them there. Such a client is never run twice: its input answers its own output.
"""

from mpshell.runtime.spool import Spool
from mpshell.wire.messages import CloseStdin, Message, Write

#: Bytes in one Write.
_PIECE = 1 << 18


class _Input:
    """The input of one client; `sent` counts the bytes that its engine has, -1: all and the end."""

    __slots__ = ("closed", "sent", "spool")

    def __init__(self) -> None:
        self.spool = Spool()
        self.closed = False
        self.sent = 0


class ClientInputs:
    """The input of each client of a job, by its index."""

    def __init__(self) -> None:
        self._inputs: dict[int, _Input] = {}
        self._ended: set[int] = set()
        #: Clients whose input was not sent to their engine completely, or that have no engine.
        self.unsent: set[int] = set()

    def write(self, index: int, data: bytes) -> None:
        """Add bytes for a client; dropped if it has ended, or if its end of file was requested.

        InputStorageError if they cannot be stored.
        """
        if (found := self._input(index)) is not None and data:
            found.spool.append(data)
            self.unsent.add(index)

    def close(self, index: int) -> None:
        """End a client's input: it reads the end of file after it. Repeatable."""
        if (found := self._input(index)) is not None:
            found.closed = True
            self.unsent.add(index)

    def _input(self, index: int) -> _Input | None:
        if index in self._ended:
            return None
        found = self._inputs.setdefault(index, _Input())
        return None if found.closed else found

    def rewind(self, index: int) -> None:
        """Note that the engine of a client is gone, and the client has not run."""
        if (found := self._inputs.get(index)) is not None:
            found.sent = 0
            self.unsent.add(index)

    def end(self, index: int) -> None:
        """Note that a client has ended and needs no more input."""
        self._ended.add(index)
        self.unsent.discard(index)
        if (found := self._inputs.pop(index, None)) is not None:
            found.spool.close()

    def send(self, job_id: int, index: int, room: int, outbox: list[Message]) -> int:
        """Put up to about `room` new bytes for a client into its engine's outbox, and return how many."""
        found = self._inputs[index]
        before = found.sent
        while 0 <= found.sent < found.spool.size and found.sent - before < room:
            data = bytes(found.spool.piece(found.sent, _PIECE))
            outbox.append(Write(job_id, data, index))
            found.sent += len(data)
        size = found.sent - before
        if found.sent == found.spool.size:
            self.unsent.discard(index)
            if found.closed:
                outbox.append(CloseStdin(job_id, index))
                found.sent = -1
        return size
