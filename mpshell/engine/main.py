"""The first steps of an engine after its fork, and its last.

Runs in the engine process. `run_engine` does not return to the fork server's code: it leaves by
os._exit, 0 for a clean end, 1 after an error of its own.
"""

from __future__ import annotations

import gc
import os
import struct
import sys

from mpshell import __version__
from mpshell.engine import process
from mpshell.engine.core import Engine
from mpshell.engine.libc import become_subreaper, signal_at_parent_end
from mpshell.engine.program import Program
from mpshell.runtime.lean import TYPE_CHECKING, signal
from mpshell.runtime.loop import EventLoop
from mpshell.wire import codec, messages
from mpshell.wire.channel import Channel

if TYPE_CHECKING:
    from mpshell.engine.host import ConnectionHost

#: Objects made and not freed until the collector looks for cycles: an ended command is a few dozen.
_COLLECT_AT = 100_000

#: A will: the numbers of the processes that the user keeps, at most so many in one packet.
WILL, WILL_PIDS = struct.Struct("i"), 4096

#: Seconds for killed commands to be reaped before an engine leaves; the fork server clears the rest.
_LAST_REAP = 1.0


def run_engine(
    engine_id: int,
    channel_fd: int,
    lifeline: int,
    program: Program,
    host: ConnectionHost | None = None,
) -> None:
    """Be the engine at the other end of `channel_fd` until its end is ordered.

    `lifeline` is at its end when the fork server has ended: then no process could clean up after this
    one, so it exits too. There it also reports the processes that it leaves on purpose. With a `host`
    it hosts connections as well.
    """
    status = 1
    try:
        become_subreaper()
        # If its fork server dies, a stopped engine is woken and notices that its lifeline is cut.
        signal_at_parent_end(signal.SIGCONT)
        gc.set_threshold(_COLLECT_AT)
        channel = Channel(channel_fd, program.sender)
        loop = EventLoop() if host is None else host.make_loop()
        engine = Engine(channel, loop, program)
        if host is not None:
            engine.clients.connections = host.make_family(loop, engine.clients)
        loop.add_reader(lifeline, _on_lifeline, engine, loop, lifeline)
        _watch_children(engine, loop)
        ready = messages.Ready(engine_id, os.getpid(), __version__)
        channel.send(codec.encode([ready]))
        try:
            loop.run_forever()
            if _reap_killed(engine, loop):
                status = 0
            _write_will(engine, lifeline)
        except Exception:
            # Report any exception: no other process can see an error in this one.
            engine.leave()
            channel.send(codec.encode([messages.EngineFailed(_traceback())]))
    except Exception:
        # There is no channel yet, or it has failed: only stderr is left, and `_exit` would print nothing.
        print(_traceback(), file=sys.stderr)
    finally:
        os._exit(status)


def _traceback() -> str:
    # Late: every start of the fork server would pay for it, and no engine should ever need it.
    import traceback

    return traceback.format_exc()


def _on_lifeline(engine: Engine, loop: EventLoop, lifeline: int) -> None:
    loop.remove_reader(lifeline)
    engine.leave()


def _watch_children(engine: Engine, loop: EventLoop) -> None:
    watch = process.child_watch()

    def on_signal() -> None:
        os.read(watch, 4096)
        engine.on_children()

    loop.add_reader(watch, on_signal)


def _reap_killed(engine: Engine, loop: EventLoop) -> bool:
    """Wait until the processes that `leave` killed have ended, so that none outlives this one.

    Return whether all have; if not, the exit status makes the fork server end the rest.
    """
    if engine.clients.busy:
        loop.call_later(_LAST_REAP, loop.stop)
        loop.run_forever()
    return not engine.clients.busy


def _write_will(engine: Engine, lifeline: int) -> None:
    """Report to the fork server the inherited processes that it must not kill."""
    left = engine.clients.processes.left_on_purpose()
    for at in range(0, len(left), WILL_PIDS):
        try:
            os.write(lifeline, b"".join(map(WILL.pack, left[at : at + WILL_PIDS])))
        except OSError:
            # The fork server has ended, or takes no more: that makes no difference unless an engine dies.
            return
