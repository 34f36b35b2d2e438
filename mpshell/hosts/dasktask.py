"""The far half of a line through dask: a task on a worker, which starts the outpost and carries its bytes.

    bridge ── Queue ──► task ── pipe ──► outpost
           ◄── Queue ──      ◄── pipe ──

The scheduler may run a task again, e.g. after the loss of its worker. So a task starts nothing before the
bridge permits it: each incarnation announces itself, has its own queue, and only the first one gets the
permission. The numbers of its messages show what a queue has lost or repeated; that ends the line. Nothing
about nodes or commands is ever an argument of the task.

The task is `runpy.run_module` of the standard library, with the name of this module: a worker that cannot
unpickle a task loses its connection to the scheduler, and a scheduler unpickles tasks too. So on a worker
without mpshell the task fails, with an exception of standard Python, and nothing else happens.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from ipaddress import ip_address
from typing import IO, Any, cast
from urllib.parse import urlsplit

import mpshell

#: The kinds of messages: of the task, and of the bridge.
PRESENT, DATA, END = b"present", b"data", b"end"
LET, REFUSE = b"let", b"refuse"

#: Bytes in one message.
PIECE = 1 << 18

#: The most messages in a queue: then the sender waits.
HELD = 16

#: Seconds that a task waits for its permission, or for room in a queue; after that its bridge counts as lost.
FORSAKEN = 60

#: Under which name this module is the task, and which of its variables has the arguments of `carry`.
RUN_NAME, ARGUMENTS = "mpshell dask task", "_arguments"

#: Seconds that an outpost has to end its commands.
_CLEAR = 10

#: Bytes of its stderr that are read: the last.
_KEPT = 4096

_OUTPOST = "mpshell.hosts.outpost"


def up_name(session: str) -> str:
    """Return the name of the queue to the bridge."""
    return f"mpshell-{session}-up"


def down_name(session: str, incarnation: str) -> str:
    """Return the name of the queue to one incarnation of a task."""
    return f"mpshell-{session}-{incarnation}"


def unprotected(address: str) -> str:
    """Return why bytes must not go over a connection to this address; "" if they may."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "tls" or (parts.scheme == "tcp" and _is_loopback(host)):
        return ""
    return (
        f"{address} is not protected by TLS: only tls:// is used, or tcp:// of this machine alone"
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False  # a name may lead anywhere, `127.example.org` too


class Numbers:
    """The numbers of a queue's messages: 0, 1, 2 and so on."""

    def __init__(self) -> None:
        self._next = 0

    def give(self) -> int:
        """Return that of the next message."""
        self._next += 1
        return self._next - 1

    def fits(self, number: object) -> bool:
        """Whether a message is the next one."""
        return number == self.give()


class _Pipe:
    """One incarnation of a task: its two queues, and the process of the outpost."""

    def __init__(self, session: str, call: int, client: Any) -> None:
        queue = importlib.import_module("distributed").Queue
        self._call = call
        self._incarnation = uuid.uuid4().hex
        self._up = queue(up_name(session), client=client, maxsize=HELD)
        self._down = queue(down_name(session, self._incarnation), client=client, maxsize=HELD)
        self._sent = Numbers()

    def put(self, kind: bytes, data: bytes = b"") -> None:
        """Send a message to the bridge."""
        message = [self._call, self._incarnation, self._sent.give(), kind, data]
        self._up.put(message, timeout=FORSAKEN)

    def is_let(self) -> bool:
        """Present this incarnation, and return whether it is the one that may start something."""
        self.put(PRESENT)
        [number, kind, _] = self._down.get(timeout=FORSAKEN)
        return bool(number == 0 and kind == LET)

    def _commands(self) -> Iterator[bytes]:
        """Yield the data of the bridge until it ends, in any way."""
        numbers = Numbers()
        numbers.give()
        while True:
            [number, kind, data] = self._down.get()
            if kind != DATA or not numbers.fits(number):
                return
            yield data

    def _carry_down(self, stdin: IO[bytes]) -> None:
        try:
            for data in self._commands():
                stdin.write(data)
                stdin.flush()
        except (OSError, LookupError, RuntimeError):
            pass  # the scheduler, the bridge or the outpost is gone: the end of this line in any case
        finally:
            try:
                stdin.close()
            except OSError:
                pass  # data that it has not taken are dropped

    def carry(self, process: subprocess.Popen[bytes]) -> None:
        """Carry bytes both ways until the outpost ends, or either queue."""
        stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        down = threading.Thread(target=self._carry_down, args=(stdin,), daemon=True)
        down.start()
        try:
            while data := os.read(stdout.fileno(), PIECE):
                self.put(DATA, data)
        finally:
            if down.is_alive():
                # It waits for a message.
                self._down.put([-1, END, b""], timeout=FORSAKEN)

    def close(self, why: str) -> None:
        """Report the end, and let the queues go."""
        self.put(END, why.encode())
        self._down.close()
        self._up.close()


def carry(session: str, call: int, version: str, python: str | None) -> None:
    """Start an outpost on this worker and carry its bytes until it ends; RuntimeError when it must not be.

    `python` is the interpreter to start it with: by default that of this worker.
    """
    if version != mpshell.__version__:
        raise RuntimeError(f"it has mpshell {mpshell.__version__}, this program {version}")
    distributed: Any = importlib.import_module("distributed")
    client = distributed.get_client()
    if why := unprotected(client.scheduler.address):
        raise RuntimeError(why)
    pipe = _Pipe(session, call, client)
    # The thread takes no slot for computations any more.
    distributed.secede()
    if not pipe.is_let():
        return
    with tempfile.TemporaryFile() as stderr:
        try:
            process = subprocess.Popen(
                [python or sys.executable, "-P", "-m", _OUTPOST],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            why = str(error)
        else:
            try:
                pipe.carry(process)
            finally:
                _see_off(process)
            why = _last_line(stderr)
    pipe.close(why)


def _see_off(process: subprocess.Popen[bytes]) -> None:
    """Wait for an outpost, whose line has ended, to clean up."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError:
                pass  # it is gone already
    try:
        process.wait(_CLEAR)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(stderr: IO[bytes]) -> str:
    size = stderr.seek(0, 2)
    stderr.seek(max(0, size - _KEPT))
    lines = [line.strip() for line in stderr.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


if __name__ == RUN_NAME:
    carry(*globals()[ARGUMENTS])
