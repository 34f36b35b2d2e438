"""The contents of a journal at each moment of a run, in each fault of its engines."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from mpshell.coordinator.job import Job
from mpshell.coordinator.retry import RETRY_LOST
from mpshell.errors import JournalError
from mpshell.journal.recorder import Beginning, Description, Recorder
from mpshell.journal.store import Store
from mpshell.wire import messages as m
from tests.fakes import FakeEngine
from tests.unit.scene import Scene, of_reason
from tests.unit.test_histories import FANOUT, HEARTBEAT, HISTORIES

NODES = 60


def described(job: Job) -> Description:
    return Description("command", "true", None, None, "exec", {}, nodes=list(map(str, job.keys)))


class Recorded:
    """A run without processes, with a journal that is looked into from outside."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.path = path
        self.warnings: list[str] = []
        self.store = Store.open(str(path), sync=False)
        self.recorder = Recorder(self.store, Beginning({}), described, self.warnings.append)
        self.scene = Scene(fanout=FANOUT, observer=self.recorder, heartbeat=HEARTBEAT, **settings)
        self.outside = sqlite3.connect(path)
        self.seen = 0
        self.checks = True
        take = FakeEngine.take

        def checked(engine: FakeEngine, command: m.Message) -> None:
            if isinstance(command, m.Submit) and self.checks:
                self.check_handed_out(range(command.first, command.first + len(command.nodes)))
            take(engine, command)

        patch.setattr(FakeEngine, "take", checked)

    def rows(self, statement: str) -> list[Any]:
        return self.outside.execute(statement).fetchall()

    def check_handed_out(self, indexes: range) -> None:
        """Check that clients are in the file, for a program after a kill, when they reach an engine."""
        open_rows = {
            rank for (rank,) in self.rows("SELECT rank FROM attempts WHERE reason IS NULL")
        }
        assert set(indexes) <= open_rows
        assert len(open_rows) <= 2 * FANOUT
        self.seen += 1

    def begin(self, nodes: int = NODES) -> Job:
        job = self.scene.job(nodes)
        self.recorder.begin(self.scene.coordinator.run.note)
        return job

    def run(self) -> None:
        try:
            self.scene.run()
        finally:
            self.recorder.close(self.scene.coordinator.run.error)

    def states(self) -> dict[str, str]:
        return dict(self.rows("SELECT node, state FROM verdicts"))

    def reasons(self) -> Counter[str]:
        return Counter(reason for (reason,) in self.rows("SELECT reason FROM verdicts"))


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Recorded]]:
    """Give a function that makes a recorded run with some settings."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Recorded:
            made = Recorded(tmp_path / "journal", monkeypatch, **settings)
            stack.enter_context(closing(made.outside))
            return made

        yield make


@pytest.fixture
def recorded(record: Callable[..., Recorded]) -> Recorded:
    return record()


@pytest.mark.parametrize("fault", HISTORIES)
@pytest.mark.parametrize("ended", [0, 1, 17])
def test_what_reaches_an_engine_is_in_the_file_and_each_verdict_too(
    fault: str, ended: int, recorded: Recorded
) -> None:
    job = recorded.begin()
    recorded.scene.after(ended, lambda: HISTORIES[fault](recorded.scene))
    recorded.run()
    outcomes = recorded.scene.check(job)
    assert recorded.seen
    assert recorded.states() == dict.fromkeys(map(str, job.keys), "ended")
    assert recorded.reasons()["lost"] == len(of_reason(outcomes, m.LOST))
    assert recorded.reasons()["exit"] == len(of_reason(outcomes, m.EXITED))


def test_each_attempt_is_a_row(record: Callable[..., Recorded]) -> None:
    recorded = record(retry=RETRY_LOST)
    job = recorded.begin()
    recorded.scene.after(9, lambda: HISTORIES["all engines killed"](recorded.scene))
    recorded.run()
    recorded.scene.check(job, once=False)
    rows = recorded.rows("SELECT rank, attempt, reason FROM attempts ORDER BY rank, attempt")
    lost = [rank for rank, attempt, reason in rows if reason == "lost"]
    assert lost and recorded.reasons() == {"exit": NODES}
    assert all((rank, 2, "exit") in rows for rank in lost)
    assert len(rows) == NODES + len(lost)


def test_nodes_of_a_host_that_is_cut_off_may_have_run_until_their_loss_is_certain(
    record: Callable[..., Recorded],
) -> None:
    recorded = record(far=True)
    recorded.begin()
    scene = recorded.scene
    handed_out: set[str] = set()
    states: list[dict[str, str]] = []

    def cut() -> None:
        engine = scene.engine()
        # The heartbeat notices it, and the host answers to nothing.
        engine.stubborn = True
        handed_out.update(node for node, state in recorded.states().items() if state != "ended")
        engine.fall_silent()

    def lose() -> None:
        states.append(recorded.states())
        scene.engine().die("gw1: no sign of life for 8 s", unread=True)

    scene.after(9, cut)
    scene.loop.call_later(100, lose)
    recorded.run()
    lost = {
        node
        for node, reason in recorded.rows("SELECT node, reason FROM verdicts")
        if reason == "lost"
    }
    assert lost and lost <= handed_out
    assert {states[0][node] for node in lost} == {"may have run"}
    assert {state for node, state in states[0].items() if node not in lost} == {"ended"}
    assert set(recorded.states().values()) == {"ended"}


@pytest.mark.parametrize("how", ["withdraw", "cancel"])
def test_nodes_that_were_not_started_have_not_run(how: str, recorded: Recorded) -> None:
    job = recorded.begin()
    recorded.scene.after(5, lambda: getattr(recorded.scene.coordinator, how)(job))
    recorded.run()
    outcomes = recorded.scene.check(job)
    started = {key for key, outcome in outcomes.items() if outcome.started}
    states = recorded.states()
    assert 0 < len(started) < NODES
    assert {node for node, state in states.items() if state == "ended"} == started
    assert {node for node, state in states.items() if state == "not run"} == set(states) - started


def test_a_chosen_client_keeps_its_index(recorded: Recorded) -> None:
    names = [f"n{number}" for number in range(NODES)]
    scene = recorded.scene
    job = scene.job(NODES)
    recorded.recorder.begin(scene.coordinator.run.note)
    scene.coordinator.withdraw(job)
    again = Job(job.spec, names, list(names), job.listener, job.results)
    again.choose(frozenset(["n3", "n4", "n5", "n17", f"n{NODES - 1}"]))
    assert again.chosen == [(3, 6), (17, 18), (NODES - 1, NODES)] and again.unfinished == 5
    assert [again.stop_after(count) for count in (1, 3, 4, 5)] == [4, 6, 18, NODES]
    scene.coordinator.start(again)
    recorded.run()
    assert scene.started(again) == Counter(["n3", "n4", "n5", "n17", "n59"])


def fill(store: Store, pages: int = 0) -> None:
    """Let the database have no more than so many pages beyond those that it has: the error of a full disk."""
    [[size]] = store.connection.execute("PRAGMA page_count").fetchall()
    store.connection.execute(f"PRAGMA max_page_count = {size + pages}").fetchall()


def test_without_room_at_the_beginning_nothing_runs(recorded: Recorded) -> None:
    fill(recorded.store, 1)
    recorded.begin(4000)
    with pytest.raises(JournalError, match="database or disk is full; nothing has run"):
        recorded.run()
    assert not recorded.seen and not recorded.scene.launcher.ledger
    assert not recorded.rows("SELECT * FROM runs")


def test_without_room_in_the_middle_the_run_goes_on(recorded: Recorded) -> None:
    job = recorded.begin(600)
    recorded.checks = False
    recorded.scene.after(5, lambda: fill(recorded.store))
    recorded.run()
    outcomes = recorded.scene.check(job)
    assert len(of_reason(outcomes, m.EXITED)) == 600
    [warning] = recorded.warnings
    assert "database or disk is full; the run goes on, and no command that" in warning
    assert recorded.recorder.failure == "database or disk is full"
    [(incomplete,)] = recorded.rows("SELECT incomplete FROM runs")
    assert incomplete == "database or disk is full"
    states = Counter(recorded.states().values())
    # None of them is taken for one that has surely not run.
    assert set(states) == {"ended", "may have run"} and states["ended"] >= 5
