"""A server that logs everybody in and then breaks the protocol; the user's name selects the way."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncssh
from asyncssh.constants import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_DEBUG,
    MSG_DISCONNECT,
    MSG_GLOBAL_REQUEST,
    MSG_IGNORE,
    MSG_KEXINIT,
    MSG_NEWKEYS,
    MSG_REQUEST_FAILURE,
    MSG_REQUEST_SUCCESS,
    MSG_UNIMPLEMENTED,
    MSG_USERAUTH_SUCCESS,
)
from asyncssh.packet import Boolean, String, UInt32

#: A channel's number that no client has given.
NOBODYS = 0x7FFFFFFF


class Peer:
    """The server's side of one connection: sends any message."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.connection: Any = channel._conn
        # The client's answers are dropped: for some of them this server would end the connection.
        answers = (
            MSG_CHANNEL_OPEN_FAILURE,
            MSG_REQUEST_SUCCESS,
            MSG_REQUEST_FAILURE,
            MSG_UNIMPLEMENTED,
        )
        deaf = dict.fromkeys(answers, lambda *args: None)
        self.connection._packet_handlers = {**self.connection._packet_handlers, **deaf}
        #: The number that the client has given its channel.
        self.number = UInt32(channel._send_chan)

    def send(self, kind: int, *parts: bytes) -> None:
        self.connection.send_packet(kind, *parts)

    def send_to_channel(self, kind: int, *parts: bytes) -> None:
        """Send a message about the client's channel."""
        self.send(kind, self.number, *parts)

    def status(self, status: bytes = UInt32(0)) -> None:
        self.send_to_channel(MSG_CHANNEL_REQUEST, String("exit-status"), Boolean(False), status)

    def end(self) -> None:
        """End the command as a server should, with success."""
        self.send_to_channel(MSG_CHANNEL_DATA, String(b"here\n"))
        self.status()
        self.send_to_channel(MSG_CHANNEL_EOF)
        self.send_to_channel(MSG_CHANNEL_CLOSE)


def nothing(peer: Peer) -> None:
    """Let the command run for ever."""


def giant_windows(peer: Peer) -> None:
    for _ in range(3):
        peer.send_to_channel(MSG_CHANNEL_WINDOW_ADJUST, UInt32(0xFFFFFFFF))
    peer.end()


def beyond_the_window(peer: Peer) -> None:
    for _ in range(512):
        peer.send_to_channel(MSG_CHANNEL_DATA, String(bytes(32768)))
    peer.end()


def more_than_a_packet(peer: Peer) -> None:
    peer.send_to_channel(MSG_CHANNEL_DATA, String(bytes(200_000)))
    peer.end()


def unknown_channel(peer: Peer) -> None:
    for kind in range(MSG_CHANNEL_OPEN_CONFIRMATION, MSG_CHANNEL_FAILURE + 1):
        peer.send(kind, UInt32(NOBODYS), String(b"x"))
    peer.end()


def short_status(peer: Peer) -> None:
    peer.status(b"\0")
    peer.send_to_channel(MSG_CHANNEL_CLOSE)


def large_status(peer: Peer) -> None:
    peer.status(UInt32(0xFFFFFFFF))
    peer.send_to_channel(MSG_CHANNEL_CLOSE)


def no_status(peer: Peer) -> None:
    peer.send_to_channel(MSG_CHANNEL_DATA, String(b"here\n"))
    peer.send_to_channel(MSG_CHANNEL_EOF)
    peer.send_to_channel(MSG_CHANNEL_CLOSE)


def signal(name: bytes) -> Callable[[Peer], None]:
    def send(peer: Peer) -> None:
        rest = String(name), Boolean(False), String(b"\xff\xfe"), String(b"\xff")
        peer.send_to_channel(MSG_CHANNEL_REQUEST, String("exit-signal"), Boolean(False), *rest)
        peer.send_to_channel(MSG_CHANNEL_CLOSE)

    return send


def two_ends(peer: Peer) -> None:
    peer.end()
    peer.end()


def data_after_the_end(peer: Peer) -> None:
    peer.send_to_channel(MSG_CHANNEL_EOF)
    peer.send_to_channel(MSG_CHANNEL_DATA, String(b"more\n"))
    peer.end()


def other_streams(peer: Peer) -> None:
    for kind in (0, 2, 99, 0xFFFFFFFF):
        peer.send_to_channel(MSG_CHANNEL_EXTENDED_DATA, UInt32(kind), String(b"what"))
    peer.end()


def channels_to_the_client(peer: Peer) -> None:
    for number in range(300):
        for kind in ("session", "auth-agent@openssh.com", "no-such"):
            open_channel(peer, kind, number)
    peer.end()


