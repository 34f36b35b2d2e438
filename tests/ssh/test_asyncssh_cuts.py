"""A connection that is cut, damaged or extended anywhere ends its own node, once, and never an engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from mpshell import NodeOutcome, Task
from tests.ssh.conftest import SshServer
from tests.ssh.test_ssh_faults import write_config
from tests.support import eventually

pytestmark = [
    pytest.mark.needs("ssh", "sshd"),
    #: What OpenSSH's client makes of it is OpenSSH's.
    pytest.mark.parametrize("transport", ["asyncssh"], indirect=True),
]

#: Reasons of a node whose connection has failed, before the login or after it.
FAILED = {"unreachable", "hostkey", "auth", "lost", "transport"}

#: Makes of the bytes that the server has sent, and the number of those before, the bytes that the client gets;
#: None ends the connection.
Fault = Callable[[bytes, int], bytes | None]


def cut(after: int) -> Fault:
    """End the connection after so many bytes of the server's."""

    def apply(data: bytes, before: int) -> bytes | None:
        return data[: after - before] if before < after else None

    return apply


def damage(at: int) -> Fault:
    """Turn all bits of one byte of the server's."""

    def apply(data: bytes, before: int) -> bytes:
        place = at - before
        if not 0 <= place < len(data):
            return data
        return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]

    return apply


def slip_in(packet: bytes) -> Fault:
    """Put a packet behind the server's first, which is its list of algorithms."""
    seen = bytearray()
    done: list[bool] = []

    def apply(data: bytes, before: int) -> bytes:
        if done:
            return data
        start = len(seen)
        seen.extend(data)
        version = seen.find(b"\r\n") + 2
        if version < 2 or len(seen) < version + 4:
            return data
        end = version + 4 + int.from_bytes(seen[version : version + 4], "big")
        if len(seen) < end:
            return data
        done.append(True)
        return data[: end - start] + packet + data[end - start :]

    return apply


#: SSH_MSG_IGNORE with an empty string, unencrypted: 4 bytes of length, 1 of padding's length, 5 of it, padding.
IGNORE = (12).to_bytes(4, "big") + b"\x06" + b"\x02\0\0\0\0" + bytes(6)


class Proxy:
    """Hands connections to a server, each port with a fault of its own, in a thread."""

    def __init__(self, server: tuple[str, int], faults: list[Callable[[], Fault]]) -> None:
        self._server = server
        self._faults = faults
        self.ports: list[int] = []
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    def start(self) -> None:
        self.thread.start()
        assert self._ready.wait(60)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self.thread.join(60)
        self._loop.close()

    async def _serve(self) -> None:
        servers = []
        for fault in self._faults:
            servers.append(await asyncio.start_server(self._accepting(fault), "127.0.0.1", 0))
            self.ports.append(servers[-1].sockets[0].getsockname()[1])
        self._ready.set()
        await self._stopped.wait()
        for server in servers:
            server.close()
        # What was accepted before has its task some turns later.
        for _ in range(3):
            await asyncio.sleep(0)
        while left := {task for task in self._tasks if not task.done()}:
            for task in left:
                task.cancel()
            await asyncio.wait(left)
        # Sockets of connections that were aborted are closed in the next turn.
        for _ in range(3):
            await asyncio.sleep(0)

    def _accepting(
        self, fault: Callable[[], Fault]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._tasks.add(self._loop.create_task(self._hand_on(reader, writer, fault())))

        return accept

    async def _hand_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault
    ) -> None:
        try:
            from_server, to_server = await asyncio.open_connection(*self._server)
        except BaseException:
            writer.transport.abort()
            raise
        down = asyncio.ensure_future(self._copy(from_server, writer, fault))
        up = asyncio.ensure_future(self._copy(reader, to_server, lambda data, before: data))
        try:
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            for end in (writer, to_server):
                end.close()
            for end in (writer, to_server):
                with suppress(OSError):
                    await end.wait_closed()
        finally:
            # Where the proxy stops in the middle of any of these, what is still to be sent is for nobody.
            up.cancel()
            down.cancel()
            for end in (writer, to_server):
                end.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault
    ) -> None:
        before = 0
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                passed = fault(data, before)
                before += len(data)
                if passed is None:
                    return
                writer.write(passed)
                await writer.drain()
                if len(passed) < len(data):
                    return


@contextmanager
def proxy(server: SshServer, faults: list[Callable[[], Fault]]) -> Iterator[str]:
    """Give a configuration in which node `bad1` has the first of some faults, and so on."""
    port = int(Path(server.config).read_text().partition("  Port ")[2].split()[0])
    made = Proxy(("127.100.0.2", port), faults)
    made.start()
    try:
        yield "".join(
            f"Host bad{number}\n  HostName 127.0.0.1\n  Port {place}\n  ConnectTimeout 10\n"
            for number, place in enumerate(made.ports, 1)
        )
    finally:
        made.stop()
        assert eventually(lambda: not made.thread.is_alive())


def run(
    task: Task, server: SshServer, tmp_path: Path, faults: list[Callable[[], Fault]]
) -> dict[str, NodeOutcome]:
    """Run a command on nodes with faults and on some without, all in one engine."""
    with proxy(server, faults) as text:
        task.set_info("ssh_options", write_config(tmp_path, server, text))
        task.set_info("engines", 1)
        # As the configuration says it, for the nodes with faults another one.
        task.set_info("connect_timeout", 0)
        task.set_info("fanout", 16)
        worker = task.run("echo here", nodes=f"bad[1-{len(faults)}],node[1-4]", timeout=60)
    told = list(worker.outcomes())
    found = {outcome.node: outcome for outcome in told}
    assert len(told) == len(found) == len(faults) + 4
    assert all(found[f"node{number}"].ok for number in range(1, 5))
    assert len({outcome.engine for outcome in told}) == 1
    for outcome in told:
        if outcome.ok:
            assert worker.read(outcome.node) == b"here"
    return found


def test_a_connection_that_is_cut_anywhere(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    places = [0, 1, 5, 20, 41, 43, 60, 500, 1000, 1150, 1300, 1500, 1700, 1900, 2100, 2400, 10**9]
    found = run(ssh_task, ssh_server, tmp_path, [partial(cut, n) for n in places])
    reasons = [found[f"bad{number}"].reason for number in range(1, len(places) + 1)]
    assert set(reasons[:8]) == {"unreachable"}
    assert reasons[-1] == "exit"
    assert set(reasons[:-1]) <= FAILED | {"exit"}


def test_a_connection_that_is_damaged_anywhere(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """The size of a packet is one of the bytes: where it is too large, the rest is waited for."""
    places = [0, 4, 45, 46, 48, 60, 200, 700, 1100, 1200, 1250, 1300, 1400, 1500, 1600, 1700]
    found = run(ssh_task, ssh_server, tmp_path, [partial(damage, n) for n in places])
    for number in range(1, len(places) + 1):
        assert found[f"bad{number}"].reason in FAILED | {"timeout"}, places[number - 1]


def test_a_packet_that_is_slipped_into_the_key_exchange(
    ssh_task: Task, ssh_server: SshServer, tmp_path: Path
) -> None:
    """The strict key exchange of OpenSSH 9.6: otherwise later packets could be left out (CVE-2023-48795)."""
    found = run(ssh_task, ssh_server, tmp_path, [lambda: slip_in(IGNORE), lambda: cut(10**9)])
    assert found["bad1"].reason == "unreachable"
    assert found["bad2"].ok
