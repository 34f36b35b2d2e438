"""Other attempts, with real commands: the events, kept output, stdin, copies, and errors of settings."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mpshell import (
    NodeOutcome,
    RetryPolicy,
    Task,
    TaskSettingError,
    Transport,
    WorkerError,
    WorkerPdsh,
)
from mpshell.worker.transport import NODE
from tests.support import commands
from tests.system.recorder import Marks, Recorder, until


def at_once(retries: int, *reasons: str) -> RetryPolicy:
    """Return a policy without back-off, for the default reasons unless some are named."""
    policy = RetryPolicy(retries, delay=0.0)
    return replace(policy, on=frozenset(reasons)) if reasons else policy


class Link(Transport):
    """Runs a script for each node; an exit status 255 with a reason as last word is the transport's failure."""

    @staticmethod
    def diagnose(detail: str) -> str | None:
        word = detail.split()[-1] if detail.split() else ""
        return word if word in ("unreachable", "auth", "hostkey", "transport") else None

    def command_argv(self, task: Any, command: str) -> Any:
        return ["/bin/sh", "-c", command, (NODE,)]


class Tries(Recorder):
    """Records retries too."""

    def ev_retry(self, worker: Any, outcome: NodeOutcome, delay: float) -> None:
        self._note(("retry", outcome.node, outcome.reason, outcome.attempt, delay), worker, outcome)

    def ev_outcome(self, worker: Any, outcome: NodeOutcome) -> None:
        self._note(("outcome", outcome.node, outcome.reason, outcome.attempt), worker, outcome)


def nth_try(folder: Path, name: str = "$0") -> str:
    """Return shell commands that count the tries of a node into `n`."""
    return f"echo x >>{folder}/{name}; n=$(wc -l <{folder}/{name});"


def link(task: Task, nodes: str, command: str, **options: Any) -> Link:
    worker = Link(nodes, command=command, **options)
    task.schedule(worker)
    return worker


def test_a_node_that_can_be_reached_later_is_ok(task: Task, tmp_path: Path) -> None:
    task.set_info("retry", at_once(3))
    handler = Tries()
    command = f"{nth_try(tmp_path)} echo try $n; [ $n -lt 3 ] && {{ echo unreachable; exit 255; }}; exit 0"
    worker = link(task, "n[1-9]", command, handler=handler)
    task.resume()
    assert {(o.reason, o.returncode, o.attempt) for o in worker.outcomes()} == {("exit", 0, 3)}
    # Only the output of the last try is kept.
    assert [(bytes(text), len(nodes)) for text, nodes in worker.iter_buffers()] == [(b"try 3", 9)]
    assert (
        Counter(handler.nodes("hup")) == Counter(handler.nodes("outcome")) == Counter(worker.nodes)
    )
    assert handler.closes() == [False] and handler.count("start") == 1
    assert [event[2:4] for event in handler.of("retry") if event[1] == "n5"] == [
        ("unreachable", 1),
        ("unreachable", 2),
    ]
    assert [event[0] for event in handler.events if event[1:2] == ("n5",) and event[0] != "read"] == [
        "pickup", "retry", "pickup", "retry", "pickup", "hup", "outcome",
    ]  # fmt: skip
    tries = worker.attempts("n5")
    assert [(o.reason, o.returncode, o.attempt) for o in tries] == [
        ("unreachable", 255, 1), ("unreachable", 255, 2), ("exit", 0, 3),
    ]  # fmt: skip
    assert commands() == []


