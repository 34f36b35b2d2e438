"""The commands of an engine that run over its own connections, and those that do so over ssh(1) instead.

Which of the two is decided for each node before anything connects to it. In the thread of an engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpshell.connect.carrier import SshCarrier
from mpshell.connect.copying import copy_carrier, name_of
from mpshell.connect.files import Files
from mpshell.connect.names import Names
from mpshell.connect.pool import ConnectionPool
from mpshell.engine.gate import Gate
from mpshell.engine.limits import room_to_keep
from mpshell.errors import WorkerError
from mpshell.ssh.keywords import spelled
from mpshell.ssh.request import Request
from mpshell.ssh.setup import Fallback, Setup, Target
from mpshell.wire.notices import NOTICE_REASON, OVER_SSH

if TYPE_CHECKING:
    from mpshell.connect.loop import ConnectionLoop
    from mpshell.engine.carrier import Carrier
    from mpshell.engine.family import Family, Owner
    from mpshell.engine.work import EngineJob, Execution
    from mpshell.wire.connect import Connect


class Connections:
    """The family of carriers of jobs with a `Connect`; `programs` carries those that fall back to ssh(1)."""

    def __init__(self, loop: ConnectionLoop, owner: Owner, programs: Family) -> None:
        self.loop = loop
        self.owner = owner
        self.names = Names(loop)
        self.gate = Gate(loop)
        #: For how many connections that stay there is room, beside the descriptors of clients.
        self._room = self._taken = 0
        self.pool = ConnectionPool(loop, self._room_for)
        self._programs = programs
        self._setups: dict[Connect, Setup] = {}
        #: Commands that have not ended.
        self._carriers: set[SshCarrier] = set()
        self._files = Files(loop, self._on_files_closed)
        self._leaving = False

    @property
    def busy(self) -> bool:
        return bool(self._carriers) or self._files.busy

    def start(self, execution: Execution) -> Carrier:
        """Begin to connect, or start ssh(1) where that is to be used; OSError, ValueError of the latter."""
        job = execution.job
        try:
            setup = self._setup(job)
        except WorkerError as error:
            # It was checked by the program: a file has changed since.
            execution.detail = str(error)
            raise ValueError(error) from error
        copy = job.spec.connect and job.spec.connect.copy
        target = setup.resolve(execution.node if copy is None else name_of(execution.node))
        if isinstance(target, Target) and (target.jump or target.proxy_command is not None):
            target = Fallback("proxyjump" if target.jump else "proxycommand")
        if isinstance(target, Fallback):
            self._note_fallback(target.reason)
            return self._programs.start(execution)
        if job.spec.trace:
            connect = job.spec.connect
            text = connect and connect.command if copy is None else f"copy of {copy.source}"
            self.owner.trace(execution, f"{execution.node}: {text}")
        execution.proven = True
        if copy is None:
            carrier = SshCarrier(self, execution, setup, target)
        else:
            carrier = copy_carrier(self, execution, setup, target, self._files, copy)
        self._carriers.add(carrier)
        # When its client runs: what follows may end it at once.
        self.loop.call_soon(carrier.begin)
        return carrier

    def _room_for(self, connections: int) -> int:
        """Return how many of so many connections may stay."""
        if connections > self._room:
            self._room = room_to_keep(connections, self._taken)
        return self._room

    def take_room(self, descriptors: int) -> None:
        if descriptors > self._taken:
            self._taken = descriptors
            self._room = room_to_keep(len(self.pool), descriptors)
            while len(self.pool) > self._room:
                self.pool.make_room()

    def make_room(self) -> bool:
        return self.pool.make_room()

    def _setup(self, job: EngineJob) -> Setup:
        connect = job.spec.connect
        if connect is None:
            raise ValueError("a job without a Connect has no connections")
        setup = self._setups.get(connect)
        if setup is None:
            request = Request(
                connect.user, connect.timeout, connect.options, None, connect.kex, connect.execs
            )
            setup = self._setups[connect] = Setup(request, job.env.variables)
        return setup

    def ended(self, carrier: SshCarrier) -> None:
        """Its command is over."""
        self._carriers.discard(carrier)

    def fall_back(self, execution: Execution, reason: str) -> None:
        """Have ssh(1) connect: this side has given up before anybody has logged in."""
        self._note_fallback(reason)
        self.owner.start_over(execution, self._programs)

    def _note_fallback(self, reason: str) -> None:
        self.owner.notice(f"{OVER_SSH}{NOTICE_REASON}{spelled(reason)}")

    def set_limits(self, most: int, rate: float | None) -> None:
        self.gate.set_limits(most, rate)

    def kill_all(self) -> None:
        self._leaving = True
        for carrier in list(self._carriers):
            carrier.abandon()
        self.pool.close()

    def _on_files_closed(self) -> None:
        """No file is open any more: nothing is left here of an engine that leaves."""
        if self._leaving and not self._programs.busy:
            self.loop.stop()

    def end_run(self) -> None:
        for setup in self._setups.values():
            setup.close()
        self._setups.clear()
        self.names.forget()
        self.gate.forget()