def channels_without_addresses(peer: Peer) -> None:
    for kind in ("x11", "forwarded-tcpip", "direct-tcpip"):
        open_channel(peer, kind, 1)
    peer.end()


def open_channel(peer: Peer, kind: str, number: int) -> None:
    peer.send(MSG_CHANNEL_OPEN, String(kind), UInt32(number), UInt32(1 << 21), UInt32(32768))


def global_requests(peer: Peer) -> None:
    for number in range(1000):
        unknown = number % 2
        name = String("no-such@nowhere" if unknown else "keepalive@openssh.com")
        peer.send(MSG_GLOBAL_REQUEST, name, Boolean(True), bytes(100 * unknown))
    peer.end()


def answers_without_questions(peer: Peer) -> None:
    for kind in (MSG_REQUEST_SUCCESS, MSG_USERAUTH_SUCCESS, MSG_NEWKEYS):
        peer.send(kind, bytes(8))
    for kind in (MSG_CHANNEL_SUCCESS, MSG_CHANNEL_FAILURE):
        peer.send_to_channel(kind)
    peer.end()


def unknown_messages(peer: Peer) -> None:
    for kind in (*range(110, 120), *range(192, 256)):
        peer.send(kind, bytes(kind))
    peer.end()


def chatter(peer: Peer) -> None:
    for _ in range(200):
        peer.send(MSG_IGNORE, String(bytes(30_000)))
        peer.send(MSG_DEBUG, Boolean(True), String("\x1b[2J" * 1000), String("en"))
    peer.end()


def disconnect(peer: Peer) -> None:
    peer.send(MSG_DISCONNECT, UInt32(0xFFFFFFFF), String(b"\xff\xfe bye"), String(b"\xff"))


def key_exchange_of_garbage(peer: Peer) -> None:
    peer.send(MSG_KEXINIT, random.Random(1).randbytes(400))


def fuzz(seed: int) -> Callable[[Peer], None]:
    def send(peer: Peer) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            kind = chance.choice((chance.randrange(1, 256), chance.randrange(80, 101)))
            body = chance.randbytes(chance.randrange(200))
            # Most of them about the client's channel: others are refused early.
            peer.send(kind, (peer.number if chance.random() < 0.7 else b"") + body)
        peer.connection.abort()

    return send


#: Each way, by the user's name.
WAYS: dict[str, Callable[[Peer], None]] = {
    way.__name__: way
    for way in (
        giant_windows, beyond_the_window, more_than_a_packet, unknown_channel, short_status, large_status,
        no_status, two_ends, data_after_the_end, other_streams, channels_to_the_client,
        channels_without_addresses, global_requests,
        answers_without_questions, unknown_messages, chatter, disconnect, key_exchange_of_garbage,
    )
}  # fmt: skip
WAYS |= {"signal_unknown": signal(b"NO-SUCH@nowhere"), "signal_no_text": signal(b"\xff\xfe")}
WAYS |= {f"fuzz{seed}": fuzz(seed) for seed in range(40)}


class _Session(asyncssh.SSHServerSession[bytes]):
    def __init__(self, way: Callable[[Peer], None]) -> None:
        self._way = way

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def exec_requested(self, command: str) -> bool:
        return True

    def session_started(self) -> None:
        # Behind the answer to the request.
        asyncio.get_running_loop().call_soon(self._way, Peer(self._channel))


#: Messages before the login: 20 of 100 KB, or as many as the client takes.
BANNERS = ("large_banners", "banners_without_end")


class _Server(asyncssh.SSHServer):
    def __init__(self) -> None:
        self._way: Callable[[Peer], None] = nothing

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection: Any = conn

    async def begin_auth(self, username: str) -> bool:
        self._way = WAYS.get(username, Peer.end)
        number = 0
        while username in BANNERS and (number < 20 or username != BANNERS[0]):
            number += 1
            self._connection.send_auth_banner("\x1b[31m" + "x" * 100_000 + "\r\n")
            # As fast as they are read.
            await asyncio.sleep(0 if number < 20 else 0.1)
            if self._connection.is_closed():
                break
        return False

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return _Session(self._way)


@contextmanager
def hostile_server() -> Iterator[int]:
    """Give the port of the server, which runs in a thread."""
    loop = asyncio.new_event_loop()
    ports: list[int] = []
    stopped = asyncio.Event()
    ready = threading.Event()

    async def serve() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.create_server(
            _Server, "127.0.0.1", 0, server_host_keys=[key], encoding=None
        )
        ports.append(server.get_port())
        ready.set()
        await stopped.wait()
        server.close()
        await server.wait_closed()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(60)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(60)
        assert not thread.is_alive()
        # Nothing waits for the remaining work of its connections.
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
