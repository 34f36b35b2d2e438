"""`iter_outcomes`: a run within a for loop, and all the ways out of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell import (
    AlreadyRunningError,
    NodeOutcome,
    NodeSetParseError,
    RetryPolicy,
    Task,
    TaskError,
    WorkerError,
)  # fmt: skip
from mpshell.errors import EngineIllegalOperationError
from tests.support import commands, eventually
from tests.system.recorder import Marks, until


@pytest.fixture
def local(solo_task: Task) -> Task:
    """Give a Task; its nodes are this machine."""
    solo_task.set_default("distant_workername", "exec")
    return solo_task


def test_outcomes_come_as_the_commands_end(local: Task, tmp_path: Path) -> None:
    """The second node ends when the caller has the outcome of the third, the first after that of the second."""
    command = (
        f"echo %h; case %h in n1) {until(tmp_path / 'n2')};; n2) {until(tmp_path / 'n3')};; esac"
    )
    seen: list[tuple[str, bytes]] = []
    for outcome in local.iter_outcomes(command, nodes="n[1-3]"):
        assert isinstance(outcome, NodeOutcome) and outcome.ok
        seen.append((outcome.node, local.node_buffer(outcome.node)))
        (tmp_path / outcome.node).touch()
    assert seen == [("n3", b"n3"), ("n2", b"n2"), ("n1", b"n1")]
    # It was a run like others.
    assert local.max_retcode() == 0 and len(list(local.outcomes())) == 3
    assert local.run("echo again").read() == b"again"


def test_each_node_comes_once(task: Task) -> None:
    task.set_default("distant_workername", "exec")
    nodes = [outcome.node for outcome in task.iter_outcomes("true", nodes="n[1-300]")]
    assert sorted(nodes) == sorted(f"n{number}" for number in range(1, 301))


def test_nodes_that_were_not_run_come_last(local: Task) -> None:
    local.set_info("canary", 2)
    found = [(o.node, o.reason) for o in local.iter_outcomes("exit 1", nodes="n[1-5]")]
    assert sorted(found[:2]) == [("n1", "exit"), ("n2", "exit")]
    assert found[2:] == [(f"n{number}", "cancelled") for number in (3, 4, 5)]


def test_timeouts_and_tries_come_once(local: Task, tmp_path: Path) -> None:
    local.set_info("retry", RetryPolicy(1, frozenset(("exit",)), delay=0))
    command = f"case %h in n1) sleep 60;; n2) mkdir {tmp_path}/once;; esac"
    found = {
        o.node: (o.reason, o.attempt)
        for o in local.iter_outcomes(command, nodes="n[1-2]", timeout=1)
    }
    assert found == {"n1": ("timeout", 1), "n2": ("exit", 1)}
    found = {o.node: (o.reason, o.attempt) for o in local.iter_outcomes(command, nodes="n[2-3]")}
    assert found == {"n2": ("exit", 2), "n3": ("exit", 1)}


@pytest.mark.parametrize("nodes", ["", None])
def test_of_no_nodes_and_of_a_local_command(local: Task, nodes: str | None) -> None:
    found = [outcome.node for outcome in local.iter_outcomes("true", nodes=nodes)]
    assert len(found) == (0 if nodes == "" else 1)
    (outcome,) = local.iter_outcomes("exit 3", key="key")
    assert (outcome.node, outcome.returncode) == ("key", 3)


# -- ways out --------------------------------------------------------------------------------------


def leave_by_break(task: Task) -> None:
    for _ in task.iter_outcomes("[ %n = 0 ] || sleep 60", nodes="n[1-5]"):
        assert commands()
        break


def leave_by_error(task: Task) -> None:
    with pytest.raises(ZeroDivisionError):
        for _ in task.iter_outcomes("[ %n = 0 ] || sleep 60", nodes="n[1-5]"):
            assert 1 / 0


def leave_by_close(task: Task) -> None:
    outcomes = task.iter_outcomes("[ %n = 0 ] || sleep 60", nodes="n[1-5]")
    assert next(outcomes).node == "n1" and commands()
    outcomes.close()
    outcomes.close()
    assert list(outcomes) == []
    reasons = [outcome.reason for outcome in outcomes.worker.outcomes()]
    assert sorted(reasons) == ["cancelled"] * 4 + ["exit"]


def leave_by_context(task: Task) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        task.iter_outcomes("[ %n = 0 ] || sleep 60", nodes="n[1-5]") as outcomes,
    ):
        next(outcomes)
        assert 1 / 0
    assert list(outcomes) == []


def leave_by_abort(task: Task) -> None:
    seen = []
    for outcome in task.iter_outcomes("[ %n = 0 ] || sleep 60", nodes="n[1-5]"):
        seen.append(outcome.node)
        task.abort()
    assert seen == ["n1"] and list(task.outcomes()) == []


def leave_unused(task: Task) -> None:
    outcomes = task.iter_outcomes("sleep 60", nodes="n[1-5]")
    with pytest.raises(AlreadyRunningError):
        task.resume()
    assert commands() == []
    del outcomes


@pytest.mark.parametrize(
    "leave",
    [
        leave_by_break,
        leave_by_error,
        leave_by_close,
        leave_by_context,
        leave_by_abort,
        leave_unused,
    ],
)
def test_leaving_ends_the_commands(leave: Callable[[Task], None], local: Task) -> None:
    leave(local)
    assert commands() == []
    assert not local.running()
    assert local.run("echo again").read() == b"again"


def test_a_worker_that_is_aborted_or_withdrawn_in_the_loop(local: Task) -> None:
    for end in ("abort", "withdraw"):
        local.set_info("fanout", 1)
        outcomes = local.iter_outcomes("true", nodes="n[1-300]")
        found = []
        for outcome in outcomes:
            found.append(outcome)
            if len(found) == 1:
                getattr(outcomes.worker, end)()
        assert len(found) == len({o.node for o in found}) == 300
        assert 1 <= sum(o.ok for o in found) < 10


def test_an_abort_of_another_worker_s_handler_ends_the_loop(local: Task) -> None:
    class Aborts:
        def ev_hup(self, worker: Any, node: str, rc: int) -> None:
            local.abort()

    local.shell("true", nodes="other", handler=Aborts())
    assert list(local.iter_outcomes("sleep 60", nodes="n[1-2]")) == []
    assert commands() == [] and local.run("echo again").read() == b"again"


@pytest.mark.parametrize("moment", ["in the body", "while it waits"])
def test_ctrl_c(moment: str, tmp_path: Path) -> None:
    source = f"""