@pytest.mark.parametrize("reason", ["auth", "hostkey", "transport", "exit", "lost"])
def test_no_other_reason_is_tried_again_unless_it_is_named(
    reason: str, solo_task: Task, tmp_path: Path
) -> None:
    end = {"exit": "exit 7", "lost": "kill -9 $PPID; sleep 60"}.get(
        reason, f"echo {reason}; exit 255"
    )
    for policy, tries in (
        (at_once(2), 1),
        (at_once(2, reason), 3),
    ):
        solo_task.set_info("retry", policy)
        folder = tmp_path / str(tries)
        folder.mkdir()
        worker = link(solo_task, "n1", f"{nth_try(folder)} {end}")
        solo_task.resume()
        (outcome,) = worker.outcomes()
        assert (outcome.reason, outcome.attempt) == (reason, tries)
        assert (folder / "n1").read_text() == "x\n" * tries


def test_a_program_that_cannot_be_started_is_tried_again(solo_task: Task, tmp_path: Path) -> None:
    program = tmp_path / "program"

    class Missing(Transport):
        def command_argv(self, task: Any, command: str) -> Any:
            return [str(program)]

    class Provide(Tries):
        def ev_retry(self, worker: Any, outcome: NodeOutcome, delay: float) -> None:
            super().ev_retry(worker, outcome, delay)
            program.write_text("#!/bin/sh\necho here\n")
            program.chmod(0o755)

    solo_task.set_info("retry", at_once(1))
    handler = Provide()
    worker = Missing("n1", handler, command="x")
    solo_task.schedule(worker)
    solo_task.resume()
    assert [event[2] for event in handler.of("retry")] == ["not started"]
    assert worker.node_buffer("n1") == b"here"


def test_a_handler_of_before_works_and_gets_each_node_once(solo_task: Task, tmp_path: Path) -> None:
    class Old:
        """As ClusterShell's users have it: no base class, no `ev_retry`."""

        def __init__(self) -> None:
            self.hups: list[tuple[str, int]] = []
            self.closed = 0

        def ev_hup(self, worker: Any, node: str, rc: int) -> None:
            self.hups.append((node, rc))

        def ev_close(self, worker: Any, timedout: bool) -> None:
            self.closed += 1

    solo_task.set_info("retry", at_once(1))
    handler = Old()
    command = f"{nth_try(tmp_path)} [ $n -gt 1 ] || {{ echo unreachable; exit 255; }}"
    link(solo_task, "n[1-3]", command, handler=handler)
    solo_task.resume()
    assert sorted(handler.hups) == [("n1", 0), ("n2", 0), ("n3", 0)] and handler.closed == 1


