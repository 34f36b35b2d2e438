"""One connection to the agent of an engine's user, shared by all that log in (draft-ietf-sshm-ssh-agent).

There is one request at a time, and the others wait for it: this avoids load, under which some agents refuse,
and second requests, which some do not read. A refused request is made once more.
"""

from __future__ import annotations

import asyncio
import socket
from typing import NamedTuple

_FAILURE, _IDENTITIES_ANSWER, _SIGN_RESPONSE = 5, 12, 14
_REQUEST_IDENTITIES, _SIGN_REQUEST = 11, 13

#: OpenSSH's own limit of an answer, bytes.
_LONGEST = 256 * 1024

#: Tries to connect to an agent whose queue is full, and seconds between them: nothing reports room in it.
_TRIES, _PAUSE = 100, 0.05


class AgentError(ValueError):
    """The agent is not running, refuses, or sends an invalid answer. AsyncSSH goes on with the next key."""


class AgentKey(NamedTuple):
    """A key that the agent holds: its blob and its comment."""

    blob: bytes
    comment: bytes


def string(data: bytes) -> bytes:
    """Return bytes as a string of the protocol (RFC 4251, 5)."""
    return len(data).to_bytes(4, "big") + data


class Agent:
    """A client of the agent behind a socket."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._lock = asyncio.Lock()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def keys(self) -> list[AgentKey]:
        """Return the keys that the agent has; AgentError if it does not list them."""
        answer = await self._ask(bytes([_REQUEST_IDENTITIES]), _IDENTITIES_ANSWER)
        count, rest = int.from_bytes(answer[:4], "big"), answer[4:]
        found: list[AgentKey] = []
        for _ in range(count):
            blob, rest = _take(rest)
            comment, rest = _take(rest)
            found.append(AgentKey(blob, comment))
        return found

    async def sign(self, key_blob: bytes, data: bytes, flags: int = 0) -> bytes:
        """Return a signature over data by one of the agent's keys; AgentError when it makes none."""
        request = (
            bytes([_SIGN_REQUEST]) + string(key_blob) + string(data) + flags.to_bytes(4, "big")
        )
        return _take(await self._ask(request, _SIGN_RESPONSE))[0]

    async def _ask(self, request: bytes, expected: int) -> bytes:
        async with self._lock:
            for again in (False, True):
                try:
                    answer = await self._exchange(request)
                except (OSError, EOFError) as error:
                    if again:
                        raise AgentError(f"agent {self._path}: {error}") from error
                    continue
                if answer[:1] == bytes([expected]):
                    return answer[1:]
                if again:
                    refused = answer[:1] == bytes([_FAILURE])
                    raise AgentError(
                        f"agent {self._path} {'refuses' if refused else 'sends an unexpected answer'}"
                    )
        raise AgentError(f"agent {self._path}")

    async def _exchange(self, request: bytes) -> bytes:
        """Send a request and return its answer; if it is cut short the connection is closed."""
        whole = False
        try:
            connection = await self._connected()
            await self._send(connection, string(request))
            size = int.from_bytes(await self._receive(connection, 4), "big")
            if not 0 < size <= _LONGEST:
                raise EOFError(f"an answer of {size} bytes")
            answer = await self._receive(connection, size)
            whole = True
            return answer
        finally:
            if not whole:
                self.close()

    async def _connected(self) -> socket.socket:
        if self._socket is None:
            made = self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.setblocking(False)
            for tries_left in range(_TRIES, -1, -1):
                try:
                    made.connect(self._path)
                    break
                except BlockingIOError:
                    if not tries_left:
                        raise
                    await asyncio.sleep(_PAUSE)
        return self._socket

    async def _send(self, connection: socket.socket, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        while data:
            try:
                data = data[connection.send(data) :]
            except BlockingIOError:
                room = loop.create_future()
                loop.add_writer(connection.fileno(), _set, room)
                try:
                    await room
                finally:
                    loop.remove_writer(connection.fileno())

    async def _receive(self, connection: socket.socket, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        pieces: list[bytes] = []
        while size:
            try:
                piece = connection.recv(size)
            except BlockingIOError:
                there = loop.create_future()
                loop.add_reader(connection.fileno(), _set, there)
                try:
                    await there
                finally:
                    loop.remove_reader(connection.fileno())
                continue
            if not piece:
                raise EOFError("the connection has ended")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _take(data: bytes) -> tuple[bytes, bytes]:
    """Return the string that bytes begin with, and the rest."""
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 + size or len(data) < 4:
        raise AgentError("an answer of the agent ends too early")
    return data[4 : 4 + size], data[4 + size :]
