"""Engines without processes: a launcher, the far ends of its links, and a loop on the test's clock.

The engines take real frames and answer with real ones, in this process. A history decides their actions and
the moments: nothing here waits, and time passes only by the history or to a deadline.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from mpshell import __version__ as VERSION
from mpshell.launch.link import PATIENCE, Closable, Leased
from mpshell.runtime.loop import EventLoop
from mpshell.wire import messages as m
from mpshell.wire.codec import decode, encode


class Stuck(AssertionError):
    """A run waits, and nothing will happen any more."""


class FakeLoop(EventLoop):
    """A loop that never waits: where it would, `on_idle` does something, or the next deadline comes at once.

    `on_idle` returns whether it has done anything.
    """

    def __init__(self, on_idle: Callable[[], bool] = lambda: False) -> None:
        self.now = 1000.0
        super().__init__(lambda: self.now)
        self.on_idle = on_idle
        self._poll = self.wait
        self.wait = self._never_wait

    def _never_wait(self, timeout: float, most: int) -> list[tuple[int, int]]:
        found = self._poll(0, most)
        if found or timeout == 0:
            return found
        acted = self.on_idle()
        if not acted and timeout < 0 and not self._ready:
            raise Stuck("the run waits, and nothing more will happen")
        if not acted and timeout > 0:
            self.now += timeout
        return []


class FakeEngine(Leased):
    """A link and the engine behind it. It acts when it is asked to: `act`, or one of the steps by name."""

    def __init__(self, engine_id: int, launcher: FakeLauncher) -> None:
        super().__init__()
        self.engine_id = engine_id
        self.ready: m.Ready | None = None
        self.configured: m.Configure | None = None
        self.detail = ""
        self.credentials: object = None
        self.ssh_library = ""
        self.far, self.host, self.offset = launcher.far, "gw1" if launcher.far else "", 0.0
        self.stage = self.lacks = ""
        self.patience = PATIENCE
        self.pending = 0
        self.gone = False
        self.certain = True
        #: Why it was fenced, each time.
        self.fenced: list[str] = []
        #: Whether it ends when it is fenced, and whether it does anything at all.
        self.stubborn = self.stopped = False
        self.jobs: dict[int, m.JobSpec] = {}
        self.stdin: dict[int, list[bytes | None]] = {}
        #: The same of single clients.
        self.own_stdin: dict[int, list[bytes | None]] = {}
        self.slots: dict[int, int] = {}
        self.waiting: dict[int, deque[int]] = {}
        self.running: dict[int, list[int]] = {}
        self.launcher = launcher
        self._owed: set[int] = set()
        self.report: list[m.Message] = []
        self.ending = False
        self.silent = False

    # -- the link ------------------------------------------------------------------------------

    def detach(self) -> None:
        self.loop = None

    def send(self, commands: list[m.Message], descriptors: Sequence[int] = ()) -> None:
        if not (self.gone or self.silent):
            for command in decode(encode(commands)):
                self.take(command)

    def fence(self, why: str = "") -> None:
        self.detail = why or self.detail
        self.fenced.append(why)
        if not self.stubborn:
            self.later(lambda: self.die("signal 9"))

    def ended(self) -> bool:
        return self.gone

    def close(self) -> None:
        self.gone = True

    def later(self, call: Callable[[], object]) -> None:
        if self.loop is not None:
            self.loop.call_soon(call)

    # -- messages to it ------------------------------------------------------------------------

    def take(self, command: m.Message) -> None:
        if isinstance(command, m.Submit):
            if command.job is not None:
                self.jobs[command.job_id] = command.job
            first = m.client_id(command.job_id, command.first)
            pool = m.slot_pool_of(command.job_id, self.jobs[command.job_id])
            self.waiting.setdefault(pool, deque()).extend(range(first, first + len(command.nodes)))
        elif isinstance(command, m.SetSlots):
            self.slots[command.slot_pool] = command.slots
            self._owed.add(command.slot_pool)
        elif isinstance(command, (m.Write, m.CloseStdin)):
            data = command.data if isinstance(command, m.Write) else None
            if command.only is None:
                self.stdin.setdefault(command.job_id, []).append(data)
            else:
                client = m.client_id(command.job_id, command.only)
                self.own_stdin.setdefault(client, []).append(data)
        elif isinstance(command, m.Cancel):
            self._withdraw(command.job_id)
            for client in self._of_job(self.running, command.job_id):
                self.finish(client, command.reason, -1)
        elif isinstance(command, m.Withdraw):
            self._withdraw(command.job_id)
        elif isinstance(command, m.EndRun):
            self.ending = True
        elif isinstance(command, m.Ping):
            self.report.append(m.Pong())

    @staticmethod
    def _of_job(clients: dict[int, list[int]], job_id: int | None) -> list[int]:
        found = [client for some in clients.values() for client in some]
        return [client for client in found if job_id in (None, m.job_and_index(client)[0])]

    def _withdraw(self, job_id: int | None) -> None:
        waiting = {pool: list(clients) for pool, clients in self.waiting.items()}
        for client in self._of_job(waiting, job_id):
            self.waiting[self.pool_of(client)].remove(client)
            self.report.append(m.Finished([(client, m.CANCELLED, -1, -1, -1, 0.0, 0.0, None)]))

    def pool_of(self, client: int) -> int:
        job_id, _ = m.job_and_index(client)
        return m.slot_pool_of(job_id, self.jobs[job_id])

    # -- its actions ---------------------------------------------------------------------------

    def act(self) -> bool:
        """Do the next thing there is to do, and send it; return whether there was any."""
        if self.gone or self.stopped or self.loop is None:
            return False
        if self.ready is None:
            self.greet()
        elif self.startable():
            self.start()
        elif self._of_job(self.running, None):
            self.finish(self._of_job(self.running, None)[0])
        elif self.ending and not self.report:
            self.ending = False
            self.report.append(m.RunEnded())
        return self.flush()

    def greet(self) -> None:
        self.ready = m.Ready(self.engine_id, 0, VERSION)
        self.report.append(self.ready)

    def startable(self) -> list[int]:
        """Return the clients that there are slots for."""
        found: list[int] = []
        for pool, waiting in self.waiting.items():
            free = self.slots.get(pool, 0) - len(self.running.setdefault(pool, []))
            found += list(waiting)[: max(0, free)]
        return found

    def start(self, most: int | None = None) -> list[int]:
        """Start clients in free slots: announce them, and run them."""
        started = self.startable()[:most]
        for client in started:
            pool = self.pool_of(client)
            self.waiting[pool].remove(client)
            self.running[pool].append(client)
        self.launcher.ledger += started
        if started:
            self.report.append(m.Starting(started))
        return started

    def finish(
        self, client: int, reason: int = m.EXITED, status: int = 0, body: bytes | None = None
    ) -> None:
        """End a client, with all that it has written."""
        self.running[self.pool_of(client)].remove(client)
        number = -1
        if body is not None:
            number = self.launcher.next_body()
            self.report.append(m.Bodies([(number, body)], 0))
        self.report.append(m.Finished([(client, reason, status, number, -1, 1.0, 0.5, None)]))

    def emit(self, *events: m.Message) -> None:
        """Have it send messages, behind those that wait to be sent."""
        self.report += events
        self.flush()

    def flush(self) -> bool:
        """Send the queued messages; return whether there were any."""
        self.settle_slots()
        report, self.report = self.report, []
        if report:
            self.later(lambda: self._deliver(report))
        return bool(report)

    def settle_slots(self) -> None:
        """Report the slots that are held by now."""
        for pool in sorted(self._owed):
            if len(self.running.setdefault(pool, [])) <= self.slots[pool]:
                self._owed.discard(pool)
                self.report.append(m.SlotsHeld(pool, self.slots[pool]))

    def _deliver(self, report: list[m.Message]) -> None:
        if self.on_frame is not None and self.loop is not None:
            self.on_frame(self, decode(encode(report)))

    def die(self, detail: str = "signal 9", unread: bool = False) -> None:
        """End it, with all that it runs; with `unread` its queued messages are lost, and its end uncertain."""
        if self.gone:
            return
        if unread:
            self.certain = False
        else:
            # The announcement of a client has left the engine: at that moment it starts the client.
            self.flush()
        self.later(lambda: self._go(detail))

    def fall_silent(self) -> None:
        """Send and receive nothing any more; its commands go on until it dies."""
        self.stopped = self.silent = True
        self.later(lambda: None if self.gone else self.on_silent(self))

    def _go(self, detail: str) -> None:
        if self.gone:
            return
        self.gone = True
        self.running.clear()
        self.detail = self.detail or detail
        if self.on_gone is not None and self.loop is not None:
            self.on_gone(self)


class FakeLauncher:
    """Makes such engines; `ledger` has the clients that were really started, in their order."""

    def __init__(
        self, make: Callable[[int, FakeLauncher], FakeEngine] = FakeEngine, far: bool = False
    ) -> None:
        #: Whether they are on another host.
        self.far = far
        self.lock = threading.RLock()
        self.engines: list[FakeEngine] = []
        self.ledger: list[int] = []
        self._make = make
        self._bodies = 0

    def next_body(self) -> int:
        self._bodies += 1
        return self._bodies

    def living(self) -> list[FakeEngine]:
        return [engine for engine in self.engines if not engine.gone]

    def capacity(self) -> int:
        return 64

    def prepare(self) -> None:
        """There is nothing that takes time."""

    def surroundings(self) -> m.Configure:
        return m.Configure(b"/", None, None if self.far else {})

    def credentials(self) -> object:
        return None

    def may_keep(self, credentials: object) -> bool:
        return True

    def part_with(self, used: set[object]) -> Sequence[Closable]:
        return []

    def start(self, library: str = "") -> FakeEngine:
        self.engines.append(self._make(len(self.engines) + 1, self))
        self.engines[-1].ssh_library = library
        return self.engines[-1]

    def forget(self) -> None:
        """Nothing is inherited."""

    def close(self) -> None:
        for engine in self.engines:
            engine.close()
