"""The commands of an engine that run over its own connections, and those that do so over ssh(1) instead.

Which of the two is decided for each node before anything connects to it. In the thread of an engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpshell.connect.carrier import SshCarrier
from mpshell.connect.names import Names
from mpshell.ssh.setup import Fallback, Request, Setup

if TYPE_CHECKING:
    from mpshell.connect.loop import ConnectionLoop
    from mpshell.engine.carrier import Carrier
    from mpshell.engine.family import Family, Owner
    from mpshell.engine.work import Execution, Job
    from mpshell.wire.messages import Connect


class Connections:
    """The family of carriers of jobs with a `Connect`; `programs` carries those that fall back to ssh(1)."""

    def __init__(self, loop: ConnectionLoop, owner: Owner, programs: Family) -> None:
        self.loop = loop
        self.owner = owner
        self.names = Names(loop)
        self._programs = programs
        self._setups: dict[Connect, Setup] = {}
        #: Commands that have not ended.
        self._carriers: set[SshCarrier] = set()

    @property
    def busy(self) -> bool:
        return bool(self._carriers)

    def start(self, execution: Execution) -> Carrier:
        """Begin to connect, or start ssh(1) where that is to be used; OSError, ValueError of the latter."""
        job = execution.job
        target = self._setup(job).resolve(execution.node)
        if isinstance(target, Fallback):
            self.owner.notice(f"over ssh(1): {target.reason}")
            return self._programs.start(execution)
        for text in target.notices:
            self.owner.notice(text)
        if job.spec.trace:
            connect = job.spec.connect
            self.owner.trace(execution, f"{execution.node}: {connect and connect.command}")
        execution.proven = True
        carrier = SshCarrier(
            self.loop, self.names, self.owner, execution, target, self._carriers.discard
        )
        self._carriers.add(carrier)
        # When its client runs: what follows may end it at once.
        self.loop.call_soon(carrier.begin)
        return carrier

    def _setup(self, job: Job) -> Setup:
        connect = job.spec.connect
        if connect is None:
            raise ValueError("a job without a Connect has no connections")
        setup = self._setups.get(connect)
        if setup is None:
            request = Request(
                user=connect.user, connect_timeout=connect.timeout, options=connect.options
            )
            setup = self._setups[connect] = Setup(request, job.env.variables)
        return setup

    def kill_all(self) -> None:
        for carrier in list(self._carriers):
            carrier.abandon()

    def end_run(self) -> None:
        self._setups.clear()
        self.names.forget()
