"""The near half of all lines through dask: one process, which is a client of the scheduler.

    switchboard ══ the line of each host ══ bridge ── tasks, Queues ──► scheduler ──► workers

It is the program of a trunk (`mpshell.hosts.trunk`): its standard input is the control socket. It places one
task on a worker of each host (`mpshell.hosts.dasktask`), and permits only the first incarnation of each to
start the outpost.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import runpy
import signal
import socket
import ssl
import sys
import uuid
from typing import Any

import mpshell
from mpshell.engine.libc import signal_at_parent_end
from mpshell.hosts import dasktask as task
from mpshell.hosts import trunk
from mpshell.wire.credentials import receive

#: Seconds between two queries for received data, for each line: each query is a call to the
#: scheduler, and data that arrive in between come with the next one.
_PACE = 0.004

#: Seconds that a task has to end its outpost, before it is given up.
_CLEAR = 2.0

#: Seconds to connect to the scheduler.
_CONNECT = 30


#: What a call to the scheduler may end with: of connections, of queues that it has not any more, of a client
#: that is closed, of another version's arguments.
_FAULTS = (OSError, LookupError, RuntimeError, ValueError, TypeError, ImportError)

#: Bytes of the reason of an end.
_WORDS = 4096


class DaskLine:
    """One line: a socket of the switchboard's, and the task of one host."""

    def __init__(self, number: int, sock: socket.socket, station: str) -> None:
        self.number = number
        self.station = station
        self._sock = sock
        #: The incarnation of its task that was let, and the queue to it.
        self._incarnation = ""
        self._down: Any = None
        self._arrived = task.Numbers()
        self._received: asyncio.Queue[bytes] = asyncio.Queue()
        self._let = asyncio.Event()
        #: Nothing more is passed on; its task has ended the outpost.
        self._ended = False
        self._clear = asyncio.Event()
        self.why = ""

    def end(self, why: str) -> None:
        """Pass on only the data that have arrived; the first reason counts."""
        if not self._ended:
            self._ended, self.why = True, why
            self._received.put_nowait(b"")

    def task_ended(self, why: str) -> None:
        """Note that nothing that its task started runs any more, or that this is unknown."""
        self._clear.set()
        self.end(why)

    async def take(
        self, bridge: Bridge, incarnation: str, number: int, kind: bytes, data: bytes
    ) -> None:
        """Take a message of one incarnation of its task."""
        if kind == task.PRESENT:
            await self._present(bridge, incarnation)
        elif incarnation != self._incarnation:
            return
        elif kind == task.END:
            self.task_ended(data.decode(errors="replace"))
        elif not self._ended and self._arrived.fits(number):
            self._received.put_nowait(data)
        else:
            self.end("a message of its task was lost")

    async def _present(self, bridge: Bridge, incarnation: str) -> None:
        """Permit the first incarnation to start; another one shows that the first has ended."""
        queue = await bridge.queue(task.down_name(bridge.session, incarnation))
        if self._incarnation or self._ended:
            await queue.put([0, task.REFUSE, b""])
            queue.close()
            self.task_ended("its task was started again: its first worker was lost")
            return
        self._incarnation, self._down = incarnation, queue
        self._arrived.give()
        await queue.put([0, task.LET, b""])
        self._let.set()

    async def carry_up(self) -> None:
        """Pass on the data of the task, until it ends."""
        loop = asyncio.get_running_loop()
        while data := await self._received.get():
            await loop.sock_sendall(self._sock, data)

    async def carry_down(self, pace: Pace) -> None:
        """Pass on the data of the switchboard, until it ends."""
        loop = asyncio.get_running_loop()
        numbers = task.Numbers()
        numbers.give()
        while data := await loop.sock_recv(self._sock, task.PIECE):
            await self._let.wait()
            await self._down.put([numbers.give(), task.DATA, data])
            await pace.wait(len(data))

    async def dismiss(self) -> None:
        """Let its task end the outpost, and wait for that for a while."""
        if self._down is not None:
            try:
                async with asyncio.timeout(_CLEAR):
                    if not self._clear.is_set():
                        await self._down.put([-1, task.END, b""])
                    await self._clear.wait()
            except _FAULTS:
                pass  # the scheduler or the task is gone: its outpost ends with its lease
            self._down.close()
        self._sock.close()