def test_the_fanout_holds_and_who_waits_has_no_slot(task: Task, tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    task.set_info("fanout", 3)
    task.set_info("retry", RetryPolicy(1, delay=0.2))
    (tmp_path / "tries").mkdir()
    fails = f"{nth_try(tmp_path / 'tries')} {marks.command('sleep 0.02', '$0')}; "
    worker = link(task, "n[1-40]", fails + "[ $n -gt 1 ] || { echo unreachable; exit 255; }")
    task.resume()
    assert {(o.returncode, o.attempt) for o in worker.outcomes()} == {(0, 2)}
    assert marks.peak() <= 3
    assert Counter(marks.begun()) == Counter({f"n{number}": 2 for number in range(1, 41)})


def test_the_second_try_of_a_command_gets_all_of_the_stdin(task: Task, tmp_path: Path) -> None:
    task.set_info("retry", at_once(1))
    # The first try has read some of it; input that is written later reaches both.
    command = (
        f"{nth_try(tmp_path)} if [ $n -eq 1 ]; then read line; echo unreachable; exit 255; fi; cat"
    )

    class Writes(Tries):
        def ev_retry(self, worker: Any, outcome: NodeOutcome, delay: float) -> None:
            super().ev_retry(worker, outcome, delay)
            if self.count("retry") == 5:
                worker.write(b"two\n")
                worker.set_write_eof()

    worker = link(task, "n[1-5]", command, handler=Writes())
    worker.write(b"one\n")
    task.resume()
    texts = {bytes(text): len(nodes) for text, nodes in worker.iter_buffers()}
    assert texts == {b"one\ntwo": 5}


def test_a_timeout_is_each_try_s_own_and_two_tries_do_not_meet(
    solo_task: Task, tmp_path: Path
) -> None:
    """The command does not end at SIGTERM: the next try waits until it is gone."""
    marks = Marks(tmp_path / "marks")
    (tmp_path / "tries").mkdir()
    solo_task.set_info("grace", 0.5)
    solo_task.set_info("retry", at_once(1, "timeout"))
    body = f"{nth_try(tmp_path / 'tries')} echo $$ >>{tmp_path}/pids; echo +$0 >>{marks.path}; trap '' TERM; "
    body += "[ $n -gt 1 ] || while :; do sleep 1; done; "
    alive = f"kill -0 $(head -1 {tmp_path}/pids) 2>&- && echo both"
    worker = link(solo_task, "n1", f"{body} {alive}; echo second", timeout=1)
    solo_task.resume()
    (outcome,) = worker.outcomes()
    assert (outcome.reason, outcome.returncode, outcome.attempt) == ("exit", 0, 2)
    assert worker.node_buffer("n1") == b"second"
    assert not worker.did_timeout() and marks.begun() == ["n1", "n1"]


def test_an_abort_while_a_try_is_waited_for(solo_task: Task, tmp_path: Path) -> None:
    solo_task.set_info("retry", RetryPolicy(3, delay=3600, most=3600, jitter=False))
    handler = Tries(retry=lambda worker, outcome: worker.abort())
    worker = link(solo_task, "n1", "echo unreachable; exit 255", handler=handler)
    solo_task.resume()
    assert [(o.reason, o.attempt) for o in worker.outcomes()] == [("unreachable", 1)]
    assert handler.names() == ["start", "pickup", "read", "retry", "close"]
    assert solo_task.run("echo again").read() == b"again"


def test_a_run_that_is_out_of_time_while_a_try_is_waited_for(solo_task: Task) -> None:
    from mpshell import TimeoutError

    solo_task.set_info("retry", RetryPolicy(3, delay=3600, most=3600, jitter=False))
    worker = link(solo_task, "n1", "echo unreachable; exit 255")
    with pytest.raises(TimeoutError):
        solo_task.resume(1)
    assert [(o.reason, o.attempt) for o in worker.outcomes()] == [("unreachable", 1)]


def test_a_copy_is_tried_again(solo_task: Task, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("data")

    class Copies(Link):
        def copy_argv(self, task: Any, copy: Any) -> Any:
            script = f"{nth_try(tmp_path)} [ $n -gt 1 ] || {{ echo unreachable; exit 255; }}; "
            return ["/bin/sh", "-c", f'{script} cp "$1" "$2.$0"', (NODE,), copy.source, copy.dest]

    solo_task.set_info("retry", at_once(1))
    worker = Copies("n[1-3]", source=str(source), dest=str(tmp_path / "dest"))
    solo_task.schedule(worker)
    solo_task.resume()
    assert {(o.returncode, o.attempt) for o in worker.outcomes()} == {(0, 2)}
    assert (tmp_path / "dest.n2").read_text() == "data"


def test_a_local_command_is_tried_again(solo_task: Task, tmp_path: Path) -> None:
    solo_task.set_info("retry", at_once(2, "exit"))
    worker = solo_task.run(f"{nth_try(tmp_path, 'key')} echo $n; [ $n -eq 3 ]", key="key")
    assert (worker.retcode(), worker.read()) == (0, b"3")
    assert [o.attempt for o in worker.attempts("key")] == [1, 2, 3]


def test_a_try_that_waits_does_not_hold_up_the_others(solo_task: Task, tmp_path: Path) -> None:
    """The back-off is the run's own timer: other nodes run meanwhile, and it ends when it is due."""
    solo_task.set_info("fanout", 2)
    solo_task.set_info("retry", RetryPolicy(1, delay=0.5, jitter=False))
    go = tmp_path / "go"
    command = f"{nth_try(tmp_path)} case $0$n in n11) echo unreachable; exit 255;; n12) touch {go};; esac; "
    worker = link(solo_task, "n[1-30]", f"{command} [ $0 != n30 ] || {{ {until(go)}; }}")
    solo_task.resume()
    assert all(outcome.ok for outcome in worker.outcomes())
    assert [o.attempt for o in worker.attempts("n1")] == [1, 2]


def pdsh(task: Task, folder: Path, first: str, second: str) -> WorkerPdsh:
    """Run two nodes by a program in the place of pdsh, which does one thing and then another."""
    program = folder / "pdsh"
    program.write_text(
        f"#!/bin/sh\n{nth_try(folder, 'tries')}\nif [ $n = 1 ]; then {first}; else {second}; fi\n"
    )
    program.chmod(0o755)
    task.set_info("pdsh_path", str(program))
    task.set_info("engines", 1)
    worker = WorkerPdsh("n[1-2]", command="x")
    task.schedule(worker)
    task.resume()
    return worker


def test_a_pdsh_that_has_run_nothing_is_tried_again_as_a_whole(
    solo_task: Task, tmp_path: Path
) -> None:
    solo_task.set_info("retry", at_once(1))
    first = "echo 'pdsh@here: no such rcmd module' >&2; exit 1"
    worker = pdsh(solo_task, tmp_path, first, "echo n1: one; echo n2: two")
    found = {o.node: (o.reason, o.returncode, o.attempt) for o in worker.outcomes()}
    assert found == {"n1": ("exit", 0, 2), "n2": ("exit", 0, 2)}
    assert worker.node_buffer("n2") == b"two"
    assert [o.reason for o in worker.attempts("n1")] == ["not started", "exit"]


def test_a_pdsh_of_which_a_node_has_ended_is_not(solo_task: Task, tmp_path: Path) -> None:
    solo_task.set_info("retry", at_once(1, "lost"))
    host = os.uname().nodename.partition(".")[0]
    first = f"echo 'pdsh@{host}: n1: ssh exited with exit code 3'; kill -9 $$"
    worker = pdsh(solo_task, tmp_path, first, "echo n1: twice")
    found = {o.node: (o.returncode, o.attempt) for o in worker.outcomes()}
    assert found["n1"] == (3, 1) and found["n2"][1] == 1
    assert (tmp_path / "tries").read_text() == "x\n"


@pytest.mark.parametrize("key", ["canary", "batch", "max_fail"])
def test_a_setting_that_pdsh_cannot_keep_is_an_error(
    key: str, solo_task: Task, tmp_path: Path
) -> None:
    solo_task.set_info(key, 1)
    with pytest.raises(WorkerError, match=f"{key}=1"):
        pdsh(solo_task, tmp_path, "true", "true")


@pytest.mark.parametrize("key", ["canary", "batch", "max_fail"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5, "1"])
def test_a_bad_number_of_nodes_is_refused_at_the_call(task: Task, key: str, value: object) -> None:
    with pytest.raises(TaskSettingError, match=f"{key} is a whole number of at least 1"):
        task.set_info(key, value)


@pytest.mark.parametrize("value", [3, "3", {"retries": 3}, RetryPolicy])
def test_a_bad_policy_is_refused_at_the_call(task: Task, value: object) -> None:
    with pytest.raises(TaskSettingError, match=r"retry is a mpshell\.RetryPolicy"):
        task.set_info("retry", value)


def test_an_object_with_nothing_but_ev_retry_is_a_handler(solo_task: Task) -> None:
    class Only:
        def ev_retry(self, worker: Any, outcome: NodeOutcome, delay: float) -> None:
            retried.append((outcome.node, delay))

    retried: list[tuple[str, float]] = []
    solo_task.set_info("retry", at_once(1))
    link(solo_task, "n1", "echo unreachable; exit 255", handler=Only())
    solo_task.resume()
    assert retried == [("n1", 0.0)]
