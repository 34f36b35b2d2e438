"""The passwords of a run: to how many nodes one may be sent, over all engines.

    engine ── ASKED, TAKEN, REFUSED, FREED ──► Passwords ── PasswordState ──► engines

Until a node has accepted a password, at most three nodes have it without an answer or have refused it: a wrong
one locks no account. After the third refusal no node gets it any more.
Pure.
"""

from collections import Counter, deque

from mpshell.coordinator.engine import EngineState
from mpshell.coordinator.job import Job
from mpshell.errors import ProtocolError
from mpshell.runtime.secret import Secret
from mpshell.wire.messages import (
    ASKED,
    FREED,
    PROVEN,
    REFUSED,
    STOPPED,
    TAKEN,
    UNPROVEN,
    PasswordNews,
    PasswordState,
)

#: Refusals after which a password is not sent again.
MOST_REFUSALS = 3


class _Ledger:
    """The state of one password."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._state = UNPROVEN
        self._refusals = 0
        #: The permits of engines, and the engines that wait for one, in order.
        self._held: Counter[EngineState] = Counter()
        self._waiting: deque[EngineState] = deque()
        #: Engines that have the password.
        self._engines: set[EngineState] = set()

    def note(self, engine: EngineState, event: str) -> None:
        """Process the report of an engine."""
        self._engines.add(engine)
        if event == ASKED:
            self._waiting.append(engine)
        elif event == FREED:
            self._held[engine] -= 1
        elif event == TAKEN:
            self._change(PROVEN if self._state == UNPROVEN else self._state)
        elif event == REFUSED:
            self._refusals += 1
            self._change(STOPPED if self._refusals >= MOST_REFUSALS else self._state)
        else:
            raise ProtocolError(f"an unexpected state of a password: {event!r}")
        self._permit()

    def _change(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._waiting.clear()
            for engine in self._engines:
                self._send(engine, 0)

    def _permit(self) -> None:
        """Give permits to engines that wait, as far as it may be sent."""
        while self._waiting and (self._state != UNPROVEN or self._at_stake < MOST_REFUSALS):
            engine = self._waiting.popleft()
            if self._state == UNPROVEN:
                self._held[engine] += 1
            self._send(engine, 1)

    @property
    def _at_stake(self) -> int:
        """The failures that an account may have now, including those on the way."""
        return self._refusals + self._held.total()

    def _send(self, engine: EngineState, permits: int) -> None:
        engine.outbox.append(PasswordState(self._number, self._state, self._refusals, permits))

    def gone(self, engine: EngineState) -> None:
        """An engine is gone, and its nodes will not answer."""
        self._engines.discard(engine)
        self._held.pop(engine, None)
        self._waiting = deque(other for other in self._waiting if other is not engine)
        self._permit()


class Passwords:
    """All passwords of a run, by number."""

    def __init__(self) -> None:
        self._numbers: dict[Secret, int] = {}
        self._ledgers: dict[int, _Ledger] = {}

    def enter(self, job: Job) -> None:
        """Give the password of a job a number, always the same for the same password."""
        connect = job.spec.connect
        if job.password is None or connect is None:
            return
        number = self._numbers.setdefault(job.password, len(self._numbers) + 1)
        self._ledgers.setdefault(number, _Ledger(number))
        job.spec = job.spec._replace(connect=connect._replace(password=number))

    def on_news(self, engine: EngineState, event: PasswordNews) -> None:
        """Process the report of an engine; ProtocolError for a password that does not exist."""
        for number, what in event.events:
            if number not in self._ledgers:
                raise ProtocolError(f"there is no password {number}")
            self._ledgers[number].note(engine, what)

    def gone(self, engine: EngineState) -> None:
        """An engine is gone."""
        for ledger in self._ledgers.values():
            ledger.gone(engine)
