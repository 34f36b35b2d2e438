"""Bad input and failures: a typed error that names the culprit, never a hang or a lost result."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell import (
    AlreadyRunningError,
    EngineAbortException,
    EngineException,
    EngineIllegalOperationError,
    ExecWorker,
    NodeSet,
    Task,
    TaskError,
    TaskException,
    TaskMsgTreeError,
    TimeoutError,
    WorkerBadArgumentError,
    WorkerError,
    WorkerException,
    WorkerPopen,
    WorkerSsh,
)
from mpshell.nodeset import NodeSetException
from tests.system.recorder import Recorder

Sweep = Callable[..., ExecWorker]
# the types of error for a caller's mistake
MISTAKES = (TypeError, ValueError, AttributeError, WorkerError, TaskError)
ASSERTIONS = (*MISTAKES, AssertionError)


def test_the_family_of_exceptions() -> None:
    for error in (TimeoutError, AlreadyRunningError, TaskMsgTreeError):
        assert issubclass(error, TaskError)
    assert issubclass(TaskError, TaskException)
    assert issubclass(WorkerError, WorkerException)
    assert issubclass(WorkerBadArgumentError, ValueError)
    assert issubclass(EngineAbortException, EngineException)
    assert issubclass(EngineIllegalOperationError, EngineException)


@pytest.mark.parametrize("command", [None, ""])
def test_a_local_worker_without_command_is_refused(solo_task: Task, command: Any) -> None:
    with pytest.raises(WorkerBadArgumentError):
        WorkerPopen(command, None)
    with pytest.raises(ValueError):
        WorkerPopen(command)
    with pytest.raises(ValueError):
        solo_task.shell(command)


@pytest.mark.parametrize("cls", [ExecWorker, WorkerSsh])
def test_a_node_worker_without_command_and_source_is_refused(cls: type) -> None:
    with pytest.raises(WorkerBadArgumentError):
        cls("n1", None, None)
    with pytest.raises(ValueError):
        cls("n1", None)


@pytest.mark.parametrize(
    "command",
    ["echo %x", "date +%s", "echo %", "echo %{h", "echo %hx", "echo %n1", "echo %{}", "echo %H"],
)
def test_a_bad_placeholder_is_an_error_of_the_run(
    solo_task: Task, solo_sweep: Sweep, command: str
) -> None:
    with pytest.raises(WorkerError, match="%"):
        solo_sweep("n[1-3]", command)
    assert not solo_task.running()
    assert solo_sweep("n[1-3]", "echo 100%%").node_buffer("n2") == b"100%"


def test_all_placeholders(solo_sweep: Sweep) -> None:
    worker = solo_sweep("n[1-3]", "echo %h %host %{h} %{host}s %n %rank %{n}1 %% %%h %h-%n.%h%n")
    assert worker.node_buffer("n2") == b"n2 n2 n2 n2s 1 1 11 % %h n2-1.n21"


def test_a_worker_is_scheduled_once(solo_task: Task) -> None:
    worker = solo_task.shell("echo itsme")
    with pytest.raises(WorkerError):
        solo_task.schedule(worker)
    solo_task.resume()
    assert worker.read() == b"itsme"


def test_reading_from_an_unscheduled_worker_is_an_error(solo_task: Task) -> None:
    local, distant = WorkerPopen("true"), WorkerSsh("n1", None, 0, command="true")
    solo_task.resume()
    with pytest.raises(WorkerError):
        local.read()
    with pytest.raises(WorkerError):
        distant.node_buffer("n1")
    for worker in (local, distant):
        with pytest.raises(WorkerError):
            worker.did_timeout()


def test_resuming_a_running_task_is_an_error(solo_task: Task) -> None:
    solo_task.shell("echo OK", handler=Recorder(read=lambda w, *rest: w.task.resume()))
    with pytest.raises(AlreadyRunningError):
        solo_task.resume()
    assert solo_task.run("echo x").read() == b"x"


def test_key_with_nodes_is_refused(solo_task: Task) -> None:
    untyped: Any = solo_task
    with pytest.raises(ASSERTIONS, match="key"):
        untyped.shell("true", nodes="n1", key="k")


@pytest.mark.parametrize("nodes", [None, "n[1-2]"])
def test_an_unknown_keyword_is_refused_by_name(solo_task: Task, nodes: Any) -> None:
    untyped: Any = solo_task
    with pytest.raises(MISTAKES, match="tiemout"):
        untyped.shell("true", nodes=nodes, tiemout=3)
    worker_class: Any = ExecWorker
    with pytest.raises(MISTAKES, match="tiemout"):
        worker_class("n1", None, command="true", tiemout=3)
    with pytest.raises(MISTAKES, match="tiemout"):
        WorkerSsh("n1", None, command="true", tiemout=3)


@pytest.mark.parametrize("value", [-3, "many", 0])
def test_a_bad_fanout_is_refused_at_the_call(solo_task: Task, value: Any) -> None:
    with pytest.raises(MISTAKES, match=str(value)):
        solo_task.set_info("fanout", value)
    assert solo_task.info("fanout") == 64


@pytest.mark.parametrize("value", [-5, "soon"])
def test_a_bad_timeout_is_refused_at_the_call(solo_task: Task, value: Any) -> None:
    for call in (
        lambda: solo_task.shell("true", timeout=value),
        lambda: solo_task.shell("true", nodes="n1", timeout=value),
        lambda: solo_task.schedule(ExecWorker("n1", None, command="true", timeout=value)),
        lambda: solo_task.resume(value),
    ):
        with pytest.raises(MISTAKES, match=str(value)):
            call()


@pytest.mark.parametrize("pattern", ["n[1-", "n[a-b]", "n1]", "n[5-2]", "n[1-2/0]", "a,,b["])
def test_a_bad_node_pattern_is_refused_by_name(solo_task: Task, pattern: str) -> None:
    part = pattern.split(",")[-1]
    for call in (
        lambda: solo_task.shell("true", nodes=pattern),
        lambda: ExecWorker(pattern, None, command="true"),
        lambda: NodeSet(pattern),
    ):
        with pytest.raises(NodeSetException) as caught:
            call()
        assert part in str(caught.value) or part.strip("n[]") in str(caught.value)


def test_an_unknown_transport_is_refused_by_name(solo_task: Task) -> None:
    with pytest.raises(ImportError, match="carrier"):
        solo_task.set_default("distant_workername", "carrierpigeon")
    with pytest.raises((ImportError, *MISTAKES), match="carrierpigeon"):
        solo_task.set_default("distant_worker", "carrierpigeon")
        solo_task.shell("true", nodes="n1")


@pytest.mark.parametrize("handler", [42, "no handler"])
def test_a_handler_that_is_none_is_refused_at_the_call(solo_task: Task, handler: Any) -> None:
    for call in (
        lambda: solo_task.shell("true", handler=handler),
        lambda: solo_task.shell("true", nodes="n1", handler=handler),
        lambda: solo_task.timer(1, handler=handler),
    ):
        with pytest.raises(MISTAKES, match=str(handler)):
            call()


def test_an_object_without_any_handler_method_is_refused_at_the_call(solo_task: Task) -> None:
    for call in (
        lambda: solo_task.shell("true", handler=object()),
        lambda: ExecWorker("n1", object(), command="true"),
        lambda: solo_task.port(handler=object()),
    ):
        with pytest.raises(MISTAKES, match="object"):
            call()


def test_a_handler_may_have_some_of_the_methods_only(solo_task: Task) -> None:
    class Partial:
        def ev_read(self, worker: Any, node: Any, sname: str, msg: bytes) -> None:
            lines.append(msg)

    lines: list[bytes] = []
    worker = solo_task.run("echo x; exit 3", handler=Partial())
    assert lines == [b"x"] == [worker.read()] and worker.retcode() == 3


@pytest.mark.parametrize("fire", [-1, -0.5])
def test_a_timer_in_the_past_is_refused(solo_task: Task, fire: float) -> None:
    with pytest.raises(ASSERTIONS):
        solo_task.timer(fire, Recorder())


def test_a_timer_without_handler_is_refused(solo_task: Task) -> None:
    with pytest.raises(ASSERTIONS):
        solo_task.timer(1, None)


def test_errors_at_the_call_leave_nothing_scheduled(solo_task: Task) -> None:
    for bad in ({"nodes": "n[1-"}, {"handler": 42}, {"tiemout": 1}, {"timeout": -5}):
        with pytest.raises((NodeSetException, *MISTAKES)):
            solo_task.shell("echo never; exit 9", **bad)
    solo_task.resume()
    assert solo_task.max_retcode() is None and list(solo_task.iter_buffers()) == []


def test_a_program_that_cannot_be_started_is_code_255_of_its_nodes(task: Task) -> None:
    task.set_info("ssh_path", "/wrong/path/to/ssh")
    seen = Recorder()
    bad = WorkerSsh("s[1-3]", seen, command="echo ok")
    good = ExecWorker("n[1-5]", None, command="echo ok")
    task.schedule(bad)
    task.schedule(good)
    task.resume()
    assert dict(bad.iter_node_retcodes()) == {"s1": 255, "s2": 255, "s3": 255}
    assert seen.rcs() == {"s1": 255, "s2": 255, "s3": 255} and seen.closes() == [False]
    assert seen.names()[0] == "start" and seen.names()[-1] == "close"
    assert dict(good.iter_node_retcodes()) == {f"n{i}": 0 for i in range(1, 6)}
    assert task.max_retcode() == 255


def test_a_command_too_long_for_the_system_fails_alone(task: Task) -> None:
    seen = Recorder()
    bad = ExecWorker("b[1-2]", seen, command="echo " + "x" * 300_000)
    good = ExecWorker("n[1-5]", None, command="sleep 0.1; echo ok")
    task.schedule(bad)
    task.schedule(good)
    task.resume()
    assert seen.rcs() == {"b1": 255, "b2": 255} and seen.closes() == [False]
    assert good.node_buffer("n5") == b"ok"


def test_a_program_without_permission_is_code_255(solo_task: Task, tmp_path: Path) -> None:
    plain = tmp_path / "ssh"
    plain.write_text("#!/bin/sh\necho x\n")
    solo_task.set_info("ssh_path", str(plain))
    worker = WorkerSsh("n1", None, command="true")
    solo_task.schedule(worker)
    solo_task.resume()
    assert worker.node_retcode("n1") == 255


def test_exit_codes_and_signals(solo_task: Task, solo_sweep: Sweep) -> None:
    ends = {"n1": "exit 0", "n2": "exit 1", "n3": "exit 255", "n4": "kill -TERM $$"}
    ends |= {"n5": "kill -KILL $$", "n6": "nosuchcommand_", "n7": "/etc/passwd"}
    cases = "".join(f"{node}) {end};; " for node, end in ends.items())
    worker = solo_sweep(",".join(ends), f"case %h in {cases}esac")
    assert dict(worker.iter_node_retcodes()) == {
        "n1": 0,
        "n2": 1,
        "n3": 255,
        "n4": 143,
        "n5": 137,
        "n6": 127,
        "n7": 126,
    }


def test_the_module_of_an_out_of_tree_worker_is_found(
    solo_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "from mpshell import ExecWorker\nclass Mine(ExecWorker):\n    pass\nWORKER_CLASS = Mine\n"
    )
    (tmp_path / "my_own_worker.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    solo_task.set_default("distant_workername", "my_own_worker")
    worker = solo_task.shell("echo %h", nodes="n[1-2]")
    solo_task.resume()
    assert type(worker).__name__ == "Mine" and worker.node_buffer("n2") == b"n2"
    assert solo_task.default("distant_worker") is type(worker)
    sys.modules.pop("my_own_worker")
