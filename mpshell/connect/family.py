"""The commands of an engine that run over its own connections, and those that do so over ssh(1) instead.

Which of the two is decided for each node before anything connects to it. In the thread of an engine.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mpshell.connect.carrier import SshCarrier
from mpshell.connect.copying import copy_carrier, name_of
from mpshell.connect.files import Files
from mpshell.connect.jumphosts import JumpHosts
from mpshell.connect.login import Login
from mpshell.connect.names import Names
from mpshell.connect.pool import ConnectionPool
from mpshell.connect.ways import CommandWay, JumpWay, TcpWay
from mpshell.engine.gate import Gate
from mpshell.engine.limits import room_to_keep
from mpshell.errors import WorkerError
from mpshell.runtime.secret import Secret
from mpshell.ssh.accepted import append_line
from mpshell.ssh.keywords import spelled
from mpshell.ssh.password import Password
from mpshell.ssh.request import Request
from mpshell.ssh.setup import Fallback, Setup, Target
from mpshell.wire.notices import NOTICE_REASON, OVER_SSH

if TYPE_CHECKING:
    from mpshell.connect.login import Route, Watcher
    from mpshell.connect.loop import ConnectionLoop
    from mpshell.engine.carrier import Carrier
    from mpshell.engine.family import Owner, Programs
    from mpshell.engine.libc import Environment
    from mpshell.engine.work import EngineJob, Execution
    from mpshell.ssh.connection import Connection
    from mpshell.wire.connect import Connect
    from mpshell.wire.messages import PasswordState


class Connections:
    """The family of carriers of jobs with a `Connect`; `programs` carries those that fall back to ssh(1)."""

    def __init__(self, loop: ConnectionLoop, owner: Owner, programs: Programs) -> None:
        self.loop = loop
        self.owner = owner
        self.names = Names(loop)
        self.gate = Gate(loop)
        #: For how many connections that stay there is room, beside the descriptors of clients.
        self._room = self._taken = 0
        self.pool = ConnectionPool(loop, self._room_for)
        self._programs = programs
        self._jump_hosts = JumpHosts(self)
        self._setups: dict[Connect, Setup] = {}
        #: Those of the run, by number.
        self._passwords: dict[int, Password] = {}
        #: Commands that have not ended.
        self._carriers: set[SshCarrier] = set()
        self._files = Files(loop, self._on_files_closed)
        #: The coordinator is on another host: files are this host's.
        self.is_far = False

    @property
    def busy(self) -> bool:
        return bool(self._carriers) or self._files.busy

    def start(self, execution: Execution) -> Carrier:
        """Begin to connect, or start ssh(1) if that is needed; OSError, ValueError of the latter."""
        job = execution.job
        try:
            setup = self._setup(job)
        except WorkerError as error:
            # It was checked by the program: a file has changed since.
            execution.detail = str(error)
            raise ValueError(error) from error
        copy = job.spec.connect and job.spec.connect.copy
        target = setup.resolve(execution.node if copy is None else name_of(execution.node))
        if isinstance(target, Fallback):
            self._note_fallback(execution, target.reason)
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
        # After its client counts as running: the next call may end it at once.
        self.loop.call_soon(carrier.begin)
        return carrier

    def _room_for(self, connections: int) -> int:
        """Return how many of `count` connections may stay open."""
        if connections > self._room:
            self._room = room_to_keep(connections, self._taken)
        return self._room

    def take_room(self, descriptors: int) -> None:
        if descriptors > self._taken:
            self._taken = descriptors
            self._room = room_to_keep(len(self.pool), descriptors)
            while len(self.pool) > self._room:
                self.pool.make_room()

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
            setup.password = self._passwords.get(connect.password)
        return setup

    def make_login(self, target: Target, env: Environment, watcher: Watcher) -> Login:
        """Return the way to a connection to a target, over the hosts before it."""
        way: Route
        if target.jump:
            way = JumpWay(self._jump_hosts, env, target)
        elif target.proxy_command is not None:
            way = CommandWay(self.loop, self._programs.start_helper, env, target)
        else:
            way = TcpWay(self.loop, self.names, target)
        return Login(self.loop, way, self.gate, target, watcher)

    def host_key(self, connection: Connection) -> None:
        """Have the key of a host that was accepted added to its file."""
        path = connection.target.new_hosts_file
        if connection.accepted is None or path is None:
            return
        if not self.is_far:
            self.owner.host_key(path, connection.accepted)
            return
        try:
            append_line(path, connection.accepted)
        except OSError as error:
            self.owner.notice(f"whose new host key cannot be added to {path}: {error.strerror}")

    def ended(self, carrier: SshCarrier) -> None:
        """Its command is over."""
        self._carriers.discard(carrier)

    def fall_back(self, execution: Execution, reason: str) -> None:
        """Let ssh(1) connect: this side has given up before the login."""
        self._note_fallback(execution, reason)
        self.owner.start_over(execution, self._programs)

    def _note_fallback(self, execution: Execution, reason: str) -> None:
        connect = execution.job.spec.connect
        if connect is not None and connect.copy is not None and connect.copy.first is not None:
            # The node has been counted with the connection that takes the part.
            return
        without = ", which gets no password" if connect is not None and connect.password else ""
        self.owner.notice(f"{OVER_SSH}{without}{NOTICE_REASON}{spelled(reason)}")

    def give_password(self, number: int, text: str) -> None:
        if number not in self._passwords:
            report = partial(self.owner.password_news, number)
            self._passwords[number] = Password(Secret(text), report)

    def set_password_state(self, state: PasswordState) -> None:
        password = self._passwords.get(state.number)
        # That of a run that is over may still be on its way.
        if password is not None:
            password.take_state(state)

    def set_limits(self, most: int, rate: float | None) -> None:
        self.gate.set_limits(most, rate)

    def kill_all(self) -> None:
        for carrier in list(self._carriers):
            carrier.abandon()
        self.pool.close()

    def _on_files_closed(self) -> None:
        """No file is open any more: nothing is left here of an engine that leaves."""
        if self.owner.leaving and not self._programs.busy:
            self.loop.stop()

    def end_run(self) -> None:
        for setup in self._setups.values():
            setup.close()
        self._setups.clear()
        self._passwords.clear()
        self._jump_hosts.end_run()
        self.names.forget()
        self.gate.forget()
