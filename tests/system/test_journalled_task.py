"""A journal in a program: its one writer, each way to run, and nothing of it in a run without one."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

import mpshell
from mpshell import JournalError, Task, task_self, task_terminate
from tests.support import run_script


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as journal:
        return journal.execute(statement).fetchall()


def verdicts(path: Path, run: int) -> list[tuple[object, ...]]:
    return rows(
        path,
        f"SELECT node, state, reason, code FROM verdicts WHERE run = {run} ORDER BY rank",
    )


ENDED = [("n0", "ended", "exit", 0), ("n1", "ended", "exit", 1), ("n2", "ended", "exit", 2)]


def in_another_thread(path: Path) -> str | None:
    """Run a command by the Task of another thread; return its JournalError, None when it was run."""
    found: list[str | None] = []

    def use() -> None:
        task = task_self()
        task.set_info("journal", str(path))
        try:
            task.run(f"echo %h >> {path}.ran", nodes="other", remote=False)
            found.append(task.journal_failure)
        except JournalError as error:
            found.append(str(error))
        finally:
            task_terminate()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    [result] = found
    return result


def test_a_run_without_a_journal_does_not_load_sqlite(tmp_path: Path) -> None:
    done = run_script(
        """
import sys
from mpshell import task_self
task = task_self()
task.run("true", nodes="n[1-3]", remote=False)
print("sqlite3" in sys.modules, task.max_retcode())
task.set_info("journal", sys.argv[1])
task.run("true", nodes="n[1-3]", remote=False)
print("sqlite3" in sys.modules, task.max_retcode())
""",
        args=[str(tmp_path / "journal")],
    )
    assert (done.stdout, done.stderr) == ("False 0\nTrue 0\n", "")


def test_a_file_that_is_no_journal_is_an_error_of_resume(solo_task: Task, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("n1 ok\n" * 99)
    solo_task.set_info("journal", str(path))
    solo_task.shell(f"touch {tmp_path}/ran", nodes="n[0-2]", remote=False)
    with pytest.raises(JournalError, match="is damaged, or no journal"):
        solo_task.resume()
    assert not (tmp_path / "ran").exists()
    assert path.read_text() == "n1 ok\n" * 99
    # A scheduled worker is not lost: the next run has it.
    solo_task.set_info("journal", str(tmp_path / "good"))
    solo_task.resume()
    assert solo_task.journal_failure is None
    assert [state for _, state, _, _ in verdicts(tmp_path / "good", 1)] == ["ended"] * 3
    assert (tmp_path / "ran").exists()


def test_two_tasks_write_one_file_one_after_the_other(solo_task: Task, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    solo_task.set_info("journal", str(path))
    with solo_task.iter_outcomes("exit %n", nodes="n[0-2]", remote=False) as outcomes:
        next(outcomes)
        refused = in_another_thread(path)
        assert refused is not None and "is locked by another run, which is in progress" in refused
        assert not Path(f"{path}.ran").exists()
        assert len(list(outcomes)) == 2
    # The refused run has changed nothing, and the lock has ended with its run.
    assert verdicts(path, 1) == ENDED and rows(path, "SELECT count(*) FROM runs") == [(1,)]
    assert in_another_thread(path) is None
    assert verdicts(path, 2) == [("other", "ended", "exit", 0)]
    assert Path(f"{path}.ran").read_text() == "other\n"


def test_an_iterator_that_is_left_has_its_verdicts_in_the_journal(
    solo_task: Task, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    solo_task.set_info("journal", str(path))
    solo_task.set_info("fanout", 2)
    command = "test %n = 0 || sleep 60"
    with solo_task.iter_outcomes(command, nodes="n[0-5]", remote=False) as outcomes:
        assert next(outcomes).node == "n0"
        # Two of a fanout of two are handed out at least, and no more than twice as many.
        states = [state for _, state, _, _ in verdicts(path, 1)]
        assert states[0] == "ended" and 1 <= states.count("may have run") <= 4
        assert "not run" in states
    states = [state for _, state, _, _ in verdicts(path, 1)]
    assert len(states) == 6 and set(states) == {"ended", "not run"}


def test_runs_of_asyncio_have_journals_of_their_own(tmp_path: Path) -> None:
    async def one(name: str) -> list[str]:
        info = {"journal": str(tmp_path / name)}
        async with mpshell.aio.run("exit %n", nodes="n[0-2]", remote=False, info=info) as run:
            return [outcome.node async for outcome in run]

    async def both() -> tuple[list[str], list[str]]:
        found = await asyncio.gather(one("a"), one("b"))
        with pytest.raises(JournalError, match="is damaged, or no journal"):
            await one("text")
        return found

    (tmp_path / "text").write_text("n1 ok\n" * 99)
    for nodes in asyncio.run(both()):
        assert sorted(nodes) == ["n0", "n1", "n2"]
    assert verdicts(tmp_path / "a", 1) == verdicts(tmp_path / "b", 1) == ENDED


def test_a_cancelled_run_of_asyncio_has_its_verdicts_in_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"

    async def cut_off() -> None:
        info = {"journal": str(path), "fanout": 2}
        command = "test %n = 0 || sleep 60"
        async with mpshell.aio.run(command, nodes="n[0-5]", remote=False, info=info) as run:
            async for outcome in run:
                assert outcome.node == "n0"
                break

    asyncio.run(cut_off())
    states = [state for _, state, _, _ in verdicts(path, 1)]
    assert len(states) == 6 and set(states) == {"ended", "not run"}
    [(ended,)] = rows(path, "SELECT ended_at IS NOT NULL FROM runs")
    assert ended


def test_a_clock_that_is_set_between_two_runs(
    solo_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour, real = 3600.0, time.time
    path = tmp_path / "journal"
    solo_task.set_info("journal", str(path))
    began, outcomes = [], []
    for set_to in (0.0, hour, -hour):
        # As after a suspend, or the first answer of a time server.
        monkeypatch.setattr(time, "time", lambda set_to=set_to: real() + set_to)
        began.append(time.time())
        solo_task.run("true", nodes="n0", remote=False)
        outcomes.append(next(iter(solo_task.outcomes())))
    assert [outcome.started_at is not None for outcome in outcomes] == [True] * 3
    recorded = rows(
        path,
        "SELECT runs.started_at, ended_at, attempts.started_at FROM runs JOIN attempts USING (run)",
    )
    for at, outcome, times in zip(began, outcomes, recorded, strict=True):
        assert all(
            abs(float(str(moment)) - at) < hour / 2 for moment in (*times, outcome.started_at)
        )


@pytest.mark.parametrize("how", ["rm {}", "mv {0} {0}.old", "cp {0} {0}.new; mv {0}.new {0}"])
def test_a_journal_that_is_removed_or_replaced_in_the_middle(
    solo_task: Task, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "journal"
    solo_task.set_info("journal", str(path))
    solo_task.run(how.format(path), nodes="n0", remote=False)
    assert solo_task.max_retcode() == 0
    assert solo_task.journal_failure == "the file was removed, or another one is in its place"
    path.unlink(missing_ok=True)
    solo_task.run("true", nodes="n[0-2]", remote=False)
    assert solo_task.journal_failure is None
    assert [row[:3] for row in verdicts(path, 1)] == [
        (f"n{rank}", "ended", "exit") for rank in range(3)
    ]