import os, signal
from mpshell import task_self
task = task_self()
task.set_default("distant_workername", "exec")
try:
    for outcome in task.iter_outcomes("[ %n = 0 ] || exec sleep 66", nodes="n[1-4]"):
        print("ready", flush=True)
        if {moment == "in the body"}:
            signal.pause()
except KeyboardInterrupt:
    print(sorted(o.reason for o in task.outcomes()), task.running(), flush=True)
    print(task.run("echo again").read().decode())
"""
    script = tmp_path / "script.py"
    script.write_text(source)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None and program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGINT)
        assert program.communicate(timeout=40)[0].splitlines() == [
            "['cancelled', 'cancelled', 'cancelled', 'exit'] False",
            "again",
        ]


def test_a_fork_in_the_body_leaves_the_run_alone(local: Task, tmp_path: Path) -> None:
    outcomes = local.iter_outcomes(f"[ %n = 0 ] || {until(tmp_path / 'go')}", nodes="n[1-3]")
    next(outcomes)
    pid = os.fork()
    if pid == 0:
        try:
            next(outcomes)
        except EngineIllegalOperationError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    (tmp_path / "go").touch()
    assert [outcome.ok for outcome in outcomes] == [True, True]


# -- beside the iteration --------------------------------------------------------------------------


def test_a_slow_body_holds_up_the_commands(local: Task, tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    local.set_info("fanout", 2)
    count = 0
    for outcome in local.iter_outcomes(marks.command("true"), nodes="n[1-200]"):
        assert outcome.ok
        count += 1
        if count == 1:
            # Those in the two slots, and as many ahead of need, of each engine; nothing more comes.
            assert not eventually(lambda: len(marks.begun()) > 12, 1)
    assert count == 200


def test_more_work_in_the_body_is_of_the_same_run(local: Task) -> None:
    nodes = []
    for outcome in local.iter_outcomes("true", nodes="n[1-2]"):
        nodes.append(outcome.node)
        local.shell(f"echo {outcome.node}", nodes=f"more-{outcome.node}")
    assert sorted(nodes) == ["n1", "n2"]
    assert {o.node for o in local.outcomes()} == {"n1", "n2", "more-n1", "more-n2"}
    assert local.node_buffer("more-n2") == b"n2"


def test_workers_that_were_scheduled_before_run_too(local: Task) -> None:
    worker = local.shell("echo before", key="k")
    assert [o.node for o in local.iter_outcomes("true", nodes="n1")] == ["n1"]
    assert worker.read() == b"before"


def test_stdin_is_written_in_the_loop(local: Task) -> None:
    with local.iter_outcomes("cat", nodes="n[1-3]", stdin=True) as outcomes:
        outcomes.worker.write(b"input")
        outcomes.worker.set_write_eof()
        assert {outcomes.worker.read(o.node) for o in outcomes} == {b"input"}


def test_one_run_at_a_time(local: Task) -> None:
    for _ in local.iter_outcomes("true", nodes="n1"):
        with pytest.raises(AlreadyRunningError):
            local.iter_outcomes("true", nodes="n2")
        with pytest.raises(AlreadyRunningError):
            local.resume()
    assert [o.node for o in local.outcomes()] == ["n1"]
    assert [o.node for o in local.iter_outcomes("true", nodes="n2")] == ["n2"]


def test_in_the_task_s_own_thread_only(
    local: Task, in_thread: Callable[..., threading.Thread]
) -> None:
    errors: list[BaseException] = []

    def other() -> None:
        try:
            local.iter_outcomes("true", nodes="n1")
        except TaskError as error:
            errors.append(error)

    in_thread(other).join(20)
    assert "own thread" in str(errors[0])
    assert list(local.outcomes()) == [] and local.run("echo x").read() == b"x"


def test_another_thread_speaks_to_the_run(
    local: Task, in_thread: Callable[..., threading.Thread]
) -> None:
    outcomes = local.iter_outcomes("[ %n = 0 ] || cat", nodes="n[1-3]", stdin=True)
    next(outcomes)
    in_thread(outcomes.worker.write, b"from there").join(20)
    in_thread(outcomes.worker.set_write_eof).join(20)
    assert [outcomes.worker.read(o.node) for o in outcomes] == [b"from there"] * 2


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"nodes": "n["}, NodeSetParseError),
        ({"nodes": "n1", "key": "k"}, ValueError),
        ({"nodes": "n1", "timeout": -2}, ValueError),
        ({"nodes": "n1", "handler": object()}, TypeError),
        ({"nodes": "n1", "autoclose": True}, TypeError),
        ({"nodes": "n1", "fanout": 3}, TypeError),
    ],
)
def test_a_bad_option_is_an_error_at_the_call(
    local: Task, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        local.iter_outcomes("true", **options)
    assert not local.running() and local.run("echo x").read() == b"x"


def test_a_worker_that_cannot_begin_is_an_error_at_the_call(solo_task: Task) -> None:
    solo_task.set_default("distant_workername", "pdsh")
    solo_task.set_info("batch", 2)
    with pytest.raises(WorkerError, match="batch=2"):
        solo_task.iter_outcomes("true", nodes="n1")
    assert not solo_task.running()
    solo_task.set_info("batch", None)
    assert solo_task.run("echo x").read() == b"x"
