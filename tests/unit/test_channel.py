"""Frames over a channel: whole, cut anywhere, in both directions at once."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from mpshell.errors import ProtocolError
from mpshell.wire.channel import MAX_FRAME, Channel, channel_pair
from mpshell.wire.credentials import Sender

FRAMES = [b"", b"a", b"frame" * 100]
WIRE = b"".join(struct.pack("!i", len(frame)) + frame for frame in FRAMES)


@pytest.fixture
def pair() -> Iterator[tuple[Channel, socket.socket]]:
    """Give a channel and the bare socket of its peer."""
    channel, fd = channel_pair()
    peer = socket.socket(fileno=fd)
    yield channel, peer
    channel.close()
    peer.close()


def received(channel: Channel) -> list[bytes]:
    """Read until the end, and return the frames."""
    frames = []
    while True:
        try:
            frames += channel.receive()
        except EOFError:
            return frames


def test_a_byte_at_a_time(pair: tuple[Channel, socket.socket]) -> None:
    channel, peer = pair
    frames = []
    for byte in WIRE:
        peer.send(bytes([byte]))
        frames += channel.receive()
    assert frames == FRAMES


def test_cut_anywhere_only_whole_frames_come() -> None:
    ends = [4, 9, len(WIRE)]
    for cut in range(len(WIRE) + 1):
        channel, fd = channel_pair()
        with socket.socket(fileno=fd) as peer:
            peer.send(WIRE[:cut])
        whole = received(channel)
        channel.close()
        assert whole == FRAMES[: sum(cut >= end for end in ends)], cut


def test_a_long_frame_takes_larger_reads_and_a_short_one_after_it_a_small_one(
    pair: tuple[Channel, socket.socket],
) -> None:
    channel, peer = pair
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    long = os.urandom((1 << 17) + 5)
    for frames in ([b"short"], [long], [b"short"], [b"", long, b"a"]):
        peer.sendall(b"".join(struct.pack("!i", len(frame)) + frame for frame in frames))
        found: list[bytes] = []
        while len(found) < len(frames):
            found += channel.receive()
        assert found == frames
    assert channel.receive() == []


def test_nothing_to_read_is_no_frame(pair: tuple[Channel, socket.socket]) -> None:
    assert pair[0].receive() == []


def test_the_form_is_that_of_a_connection() -> None:
    channel, fd = channel_pair()
    with Connection(fd) as peer:
        channel.send(b"down" * 1000)
        assert peer.recv_bytes() == b"down" * 1000
        peer.send_bytes(b"up")
        assert channel.receive() == [b"up"]
    channel.close()


def test_the_long_form_is_read(pair: tuple[Channel, socket.socket]) -> None:
    channel, peer = pair
    peer.send(struct.pack("!iQ", -1, 3) + b"abc")
    assert channel.receive() == [b"abc"]


@pytest.mark.parametrize(
    "head", [struct.pack("!i", -2), struct.pack("!iQ", -1, MAX_FRAME + 1), b"\xff\xff\xff\xf0"]
)
def test_a_length_that_cannot_be(head: bytes, pair: tuple[Channel, socket.socket]) -> None:
    channel, peer = pair
    peer.send(head)
    with pytest.raises(ProtocolError, match="bytes"):
        channel.receive()


def test_both_ends_full_at_once_nobody_blocks() -> None:
    one, fd = channel_pair()
    other = Channel(fd)
    big = os.urandom(3 << 20)
    one.send(big)
    other.send(big)
    assert one.pending
    assert other.pending
    got: dict[Channel, list[bytes]] = {one: [], other: []}
    while not (got[one] and got[other]):
        for channel in (one, other):
            channel.flush()
            got[channel] += channel.receive()
    assert got == {one: [big], other: [big]}
    assert (one.pending, other.pending) == (0, 0)
    one.close()
    other.close()


def test_a_peer_that_is_gone(pair: tuple[Channel, socket.socket]) -> None:
    channel, peer = pair
    peer.close()
    channel.send(b"x" * (1 << 20))
    channel.send(b"y")
    assert channel.pending == 0
    with pytest.raises(EOFError):
        channel.receive()
    channel.close()
    channel.close()


# -- descriptors -------------------------------------------------------------------------------------


class Files:
    """Files without a name, by their content, and whether all that was opened for them is closed."""

    def __init__(self) -> None:
        self.own: dict[bytes, int] = {}
        self._name = f"file-{id(self)}-"

    def new(self, content: bytes) -> tuple[int, int, int]:
        """Return a descriptor of a new file, its device and its inode."""
        fd = self.own[content] = os.memfd_create(self._name)
        os.pwrite(fd, content, 0)
        status = os.fstat(fd)
        return fd, status.st_dev, status.st_ino

    def open_ones(self) -> int:
        """Return how many descriptors of such files are open here."""
        links = []
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/self/fd/{name}"))
        return sum(self._name in link for link in links)


@pytest.fixture
def files() -> Iterator[Files]:
    made = Files()
    yield made
    for fd in made.own.values():
        os.close(fd)
    assert made.open_ones() == 0


def ends() -> tuple[Channel, Channel]:
    one, fd = channel_pair()
    return one, Channel(fd, Sender(os.getpid(), os.getuid(), os.getgid()))


@pytest.mark.parametrize("size", [10, 200_000, 5_000_000])
def test_descriptors_are_there_with_their_frame(size: int, files: Files) -> None:
    one, other = ends()
    a, *of_a = files.new(b"a")
    b, *of_b = files.new(b"b")
    c, *of_c = files.new(b"c")
    frames = [b"1" * size, b"2" * size, b"3" * size]
    one.send(frames[0])
    one.send(frames[1], [a, b])
    one.send(frames[2], [c])
    got: list[bytes] = []
    while len(got) < 3:
        one.flush()
        got += other.receive()
    assert got == frames
    for its, content in ((of_b, b"b"), (of_c, b"c"), (of_a, b"a")):
        fd = other.take_descriptor(*its)
        assert os.pread(fd, 10, 0) == content and not os.get_inheritable(fd)
        assert other.take_descriptor(*its) == -1
        os.close(fd)
    one.close()
    other.close()


def test_a_descriptor_closed_and_reused_while_it_waits_is_still_the_right_one(files: Files) -> None:
    one, other = ends()
    one.send(bytes(5_000_000))
    assert one.pending
    fd, *its = files.new(b"right")
    one.send(b"frame", [fd])
    os.dup2(files.new(b"wrong")[0], fd)
    got: list[bytes] = []
    while len(got) < 2:
        one.flush()
        got += other.receive()
    copy = other.take_descriptor(*its)
    assert os.pread(copy, 10, 0) == b"right"
    os.close(copy)
    one.close()
    other.close()


@pytest.mark.parametrize("closes", ["sender", "receiver"])
def test_descriptors_that_are_not_taken_are_closed(closes: str, files: Files) -> None:
    one, other = ends()
    fd, *_ = files.new(b"a")
    one.send(b"first", [fd])
    assert other.receive() == [b"first"]
    one.send(bytes(5_000_000))
    one.send(b"last", [fd])
    assert files.open_ones() == 3
    (one if closes == "sender" else other).close()
    assert files.open_ones() == 2
    one.flush()
    one.close()
    other.close()


def test_a_descriptor_without_room_for_it_does_not_come(files: Files) -> None:
    """recvmsg(2): the kernel drops it (MSG_CTRUNC). Another one is not taken for it."""
    one, other = ends()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    a, *of_a = files.new(b"a")
    b, *of_b = files.new(b"b")
    one.send(b"first", [a])
    used = {int(name) for name in os.listdir("/proc/self/fd")}
    lowest = next(
        n for n in range(before[0]) if n not in used or not os.path.exists(f"/dev/fd/{n}")
    )
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
        assert other.receive() == [b"first"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    one.send(b"second", [b, 999_999])
    assert other.receive() == [b"second"]
    assert other.take_descriptor(*of_a) == -1
    os.close(other.take_descriptor(*of_b))
    one.close()
    other.close()
