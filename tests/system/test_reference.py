"""Rows of the reference that no other file tests by themselves, from the assertions of ClusterShell's tests."""

from __future__ import annotations

import gc
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpshell import (
    DistantWorker,
    EngineAbortException,
    EngineClientEOF,
    EngineClientError,
    EngineClientException,
    EngineClientNotSupportedError,
    EngineException,
    EngineIllegalOperationError,
    EngineTimeoutException,
    EventHandler,
    ExecWorker,
    NodeSet,
    StreamWorker,
    Task,
    WorkerBadArgumentError,
    WorkerError,
    WorkerPdsh,
    WorkerPopen,
    WorkerRsh,
    WorkerSimple,
    WorkerSsh,
    task_self,
)
from tests.support import eventually
from tests.system.recorder import Marks, Recorder, alive, folded, read_pids, within

InThread = Callable[..., threading.Thread]
EVENTS = ["start", "pickup", "read", "hup", "close"]


# -- exceptions -------------------------------------------------------------------------------------


def test_a_bad_argument_of_a_worker_is_a_value_error() -> None:
    assert WorkerBadArgumentError is ValueError


def test_the_family_of_engine_exceptions() -> None:
    for error in (EngineAbortException, EngineTimeoutException, EngineIllegalOperationError):
        assert issubclass(error, EngineException)
    for client_error in (EngineClientEOF, EngineClientError):
        assert issubclass(client_error, EngineClientException)
    assert issubclass(EngineClientNotSupportedError, EngineClientError)


# -- aborts, ends and the time after them -----------------------------------------------------------


@pytest.mark.parametrize("event", [*EVENTS, "timer", "msg"])
def test_a_kill_from_each_handler_leaves_the_handler_and_unbinds(
    solo_task: Task, event: str
) -> None:
    reached: list[str] = []

    def kill(*args: Any) -> None:
        reached.append("before")
        task_self().abort(kill=True)
        reached.append("after")

    seen = Recorder(**{event: kill})
    if event == "timer":
        solo_task.timer(0.2, seen)
    port = solo_task.port(seen)
    if event == "msg":
        port.msg_send("now")
    tail = "true" if event in ("hup", "close") else "sleep 60"
    solo_task.shell(f"echo x; {tail}", handler=seen)
    with within(20):
        solo_task.resume()
    assert reached == ["before"]
    assert solo_task.running() is None and task_self() is not solo_task
    assert port.msg_send("late") is False
    assert task_self().run("echo again").read() == b"again"


def test_an_abort_of_an_exited_command_reports_its_code(solo_task: Task) -> None:
    def late(worker: Any, node: Any, sname: str, msg: bytes) -> None:
        assert eventually(lambda: not psutil.pid_exists(int(msg)))
        worker.abort()

    seen = Recorder(read=late)
    worker = solo_task.shell("echo $$; exit 3", key="k", handler=seen)
    solo_task.resume()
    assert seen.rcs() == {"k": 3} and seen.closes() == [False] and seen.names()[-1] == "close"
    assert worker.retcode() == 3 == solo_task.max_retcode()


def test_an_abort_ends_the_wait_for_the_output_of_an_exited_command(
    solo_task: Task, pid_file: Path
) -> None:
    def late(worker: Any, node: Any, sname: str, msg: bytes) -> None:
        assert eventually(lambda: not psutil.pid_exists(int(msg)))
        worker.abort()

    seen = Recorder(read=late)
    solo_task.shell(f"sleep 60 & echo $! >> {pid_file}; echo $$; exit 5", key="k", handler=seen)
    solo_task.resume()
    assert seen.rcs() == {"k": 5} and seen.closes() == [False]
    # It ended by itself: the abort does not end processes that it has left behind.
    assert all(map(alive, read_pids(pid_file)))


def test_join_of_a_task_that_has_ended_or_was_killed_returns(thread_task: Task) -> None:
    thread_task.run("echo x", key="k")
    with within(20):
        for _ in range(3):
            thread_task.join()
    assert thread_task.key_buffer("k") == b"x"
    thread_task.abort(kill=True)
    with within(20):
        thread_task.join()
        thread_task.join()


def test_join_of_the_own_task_after_its_run_returns(solo_task: Task) -> None:
    solo_task.run("true")
    with within(20):
        solo_task.join()


def test_a_killed_task_runs_neither_yes_nor_no(solo_task: Task) -> None:
    assert solo_task.running() is False
    solo_task.abort(kill=True)
    assert solo_task.running() is None


