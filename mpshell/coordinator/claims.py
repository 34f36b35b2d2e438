"""Checks that an engine of another host reports only on its own clients: handed to it, and not ended yet.

Such an engine runs on a machine that need not be trusted. `mpshell.wire.codec.decode` has checked the form
of its messages; here their content is compared with the work of the engine. A false claim raises
ProtocolError, which ends that engine and not the run. Engines of this host run this package, and are not
checked.
"""

from collections.abc import Callable
from math import isfinite
from typing import Any

import mpshell
from mpshell.coordinator.engine import EngineState
from mpshell.errors import ProtocolError
from mpshell.wire import files, messages

#: Ends that an engine can report for a client.
_REASONS = frozenset(
    (messages.EXITED, messages.SIGNALED, messages.TIMED_OUT, messages.CANCELLED, messages.SPAWN_FAILED)
)  # fmt: skip
#: The same of one that makes connections.
_CONNECTION_REASONS = _REASONS | {
    messages.CUT, messages.UNREACHABLE, messages.AUTH, messages.HOSTKEY, messages.TRANSPORT
}  # fmt: skip
_STREAMS = frozenset((messages.STDOUT, messages.STDERR, messages.LOG))

#: The range of an exit status, signal or error number, and the value for none.
_STATUSES = range(-1, 1 << 12)


def check(engine: EngineState, event: messages.Message) -> None:
    """Raise ProtocolError for an event about work that the engine does not have."""
    claim = _CHECKS.get(event.__class__)
    if claim is None or not claim(engine, event):
        raise ProtocolError(f"its {type(event).__name__} is about work that it was not given")


def _ready(engine: EngineState, event: messages.Ready) -> bool:
    if event.version != mpshell.__version__:
        raise ProtocolError(f"it runs mpshell {event.version}, this program {mpshell.__version__}")
    return not engine.is_admitted


def _starting(engine: EngineState, event: messages.Starting) -> bool:
    clients = event.client_ids
    return engine.assigned.issuperset(clients) and len(set(clients)) == len(clients)


def _output(engine: EngineState, event: messages.Output) -> bool:
    return all(
        client in engine.running and stream in _STREAMS for client, stream, _ in event.blocks
    )


def _written(engine: EngineState, event: messages.Written) -> bool:
    return all(client in engine.running and size >= 0 for client, size in event.writes)


def _trace(engine: EngineState, event: messages.Trace) -> bool:
    return all(client in engine.running for client, _ in event.lines)


def _finished(engine: EngineState, event: messages.Finished) -> bool:
    ended, bodies = set(), engine.bodies
    reasons = _CONNECTION_REASONS if engine.link.ssh_library else _REASONS
    for client, reason, status, stdout, stderr, started, duration, _ in event.results:
        if client not in engine.running and client not in engine.assigned:
            return False
        if reason not in reasons or status not in _STATUSES:
            return False
        if not (isfinite(started) and isfinite(duration)):
            return False
        if (stdout >= 0 and stdout not in bodies) or (stderr >= 0 and stderr not in bodies):
            return False
        ended.add(client)
    return len(ended) == len(event.results)


def _job(engine: EngineState, event: messages.InputLost) -> bool:
    return event.job_id in engine.jobs


def _slots_held(engine: EngineState, event: messages.SlotsHeld) -> bool:
    return 0 <= event.slots <= engine.most_slots


def _run_ended(engine: EngineState, event: messages.RunEnded) -> bool:
    return not (engine.running or engine.assigned)


_CHECKS: dict[type, Callable[[EngineState, Any], bool]] = {
    messages.Ready: _ready,
    messages.Starting: _starting,
    messages.Output: _output,
    messages.Written: _written,
    messages.Trace: _trace,
    messages.Finished: _finished,
    messages.InputLost: _job,
    messages.Notices: lambda engine, event: all(count > 0 for _, count in event.counts),
    # `mpshell.coordinator.hostfiles`, which knows what was sent, refuses impossible reports.
    files.Kept: lambda engine, event: True,
    messages.SlotsHeld: _slots_held,
    messages.RunEnded: _run_ended,
    # These are about the engine itself only. A message that is not in this table is refused: above all, host
    # keys to write into files here.
    **dict.fromkeys(
        (messages.Bodies, messages.Pong, messages.Warn, messages.EngineFailed),
        lambda engine, event: True,
    ),
}
