"""The process on another host that starts engines there: `python -m mpshell.hosts.outpost`.

Its standard input and output are the line to the switchboard (`mpshell.hosts.frames`). Engines are forked as on
any host (`mpshell.launch.fork`), so that their commands are cleared up by the same means; here their frames
are passed on, unread. When the line ends, or the switchboard has confirmed nothing for a while
(`mpshell.hosts.lease`), all that runs here ends.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import mpshell
from mpshell.engine.libc import signal_at_parent_end
from mpshell.errors import EngineStartError, ProtocolError
from mpshell.hosts import frames, lease
from mpshell.hosts.circuit import Circuit
from mpshell.hosts.line import LineEnd
from mpshell.hosts.stage import StageDirectory
from mpshell.launch.cpus import usable_cpus
from mpshell.launch.fork import ForkLauncher, NewEngine
from mpshell.launch.libraries import missing_libraries
from mpshell.runtime.boottime import Alarm, now
from mpshell.runtime.loop import EventLoop
from mpshell.wire import codec, messages
from mpshell.wire.channel import MAX_FRAME

#: The least seconds between two writes to the line: data in between wake the processes of the head only once.
_PAUSE = 0.005

#: Seconds beyond the end of its lease after which an outpost takes its line for cut for good.
_FORSAKEN = 30.0


class _Post(NamedTuple):
    """An engine that runs here."""

    process: NewEngine
    circuit: Circuit


class Outpost:
    """The engines of this host, and the line that they are commanded over."""

    def __init__(self, fds: tuple[int, int], loop: EventLoop) -> None:
        self._loop = loop
        self._launcher = ForkLauncher()
        self._stage = StageDirectory()
        #: Libraries of connections that are not here, with the reason of each.
        self._lacks = missing_libraries()
        self._posts: dict[int, _Post] = {}
        self._line = LineEnd(
            fds, loop, self._on_frame, self._on_line_end, greeted=True, pause=_PAUSE
        )
        hello = now()
        self._lease = lease.Holder(hello)
        self._alarm = Alarm()
        loop.add_reader(self._alarm.fileno(), self._on_lease_end)
        self._alarm.set(self._lease.until)
        self._ending = False
        self._line.greet()
        about = {
            "version": mpshell.__version__,
            "cpus": usable_cpus(),
            "boottime": hello,
            "monotonic": time.monotonic(),
            "stage": self._stage.path,
            "lacks": self._lacks,
        }
        self._line.send(frames.HELLO, 0, json.dumps(about).encode())
        loop.call_later(lease.BEAT, self._beat)

    def _beat(self) -> None:
        self._line.send(frames.BEAT, 0, frames.pack_clock(now()))
        self._loop.call_later(lease.BEAT, self._beat)

    # -- the lease -----------------------------------------------------------------------------

    def _confirmed(self, sent: float) -> None:
        if self._lease.confirmed(sent, now()):
            self._ending = False
            self._alarm.set(self._lease.until)
            for post in self._posts.values():
                self._let_on(post)

    def _let_on(self, post: _Post) -> None:
        """Let an engine go on as long as this process may: then it ends, even if this one is stopped."""
        post.circuit.tell(codec.encode([messages.Lease(self._lease.until)]))

    def _on_lease_end(self) -> None:
        """End all commands; if the line comes back, the ends are reported."""
        if self._ending:
            self._loop.stop()
            return
        self._ending = True
        for post in self._posts.values():
            post.process.fence()
        self._alarm.set(now() + _FORSAKEN)

    def _on_line_end(self, why: str) -> None:
        self._loop.stop()

    # -- frames of the switchboard ---------------------------------------------------------------

    def _on_frame(self, kind: bytes, number: int, body: bytes) -> None:
        post = self._posts.get(number)
        if kind == frames.CONFIRM:
            self._confirmed(frames.unpack_clock(body))
        elif kind == frames.START and post is None:
            self._start(number, body.decode(errors="replace"))
        elif post is None:
            return  # it is gone, which the switchboard does not know yet
        elif kind in (frames.PIECE, frames.LAST):
            post.circuit.take(kind, body)
        elif kind == frames.CREDIT:
            post.circuit.credit(frames.unpack_number(body))
        elif kind == frames.FENCE:
            post.process.fence()
        elif kind == frames.END:
            post.circuit.close()
        else:
            raise ProtocolError(f"an outpost received a frame of kind {kind!r}")

    # -- engines -------------------------------------------------------------------------------

    def _start(self, number: int, library: str) -> None:
        try:
            process = self._launcher.start_process("" if library in self._lacks else library)
        except EngineStartError as error:
            self._line.send(frames.GONE, number, str(error).encode()[:200])
            return
        circuit = Circuit(
            number, process.channel, self._loop, self._line.send, self._on_circuit_end, MAX_FRAME
        )
        post = self._posts[number] = _Post(process, circuit)
        self._let_on(post)
        circuit.open()
        self._loop.add_reader(process.sentinel, self._on_sentinel, number, [])

    def _on_circuit_end(self, circuit: Circuit) -> None:
        self._line.send(frames.END, circuit.number)

    def _on_sentinel(self, number: int, words: list[bytes]) -> None:
        """Process an engine's end, and report it after its last data."""
        post = self._posts[number]
        text = os.read(post.process.sentinel, 200)
        if text:
            words.append(text)
            return
        self._loop.remove_reader(post.process.sentinel)
        os.close(post.process.sentinel)
        # It stays a post until its end is reported: credit for the rest of its output comes until then.
        # Without a word it is the fork server that has ended: the engine sees that and ends by itself, which
        # only the end of its channel shows.
        text = b"".join(words) or b"its fork server has ended"
        post.circuit.when_ended(lambda: self._report(post.circuit, text), drained=bool(words))

    def _report(self, circuit: Circuit, text: bytes) -> None:
        del self._posts[circuit.number]
        circuit.close()
        self._line.send(frames.GONE, circuit.number, text[:200])

    def close(self) -> None:
        """End all engines and their commands."""
        self._line.close()
        for post in list(self._posts.values()):
            post.circuit.close()
        self._launcher.close()
        self._stage.close()


def _own_streams() -> tuple[int, int]:
    """Return the standard input and output; others take their place, so that nothing else uses them."""
    fds = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return fds


def main(argv: Sequence[str] = ()) -> int:
    """Serve the line until it ends; return the exit status."""
    if argv:
        print(
            "usage: python -m mpshell.hosts.outpost (started by mpshell on another host)",
            file=sys.stderr,
        )
        return 2
    # Stopped, it wakes up to find that its line has ended with its parent. The end of a dask worker's thread
    # sends the signal too, and changes nothing for a process that runs.
    signal_at_parent_end(signal.SIGCONT)
    loop = EventLoop()
    outpost = Outpost(_own_streams(), loop)
    try:
        loop.run_forever()
    finally:
        outpost.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
