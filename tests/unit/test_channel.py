"""Frames over a channel: whole, cut anywhere, in both directions at once."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from mpshell.errors import ProtocolError
from mpshell.wire.channel import MAX_FRAME, Channel, channel_pair

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


@pytest.mark.parametrize("cut", range(len(WIRE) + 1))
def test_cut_anywhere_only_whole_frames_come(cut: int, pair: tuple[Channel, socket.socket]) -> None:
    channel, peer = pair
    peer.send(WIRE[:cut])
    peer.close()
    whole = received(channel)
    assert whole == FRAMES[: len(whole)]
    ends = [4, 9, len(WIRE)]
    assert len(whole) == sum(cut >= end for end in ends)


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
