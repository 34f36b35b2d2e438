"""The streams of bytes below a connection, which `mpshell.connect.transport` reads and writes."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mpshell.engine.helpers import Helper


class ByteStream(Protocol):
    """Two directions, neither of which blocks."""

    #: Descriptors to wait for.
    reading: int
    writing: int

    def recv(self, size: int) -> bytes:
        """Read available bytes; BlockingIOError if there are none, b"" at the end."""

    def send(self, data: bytes) -> int:
        """Write a part of the data, and return its length; BlockingIOError if there is no room."""

    def close(self) -> None:
        """Close both directions."""

    def info(self, name: str) -> Any:
        """Return the socket or an address of it, None if there is none."""


class SocketStream:
    """A connected socket, which it owns."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.reading = self.writing = sock.fileno()
        self.recv = sock.recv
        self.close = sock.close

    def send(self, data: bytes) -> int:
        return self._sock.send(data, socket.MSG_NOSIGNAL)

    def info(self, name: str) -> Any:
        try:
            if name == "socket":
                return self._sock
            if name == "peername":
                return self._sock.getpeername()
            if name == "sockname":
                return self._sock.getsockname()
        except OSError:
            # Reset as soon as it was there.
            pass
        return None


class CommandStream:
    """The standard streams of a command that makes the connection, and ends with it (ProxyCommand)."""

    def __init__(self, helper: Helper) -> None:
        self._helper = helper
        self.reading, self.writing = helper.stdout, helper.stdin

    def recv(self, size: int) -> bytes:
        return os.read(self.reading, size)

    def send(self, data: bytes) -> int:
        return os.write(self.writing, data)

    def close(self) -> None:
        self._helper.end()

    def info(self, name: str) -> Any:
        return None