def test_a_worker_is_not_scheduled_again_after_its_end(thread_task: Task) -> None:
    own = task_self()
    workers: list[Any] = [
        own.shell("echo x"),
        ExecWorker("n1", command="echo x"),
        StreamWorker(None),
    ]
    for worker in workers[1:]:
        own.schedule(worker)
    own.resume()
    for worker in workers:
        for other in (own, thread_task):
            with pytest.raises(WorkerError, match="scheduled"):
                other.schedule(worker)
    workers[2].abort()


def test_tasks_have_results_of_their_own(thread_task: Task) -> None:
    own = task_self()
    mine = ExecWorker("n1", command="echo mine")
    theirs = ExecWorker("n1", command="echo theirs; exit 4")
    own.schedule(mine)
    thread_task.schedule(theirs)
    thread_task.resume()
    own.resume()
    thread_task.join()
    assert (mine.node_buffer("n1"), theirs.node_buffer("n1")) == (b"mine", b"theirs")
    assert (own.max_retcode(), thread_task.max_retcode()) == (0, 4)


# -- nodes and workers ------------------------------------------------------------------------------


def test_the_local_worker_may_be_given_as_a_class(solo_task: Task) -> None:
    class Mine(ExecWorker):
        pass

    solo_task.set_default("local_worker", Mine)
    worker = solo_task.shell("echo %h", nodes="n[1-2]", remote=False)
    solo_task.resume()
    assert type(worker) is Mine and folded(worker.iter_buffers()) == {b"n1": ["n1"], b"n2": ["n2"]}
    assert type(solo_task.run("echo x")) is WorkerPopen


def test_all_forms_of_the_placeholder_of_the_whole_set(task: Task) -> None:
    worker = ExecWorker("n[1-3]", command="echo %hosts %{hosts}")
    task.schedule(worker)
    task.resume()
    assert folded(worker.iter_buffers()) == {b"n[1-3] n[1-3]": ["n1", "n2", "n3"]}


def test_words_of_the_text_of_match_keys_of_retcodes(solo_task: Task) -> None:
    """A text is searched for the names of the nodes."""
    worker = ExecWorker("n[1-4]", command="exit %n")
    solo_task.schedule(worker)
    solo_task.resume()
    found = {rc: str(nodes) for rc, nodes in worker.iter_retcodes("n2,n4")}
    assert found == {1: "n2", 3: "n4"}
    assert all(isinstance(nodes, NodeSet) for _, nodes in worker.iter_retcodes("n2"))


def test_codes_of_streams_do_not_count_beside_those_of_commands(solo_task: Task) -> None:
    read, write = os.pipe()
    os.close(write)
    stream = StreamWorker(None)
    stream.set_reader("stdout", read)
    solo_task.schedule(stream)
    solo_task.run("exit 2", key="k")
    assert solo_task.max_retcode() == 2
    assert [(rc, keys) for rc, keys in solo_task.iter_retcodes()] == [(2, ["k"])]


@pytest.mark.parametrize("worker_class", [ExecWorker, WorkerSsh, WorkerRsh, WorkerPdsh])
def test_an_unknown_keyword_of_each_worker_is_named(worker_class: Any) -> None:
    assert issubclass(worker_class, DistantWorker)
    with pytest.raises(TypeError, match="tiemout"):
        worker_class("n1", command="true", tiemout=3)


@pytest.mark.parametrize("call", ["copy", "rcopy", "timer", "port", "resume", "shell", "abort"])
def test_an_unknown_keyword_of_each_call_is_named(
    solo_task: Task, call: str, tmp_path: Path
) -> None:
    args: dict[str, tuple[Any, ...]] = {
        "copy": ("/etc/hosts", tmp_path / "x", "n1"),
        "rcopy": ("/etc/hosts", tmp_path, "n1"),
        "timer": (1, EventHandler()),
        "shell": ("true",),
    }
    with pytest.raises(TypeError, match="oops"):
        getattr(solo_task, call)(*args.get(call, ()), oops=1)
    solo_task.resume()
    assert solo_task.max_retcode() is None


def test_a_bad_placeholder_of_a_copy_is_an_error_of_the_run(solo_task: Task, marks: Marks) -> None:
    solo_task.set_default("distant_workername", "exec")
    solo_task.copy("/etc/hosts", marks.path.parent / "%x", "n1")
    with pytest.raises(WorkerError, match="%x"):
        solo_task.resume()
    assert solo_task.run("echo on").read() == b"on"


@pytest.mark.parametrize("timeout", [None, -1])
def test_no_timeout_at_all(solo_task: Task, timeout: Any) -> None:
    workers = [
        WorkerPopen("sleep 0.1; echo x", timeout=timeout),
        ExecWorker("n1", command="sleep 0.1; echo x", timeout=timeout),
    ]
    for worker in workers:
        solo_task.schedule(worker)
    solo_task.resume(timeout)
    assert solo_task.num_timeout() == 0 and solo_task.max_retcode() == 0


