"""The agent's client against agents that refuse, end, wait, and send bad answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell.ssh.agent import Agent, AgentError, string

#: Answers of an agent: a failure, a signature, a list with one key.
FAILURE = b"\x05"
SIGNATURE = b"\x0e" + string(b"signed")
KEYS = b"\x0c" + (1).to_bytes(4, "big") + string(b"blob") + string(b"comment")

#: Called with each request: its number, its bytes, and the way to answer.
Handler = Callable[[int, bytes, asyncio.StreamWriter], Awaitable[None]]


class FakeAgent:
    """Counts requests and connections, and the most requests on the way at once."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests = self.connections = self.under_way = self.most = 0
        self.serving: list[asyncio.Task[None]] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.append(asyncio.create_task(self.serve(reader, writer)))

    async def ended(self) -> None:
        """Wait until every connection of a client that is closed has ended."""
        await asyncio.gather(*self.serving)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                request = await reader.readexactly(size)
                self.requests += 1
                self.under_way += 1
                self.most = max(self.most, self.under_way)
                try:
                    await self.handler(self.requests, request, writer)
                finally:
                    self.under_way -= 1
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def agent(path: Path, handler: Handler) -> AsyncIterator[tuple[Agent, FakeAgent]]:
    """Give a client and the agent that it talks to."""
    fake = FakeAgent(handler)
    server = await asyncio.start_unix_server(fake.accept, str(path))
    client = Agent(str(path))
    try:
        yield client, fake
    finally:
        client.close()
        await fake.ended()
        server.close()
        await server.wait_closed()


def run(path: Path, handler: Handler, test: Callable[[Agent, FakeAgent], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with agent(path / "socket", handler) as (client, fake):
            await asyncio.wait_for(test(client, fake), 60)

    asyncio.run(inside())


async def answer(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(string(KEYS if request == b"\x0b" else SIGNATURE))


def test_keys_and_signatures(tmp_path: Path) -> None:
    async def test(client: Agent, fake: FakeAgent) -> None:
        assert await client.keys() == [(b"blob", b"comment")]
        assert await client.sign(b"blob", b"data", 4) == b"signed"
        assert (fake.connections, fake.requests) == (1, 2)

    run(tmp_path, answer, test)


def test_many_at_once_are_one_at_a_time_over_one_connection(tmp_path: Path) -> None:
    async def slow(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0)
        writer.write(string(b"\x0e" + string(request[5:9])))

    async def test(client: Agent, fake: FakeAgent) -> None:
        signed = await asyncio.gather(*(client.sign(b"%04d" % n, b"data") for n in range(200)))
        assert signed == [b"%04d" % n for n in range(200)]
        assert (fake.connections, fake.most) == (1, 1)

    run(tmp_path, slow, test)


def test_a_refused_request_is_made_once_more(tmp_path: Path) -> None:
    async def every_other(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(string(FAILURE if number % 2 else SIGNATURE))

    async def test(client: Agent, fake: FakeAgent) -> None:
        for _ in range(3):
            assert await client.sign(b"blob", b"data") == b"signed"
        assert fake.requests == 6

    run(tmp_path, every_other, test)


def test_one_that_is_refused_twice_is_an_error(tmp_path: Path) -> None:
    async def refuse(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(string(FAILURE))

    async def test(client: Agent, fake: FakeAgent) -> None:
        with pytest.raises(AgentError, match="refuses"):
            await client.sign(b"blob", b"data")
        assert fake.requests == 2

    run(tmp_path, refuse, test)


def test_a_connection_that_ends_is_made_anew(tmp_path: Path) -> None:
    async def end_first(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            writer.write(b"\0\0")
            writer.close()
        else:
            writer.write(string(SIGNATURE))

    async def test(client: Agent, fake: FakeAgent) -> None:
        assert await client.sign(b"blob", b"data") == b"signed"
        assert fake.connections == 2

    run(tmp_path, end_first, test)


@pytest.mark.parametrize(
    "bad", [b"\xff\xff\xff\xff", string(b""), string(b"\x63"), string(b"\x0e\0\0\0\xff")]
)
def test_what_is_no_answer_is_an_error(tmp_path: Path, bad: bytes) -> None:
    async def wrong(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(bad)

    async def test(client: Agent, fake: FakeAgent) -> None:
        with pytest.raises(AgentError):
            await client.sign(b"blob", b"data")

    run(tmp_path, wrong, test)


def test_a_login_that_is_given_up_leaves_the_others_their_answers(tmp_path: Path) -> None:
    waiting: list[asyncio.Event] = []

    async def hang_first(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            waiting.append(asyncio.Event())
            await waiting[0].wait()
        writer.write(string(b"\x0e" + string(request[5:9])))

    async def test(client: Agent, fake: FakeAgent) -> None:
        first: asyncio.Task[bytes] = asyncio.create_task(client.sign(b"0001", b"data"))
        second: asyncio.Task[bytes] = asyncio.create_task(client.sign(b"0002", b"data"))
        while not waiting:
            await asyncio.sleep(0)
        first.cancel()
        waiting[0].set()
        assert await second == b"0002"
        with pytest.raises(asyncio.CancelledError):
            await first

    run(tmp_path, hang_first, test)


def test_an_agent_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="no-agent"):
        asyncio.run(Agent(str(tmp_path / "no-agent")).keys())


def test_an_agent_whose_queue_is_full_is_waited_for(tmp_path: Path) -> None:
    """connect(2) to it fails at once with EAGAIN."""
    path = str(tmp_path / "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(0)
    listener.setblocking(False)
    filling: list[socket.socket] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            filling.append(socket.socket(socket.AF_UNIX))
            filling[-1].setblocking(False)
            filling[-1].connect(path)

    async def inside() -> None:
        client = Agent(path)
        asked: asyncio.Task[Any] = asyncio.create_task(client.keys())
        await asyncio.sleep(0.2)
        fake = FakeAgent(answer)
        server = await asyncio.start_unix_server(fake.accept, sock=listener)
        assert await asyncio.wait_for(asked, 60) == [(b"blob", b"comment")]
        client.close()
        for sock in filling:
            sock.close()
        await fake.ended()
        server.close()
        await server.wait_closed()

    asyncio.run(inside())
