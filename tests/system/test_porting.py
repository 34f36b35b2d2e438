"""Programs written for ClusterShell: calls that they make, beside those that the other files are about."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest

from mpshell import (
    DEFAULTS,
    Defaults,
    EnginePort,
    EngineTimer,
    EventHandler,
    ExecWorker,
    StreamWorker,
    Task,
    TaskError,
    TimeoutError,
    Worker,
    WorkerPdsh,
    WorkerPopen,
    WorkerSimple,
    WorkerSsh,
    task_self,
)
from tests.system.recorder import Recorder, within

# -- run() ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keywords",
    [
        {"stdin": False},
        {"handler": Recorder()},
        {"nodes": "n1"},
        {"nodes": "n1", "remote": False},
        {"key": "k", "autoclose": True, "stderr": True, "tree": True},
        {"timeout": 30, "stdin": False},
        {"timeout": None},
    ],
)
def test_run_without_a_command_is_resume_with_any_options_of_a_command(
    solo_task: Task, keywords: dict[str, Any]
) -> None:
    worker = solo_task.shell("echo done")
    assert solo_task.run(**keywords) is None
    assert worker.read() == b"done" and solo_task.max_retcode() == 0
    assert solo_task.run(20, **{k: v for k, v in keywords.items() if k != "timeout"}) is None


def test_the_timeout_of_run_without_a_command_is_that_of_the_run(solo_task: Task) -> None:
    calls: list[Callable[[], object]] = [
        lambda: solo_task.run(timeout=1, stdin=False),
        lambda: solo_task.run(1, handler=Recorder()),
    ]
    for call in calls:
        solo_task.shell("sleep 60")
        with within(20), pytest.raises(TimeoutError):
            call()


@pytest.mark.parametrize("command", [None, 5, "true"])
@pytest.mark.parametrize("wrong", ["nodse", "time_out", "hanlder", "command_timeout"])
def test_a_misspelt_keyword_is_an_error(solo_task: Task, command: Any, wrong: str) -> None:
    untyped: Any = solo_task
    with pytest.raises(TypeError, match=wrong):
        untyped.run(command, **{wrong: "x"})
    solo_task.resume()
    assert solo_task.max_retcode() is None, "nothing was scheduled"


@pytest.mark.parametrize("nodes", ["n1", "n[1-5]"])
def test_an_empty_command_runs_on_nodes(task: Task, nodes: str) -> None:
    seen = Recorder()
    worker = task.run("", nodes=nodes, remote=False, handler=seen)
    assert worker.command == ""
    assert [(rc, str(of)) for rc, of in worker.iter_retcodes()] == [(0, nodes)]
    assert seen.count("hup") == len(worker.nodes)


def test_an_empty_command_goes_to_the_transport(solo_task: Task, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nfor word; do echo "<$word>"; done\n')
    ssh.chmod(0o755)
    solo_task.set_info("ssh_path", str(ssh))
    worker = solo_task.run("", nodes="n1", stdin=False)
    assert (worker.node_buffer("n1") or b"").endswith(b"<n1>\n<>")


def test_an_empty_command_of_no_node_is_an_error(solo_task: Task) -> None:
    with pytest.raises(ValueError, match="needs a command"):
        solo_task.run("")
    with pytest.raises(ValueError, match="needs a command"):
        solo_task.schedule(ExecWorker("n1", None))


# -- gateways ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tree", [True, False, None])
def test_without_a_topology_commands_and_copies_go_out_directly(
    solo_task: Task, tmp_path: Path, tree: bool | None
) -> None:
    worker = solo_task.run("echo %h", nodes="n[1-2]", remote=False, tree=tree)
    assert dict(worker.iter_node_buffers()) == {"n1": b"n1", "n2": b"n2"}
    (tmp_path / "file").write_text("data")
    solo_task.set_default("distant_workername", "exec")
    solo_task.copy(tmp_path / "file", tmp_path / "to.%h", "n[1-2]", tree=tree)
    solo_task.rcopy(tmp_path / "file", tmp_path, "n3", tree=tree)
    solo_task.resume()
    assert solo_task.max_retcode() == 0
    assert {path.name for path in tmp_path.iterdir()} == {"file", "to.n1", "to.n2", "file.n3"}


def test_there_is_no_topology(solo_task: Task, tmp_path: Path) -> None:
    assert solo_task.topology is None and solo_task.gateways == {}
    assert Task.TOPOLOGY_CONFIGS == [] == solo_task.TOPOLOGY_CONFIGS
    solo_task.topology = None
    with pytest.raises(TaskError, match=r"'tree'.*directly.*fanout"):
        solo_task.topology = "tree"
    for name in ("topology.conf", str(tmp_path)):
        with pytest.raises(TaskError, match=f"'{name}'.*directly.*fanout"):
            solo_task.load_topology(name)
    assert solo_task.topology is None
    assert solo_task.run("true", nodes="n1", remote=False, tree=True).node_retcode("n1") == 0


# -- copies of objects ------------------------------------------------------------------------------


class Holder(EventHandler):
    """A handler that keeps the object it works with, as many do."""

    def __init__(self, held: Any) -> None:
        self.held = held


COPIES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *(lambda thing, p=p: pickle.dumps(thing, p) for p in range(pickle.HIGHEST_PROTOCOL + 1)),
    ForkingPickler.dumps,  # multiprocessing, concurrent.futures
]


COPIERS: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    lambda thing: pickle.loads(pickle.dumps(thing)),
]


def bound(task: Task) -> list[Any]:
    """Return one of everything that belongs to a thread of this process."""
    started = task.run("true", nodes="n1", remote=False)
    timer, port = task.timer(30, EventHandler(), autoclose=True), task.port(autoclose=True)
    workers: list[Worker] = [
        started,
        WorkerPopen("true"),
        ExecWorker("n1", None, command="true"),
        WorkerSsh("n1", None, command="true"),
        WorkerPdsh("n1", None, command="true"),
        StreamWorker(None),
        WorkerSimple(None, None, None, None, None),
    ]
    return [task, timer, port, *workers]


@pytest.mark.parametrize("copier", COPIES)
def test_a_copy_of_what_belongs_to_a_thread_is_refused(
    solo_task: Task, copier: Callable[[Any], Any]
) -> None:
    before = threading.active_count()
    for thing in bound(solo_task):
        with pytest.raises(TypeError, match=f"{type(thing).__name__} cannot be copied or pickled"):
            copier(thing)
        if copier is not copy.copy:
            for holder in (Holder(thing), [thing], {"held": Holder(thing)}):
                with pytest.raises(TypeError, match=type(thing).__name__):
                    copier(holder)
    assert threading.active_count() == before and task_self() is solo_task
    # A shallow copy of a handler shares its attributes, as for any object.
    assert copy.copy(Holder(solo_task)).held is solo_task
    assert solo_task.run("echo fine").read() == b"fine"


def test_a_copy_of_a_thread_of_its_own_is_refused(thread_task: Task) -> None:
    for copier in COPIES:
        with pytest.raises(TypeError, match="Task cannot be copied"):
            copier(thread_task)


def test_a_class_of_the_user_s_defines_how_it_is_copied(solo_task: Task) -> None:
    class Own(ExecWorker):
        def __copy__(self) -> Own:
            return Own(self.nodes, self.eh, command=self.command)

    worker = copy.copy(Own("n[1-2]", None, command="echo %h"))
    solo_task.schedule(worker)
    solo_task.resume()
    assert worker.node_buffer("n2") == b"n2"


def test_data_can_be_copied(solo_task: Task) -> None:
    worker = solo_task.run("echo text; exit 3", nodes="n[1-2]", remote=False)
    [(message, nodes)] = worker.iter_buffers()
    data: list[Any] = [list(worker.outcomes()), message, nodes, list(worker.iter_node_retcodes())]
    for copier in COPIERS:
        for thing in data:
            assert copier(thing) == thing


def test_a_copy_of_the_defaults_has_its_own_values() -> None:
    for copier in COPIERS:
        own = copier(DEFAULTS)
        assert type(own) is Defaults and own.task_info() == DEFAULTS.task_info()
        own.fanout, own.stderr = 7, True
        assert (own.fanout, own.stderr) == (7, True)
        assert (DEFAULTS.fanout, DEFAULTS.stderr) == (64, False)


def test_the_classes_themselves_can_be_pickled() -> None:
    for one in (Task, EngineTimer, EnginePort, ExecWorker, WorkerPopen):
        assert pickle.loads(pickle.dumps(one)) is one