# -- settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ssh", "rsh", "scp"])
def test_a_tilde_in_path_and_options_is_the_home(
    solo_task: Task, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "tool"
    tool.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    solo_task.set_info(f"{kind}_path", "~/tool -C")
    solo_task.set_info(f"{kind}_options", "-F ~/conf 'two words'")
    solo_task.set_default("distant_workername", "rsh" if kind == "rsh" else "ssh")
    worker: Any
    if kind == "scp":
        worker = solo_task.copy("/etc/hosts", "/x", "n1")
    else:
        worker = solo_task.shell("true", nodes="n1")
    solo_task.resume()
    words = worker.node_buffer("n1").decode().split("\n")
    assert words[:4] == ["-C", "-F", f"{tmp_path}/conf", "two words"]


# -- streams ----------------------------------------------------------------------------------------


def test_an_unterminated_line_is_not_reported_at_an_abort(solo_task: Task) -> None:
    read, write = os.pipe()
    os.write(write, b"part")
    seen = Recorder()
    worker = StreamWorker(seen)
    worker.set_reader("stdout", read)
    solo_task.schedule(worker)
    solo_task.timer(0.2, Recorder(timer=lambda timer: worker.abort()))
    solo_task.resume()
    os.close(write)
    assert seen.lines() == [] and seen.closes() == [False]


def test_streams_are_not_set_while_it_runs(solo_task: Task) -> None:
    read, write = os.pipe()
    os.write(write, b"x\n")
    os.close(write)
    refused: list[str] = []

    def late(worker: Any, *rest: Any) -> None:
        for call in (worker.set_reader, worker.set_writer):
            with pytest.raises(WorkerError):
                call("more", 0)
            refused.append(call.__name__)

    worker = StreamWorker(Recorder(start=late))
    worker.set_reader("stdout", read)
    solo_task.schedule(worker)
    solo_task.resume()
    assert refused == ["set_reader", "set_writer"] and worker.read() == b"x"


def test_worker_simple_keeps_the_files_alive(solo_task: Task) -> None:
    read, write = os.pipe()
    back, answer = os.pipe()
    os.write(write, b"read\n")
    os.close(write)
    worker = WorkerSimple(os.fdopen(read, "rb", 0), os.fdopen(answer, "wb", 0), None, "k", None)
    gc.collect()
    worker.write(b"written")
    worker.set_write_eof()
    solo_task.schedule(worker)
    gc.collect()
    solo_task.resume()
    assert worker.read() == b"read" and os.read(back, 10) == b"written"
    os.close(back)


def test_current_node_of_a_worker_simple_stays_none(solo_task: Task) -> None:
    read, write = os.pipe()
    os.write(write, b"x\n")
    os.close(write)
    nodes: list[Any] = []

    def note(worker: Any, *rest: Any) -> None:
        nodes.append(worker.current_node)

    seen = Recorder(**dict.fromkeys(EVENTS, note))
    worker = WorkerSimple(os.fdopen(read, "rb"), None, None, "k", seen)
    solo_task.schedule(worker)
    solo_task.resume()
    assert nodes == [None] * 5 and seen.nodes("read") == ["k"]


def test_an_old_handler_of_a_stream_is_warned_of_each_method(solo_task: Task) -> None:
    got: list[str] = []
    names = ["start", "pickup", "read", "hup", "timeout", "close"]
    source = "\n".join(f"def ev_{name}(self, worker): got.append({name!r})" for name in names)
    namespace: dict[str, Any] = {"got": got}
    exec(source, namespace)  # methods with one argument each
    methods = {name: method for name, method in namespace.items() if name.startswith("ev_")}
    read, write = os.pipe()
    os.write(write, b"x\ny\n")
    worker = StreamWorker(type("Old", (EventHandler,), methods)(), key="k", timeout=0.3)
    worker.set_reader("stdout", read)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solo_task.schedule(worker)
        solo_task.resume()
    os.close(write)
    assert sorted(got) == sorted([*names, "read"]) and got[:2] == ["start", "pickup"]
    assert got[-1] == "close"
    assert [one.category for one in caught] == [DeprecationWarning] * 6


# -- ports ------------------------------------------------------------------------------------------


def test_msg_returns_when_the_message_is_taken_and_not_before(
    thread_task: Task, in_thread: InThread
) -> None:
    port = thread_task.port(Recorder(msg=lambda port, msg: thread_task.remove_port(port)))
    results: list[Any] = []
    sender = in_thread(lambda: results.append(port.msg("hello")))
    sender.join(0.3)
    assert sender.is_alive() and results == []
    thread_task.resume()
    assert eventually(lambda: results == [True])
    thread_task.join()
    assert port.msg("late") is False
