"""The interface of an object that is notified of each hand-out and each verdict of a run: a journal.

    SlotPool ──► slices ──► Observer.handed_out, turn_ends ──► frames to engines
    Intake ─────► output ──► Observer.said, has_said
    Verdicts ───► attempts ► Observer.ended

Called in the thread of the run. An observer must not block, and only `job_starts` may raise.
"""

from __future__ import annotations

from collections.abc import Sequence

from mpshell.coordinator.job import Job
from mpshell.coordinator.results import Key
from mpshell.outcome import Outcome
from mpshell.runtime.lean import Protocol


class Observer(Protocol):
    """Is notified of the life of each client of a run."""

    #: Whether it needs output.
    keeps_output: bool

    def job_starts(self, job: Job) -> None:
        """A job enters the run. An error refuses the job, but only before the first hand-out of the run."""

    def handed_out(self, job: Job, first: int, stop: int) -> None:
        """Clients get an engine: the frame that hands them over leaves after the next `turn_ends`."""

    def handed_back(self, job: Job, indexes: Sequence[int]) -> None:
        """The engine of clients is gone, and they have surely not run."""

    def said(self, job: Job, keys: Sequence[Key], stream: int, block: bytes) -> None:
        """Lines of keys have arrived, or a piece of a very long one."""

    def has_said(self, job: Job, keys: Sequence[Key], stream: int, text: bytes) -> None:
        """The whole output of a stream of keys has arrived, without its last newline."""

    def ended(self, job: Job, keys: Sequence[Key], outcome: Outcome) -> None:
        """An attempt of keys has ended, whether the last one or not."""

    def turn_ends(self) -> None:
        """The frames with handed out clients are about to leave: record the clients now."""


class Unobserved:
    """An observer that keeps nothing: a run without a journal pays three calls a turn, and none a client."""

    keeps_output = False

    def job_starts(self, job: Job) -> None:
        """Take any job."""

    def handed_out(self, job: Job, first: int, stop: int) -> None:
        """Keep nothing."""

    def handed_back(self, job: Job, indexes: Sequence[int]) -> None:
        """Keep nothing."""

    def said(self, job: Job, keys: Sequence[Key], stream: int, block: bytes) -> None:
        """Keep nothing."""

    def has_said(self, job: Job, keys: Sequence[Key], stream: int, text: bytes) -> None:
        """Keep nothing."""

    def ended(self, job: Job, keys: Sequence[Key], outcome: Outcome) -> None:
        """Keep nothing."""

    def turn_ends(self) -> None:
        """Write nothing."""