class Pace:
    """How often the scheduler is called about one line: the more lines there are, the less often."""

    def __init__(self, lines: dict[int, DaskLine]) -> None:
        self._lines = lines

    async def wait(self, size: int) -> None:
        """Wait for more to come, unless there was much."""
        if size < task.PIECE // 4:
            await asyncio.sleep(_PACE * max(1, len(self._lines)))


class Bridge:
    """All lines of one scheduler."""

    def __init__(self, control: socket.socket) -> None:
        self.session = uuid.uuid4().hex
        self._control = control
        self._client: Any = None
        self._distributed: Any = None
        self._lines: dict[int, DaskLine] = {}
        #: The open lines by their numbers, 0 for the scheduler; and the watchers of tasks.
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._watches: set[asyncio.Task[None]] = set()
        self._connected = asyncio.Event()
        self._python: str | None = None
        self._up: Any = None
        #: The reason why no line can be opened any more.
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def queue(self, name: str) -> Any:
        """Return a queue of the scheduler."""
        return await self._distributed.Queue(name, client=self._client, maxsize=task.HELD)

    # -- the control socket --------------------------------------------------------------------

    def on_packet(self) -> None:
        """Take a packet of the switchboard."""
        try:
            data, _, fds = receive(self._control, trunk.LONGEST, descriptors=1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if len(data) < trunk.HEAD.size:
            self._finish("")
            return
        kind, number = trunk.HEAD.unpack_from(data)
        body = data[trunk.HEAD.size :]
        if kind == trunk.SETTINGS:
            self._start(self._connect(json.loads(body)), 0)
        elif kind == trunk.CALL and fds:
            sock = socket.socket(fileno=fds[0])
            sock.setblocking(False)
            line = self._lines[number] = DaskLine(number, sock, json.loads(body))
            self._start(self._serve(line), number)
        elif kind == trunk.LEAVE and (leaving := self._lines.get(number)) is not None:
            leaving.end("")

    def _start(self, coroutine: Any, number: int) -> None:
        self._runs[number] = asyncio.get_running_loop().create_task(coroutine)

    def _finish(self, why: str) -> None:
        if not self._end.done():
            self._end.set_result(why)

    # -- the scheduler -------------------------------------------------------------------------

    async def _connect(self, settings: dict[str, Any]) -> None:
        """Become a client, and receive the data of the tasks until the connection ends."""
        self._python = settings["python"]
        address = settings["address"]
        try:
            self._distributed = importlib.import_module("distributed")
            self._client = await self._distributed.Client(
                address, security=security(settings["security"]), asynchronous=True, timeout=_CONNECT,
                set_as_default=False, name="mpshell",
            )  # fmt: skip
            self._up = await self.queue(task.up_name(self.session))
            self._connected.set()
            await self._receive()
        except _FAULTS as error:
            self._finish(f"the scheduler {address} does not answer: {_words_of(error)}")

    async def _receive(self) -> None:
        pace = Pace({})
        while True:
            messages = await self._up.get(batch=True) or [await self._up.get()]
            for call, incarnation, number, kind, data in messages:
                if (line := self._lines.get(call)) is not None:
                    await line.take(self, incarnation, number, kind, data)
            await pace.wait(sum(len(data) for *_, data in messages))

    async def _worker_on(self, station: str) -> str:
        """Return the address of a worker of a host; RuntimeError without any."""
        info = await self._client.scheduler.identity()
        for address, worker in sorted(info["workers"].items()):
            if worker.get("host") == station and worker.get("status") == "running":
                return str(address)
        raise RuntimeError("no worker of the cluster runs there now")

    async def _place(self, line: DaskLine) -> Any:
        """Run a task on a worker of a host, and note its end in the line."""
        address = await self._worker_on(line.station)
        arguments = self.session, line.number, mpshell.__version__, self._python
        future = self._client.submit(
            runpy.run_module, task.__name__, {task.ARGUMENTS: arguments}, task.RUN_NAME,
            key=f"mpshell-{self.session}-{line.number}", workers=[address], allow_other_workers=False,
            pure=False, retries=0, priority=1,
        )  # fmt: skip
        watch = asyncio.get_running_loop().create_task(self._watch(line, future))
        watch.add_done_callback(self._watches.discard)
        self._watches.add(watch)
        return future

    async def _watch(self, line: DaskLine, future: Any) -> None:
        error = await future.exception()
        if error is not None:
            line.task_ended(_words_of(error))
        elif future.status != "finished":
            # At the end of a task its messages may still be on the way, even the last one.
            line.end(f"its task is {future.status}")

    async def _serve(self, line: DaskLine) -> None:
        """Carry one line from its start to its end, and report that."""
        await self._connected.wait()
        future = None
        try:
            future = await self._place(line)
            await self._carry(line)
        except _FAULTS as error:
            line.end(_words_of(error))
        await line.dismiss()
        if future is not None:
            await self._cancel(future)
        self._lines.pop(line.number, None)
        self._report(line.number, line.why)

    async def _carry(self, line: DaskLine) -> None:
        """Carry both ways until either end has nothing more."""
        loop = asyncio.get_running_loop()
        pace = Pace(self._lines)
        ways = {loop.create_task(line.carry_up()), loop.create_task(line.carry_down(pace))}
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        line.end("")
        for way in ways:
            way.cancel()
        for end in await asyncio.gather(*ways, return_exceptions=True):
            # That of a socket is the switchboard's: it has hung up.
            if isinstance(end, Exception) and not isinstance(end, OSError):
                raise end

    @staticmethod
    async def _cancel(future: Any) -> None:
        """Have a task not run any more, nor again."""
        try:
            await future.cancel()
        except _FAULTS:
            pass  # the scheduler is gone, and its tasks with it

    def _report(self, number: int, why: str) -> None:
        packet = trunk.HEAD.pack(trunk.ENDED, number) + why.encode()[:_WORDS]
        try:
            self._control.send(packet)
        except OSError:
            self._finish("")  # the switchboard is gone, or takes nothing any more

    async def run(self) -> str:
        """Carry lines until the switchboard ends, or the scheduler; return why."""
        why = await self._end
        for line in self._lines.values():
            line.end(why)
        lines = [run for number, run in self._runs.items() if number]
        if self._connected.is_set() and lines:
            await asyncio.wait(lines, timeout=_CLEAR)
        for number in list(self._lines):
            self._report(number, why)
        return why


def _words_of(error: BaseException) -> str:
    return str(error) or type(error).__name__


def security(fields: dict[str, Any]) -> Any:
    """Return the keys and certificates of a client (`mpshell.hosts.dask` has written them)."""
    for name in ("tls_min_version", "tls_max_version"):
        if fields.get(name) is not None:
            fields[name] = ssl.TLSVersion(fields[name])
    return importlib.import_module("distributed").Security(**fields)


async def _run(control: socket.socket) -> str:
    bridge = Bridge(control)
    asyncio.get_running_loop().add_reader(control.fileno(), bridge.on_packet)
    return await bridge.run()


def main() -> int:
    """Serve a switchboard; the control socket is the standard input and output."""
    # Stopped, it wakes up to find the switchboard gone.
    signal_at_parent_end(signal.SIGCONT)
    control = socket.socket(fileno=os.dup(0))
    control.setblocking(False)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    if why := asyncio.run(_run(control)):
        print(f"mpshell: {why}", file=sys.stderr)
        return 1
    return 0
