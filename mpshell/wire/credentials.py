"""Sockets whose receiver gets the sender of each message: SCM_CREDENTIALS of unix(7), written by the kernel.

A descriptor can be inherited, passed on, or kept by a program that has changed its user. The pid and the
ids of a message are those of its sender at the time of the send; only root can send others. A read of a
stream returns the bytes of one sender, never of several.
"""

from __future__ import annotations

# The C module of `socket`: see `mpshell.wire.channel`.
import _socket
import struct

from mpshell.runtime.lean import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    _Ancillary = tuple[int, int, bytes]

_UCRED = struct.Struct("iII")
_INT = struct.calcsize("i")
_ROOM = _socket.CMSG_SPACE(_UCRED.size)

#: Descriptors that one write can pass (SCM_MAX_FD of the kernel), and the bytes that a read needs for that
#: many.
MOST_DESCRIPTORS = 253
_ROOM_FOR_ALL = _ROOM + _socket.CMSG_SPACE(MOST_DESCRIPTORS * _INT)


class Sender(NamedTuple):
    """A process, with its real user and group: what the kernel writes unless the sender sends others."""

    pid: int
    uid: int
    gid: int


NOBODY = Sender(-1, 0xFFFFFFFF, 0xFFFFFFFF)


def ask_for_senders(sock: _socket.socket) -> None:
    """Make the kernel add the sender to each message; earlier messages have none."""
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)


def as_ancillary(sender: Sender) -> list[_Ancillary]:
    """Return the data that the kernel adds to a sender's message."""
    return [(_socket.SOL_SOCKET, _socket.SCM_CREDENTIALS, _UCRED.pack(*sender))]


def receive_of(
    sock: _socket.socket, size: int, expected: list[_Ancillary]
) -> tuple[bytes, Sender | None, list[int]]:
    """Return the bytes of one read, their sender if that is not the one of `expected`, and passed descriptors.

    Every frame of a run is read here: nothing is unpacked if the sender is the expected one.
    """
    data, ancillary, _, _ = sock.recvmsg(size, _ROOM_FOR_ALL, _socket.MSG_CMSG_CLOEXEC)
    if ancillary == expected or not data:
        return data, None, []
    sender, fds = _unpacked(ancillary)
    return data, None if as_ancillary(sender) == expected else sender, fds


def send_with(sock: _socket.socket, data: memoryview, descriptors: list[int]) -> int:
    """Write like send(2), and pass descriptors with the first byte; return the number of written bytes."""
    raw = struct.pack(f"{len(descriptors)}i", *descriptors)
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, raw)] if descriptors else []
    return sock.sendmsg([data], rights, _socket.MSG_NOSIGNAL)


def receive(
    sock: _socket.socket, size: int, descriptors: int = 0
) -> tuple[bytes, Sender, list[int]]:
    """Return the bytes of one read, their sender, and at most `most` passed descriptors (close-on-exec).

    The sender is NOBODY if the kernel names none: at the end of the stream. OSError as of recvmsg(2).
    """
    room = _ROOM + (_socket.CMSG_SPACE(descriptors * _INT) if descriptors else 0)
    data, ancillary, _, _ = sock.recvmsg(size, room, _socket.MSG_CMSG_CLOEXEC)
    sender, fds = _unpacked(ancillary)
    return data, sender, fds


def _unpacked(ancillary: list[_Ancillary]) -> tuple[Sender, list[int]]:
    sender, fds = NOBODY, []
    for _, kind, raw in ancillary:
        if kind == _socket.SCM_CREDENTIALS:
            sender = Sender(*_UCRED.unpack(raw))
        elif kind == _socket.SCM_RIGHTS:
            fds += [fd for (fd,) in struct.iter_unpack("i", raw)]
    return sender, fds
