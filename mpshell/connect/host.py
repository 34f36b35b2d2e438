"""The module that the fork server loads for engines with connections of AsyncSSH (`mpshell.engine.host`)."""

from __future__ import annotations

from mpshell.connect.family import Connections
from mpshell.connect.loop import ConnectionLoop
from mpshell.engine.cores import CoreLimit
from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from mpshell.engine.clients import Clients
    from mpshell.runtime.loop import EventLoop


#: Seconds that a report may wait for more. A turn reads the last packets of one or two commands. Under load the
#: packets of others arrive meanwhile: a third fewer frames, and a twentieth less CPU a node.
_BUNDLE = 0.01


def make_loop() -> EventLoop:
    """Return the loop of an engine, in whose process this is called."""
    loop = ConnectionLoop()
    loop.enter()
    return loop


def make_family(loop: EventLoop, clients: Clients) -> Connections:
    """Return the family that carries the clients of jobs with a `Connect`."""
    if not isinstance(loop, ConnectionLoop):
        raise TypeError(f"connections need a loop of `make_loop`, not {loop!r}")
    family = Connections(loop, clients, clients.processes)
    clients.processes.share_gate(family.gate)
    # It will hold keys, decrypted, and maybe a password.
    clients.processes.core_limit = CoreLimit()
    clients.bundle_reports(_BUNDLE)
    return family
