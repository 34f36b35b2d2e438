"""Single promises of the API that no other file shows by themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import Mock

import pytest

from mpshell import (
    EventHandler,
    ExecWorker,
    NodeSetException,
    StreamWorker,
    Task,
    TaskError,
    TimeoutError,
    WorkerPdsh,
    WorkerPopen,
    WorkerRsh,
    WorkerSsh,
)
from tests.support import eventually
from tests.system.recorder import Recorder

InThread = Callable[..., threading.Thread]


# -- handlers ---------------------------------------------------------------------------------------


def test_the_form_of_a_handler_is_found_once_not_per_line(solo_task: Task) -> None:
    looked_up: list[str] = []

    class Watched(EventHandler):
        lines: ClassVar[list[bytes]] = []

        def __getattribute__(self, name: str) -> Any:
            looked_up.append(name)
            return super().__getattribute__(name)

        def ev_read(self, worker: Any, node: Any, sname: str, msg: bytes) -> None:
            Watched.lines.append(msg)

        def ev_hup(self, worker: Any, node: Any, rc: int | None) -> None:
            pass

    solo_task.run("seq 500", nodes="n[1-20]", remote=False, handler=Watched())
    assert len(Watched.lines) == 10_000
    assert looked_up.count("ev_read") < 10 and looked_up.count("ev_hup") < 10


def test_methods_of_a_handler_may_be_any_callable(solo_task: Task) -> None:
    got: list[Any] = []

    class Handler(EventHandler):
        @staticmethod
        def ev_read(worker: Any, node: Any, sname: str, msg: bytes) -> None:
            got.append((node, sname, msg))

        @classmethod
        def ev_hup(cls, worker: Any, node: Any, rc: int | None) -> None:
            got.append((node, rc))

        def ev_close(self, worker: Any, timedout: bool = True) -> None:
            got.append(timedout)

    handler: Any = Handler()
    handler.ev_pickup = partial(lambda *args: got.append((args[0], args[2])), "partial")
    solo_task.run("echo x; exit 3", key="k", handler=handler)
    assert got == [("partial", "k"), ("k", "stdout", b"x"), ("k", 3), False]


def test_a_mock_is_a_handler(solo_task: Task) -> None:
    mock = Mock()
    worker = solo_task.run("echo x; exit 3", key="k", handler=mock)
    mock.ev_start.assert_called_once_with(worker)
    mock.ev_read.assert_called_once_with(worker, "k", "stdout", b"x")
    mock.ev_hup.assert_called_once_with(worker, "k", 3)
    mock.ev_close.assert_called_once_with(worker, False)


# -- engines ----------------------------------------------------------------------------------------


def test_engines_are_kept_from_run_to_run(solo_task: Task) -> None:
    solo_task.set_info("engines", 1)
    parents = {solo_task.run("echo $PPID").read() for _ in range(5)}
    assert len(parents) == 1


def test_command_timeout_holds_for_rsh(solo_task: Task, tmp_path: Path) -> None:
    tool = tmp_path / "rsh"
    tool.write_text("#!/bin/sh\necho begun\nexec sleep 60\n")
    tool.chmod(0o755)
    solo_task.set_info("rsh_path", str(tool))
    solo_task.set_info("command_timeout", 0.5)
    worker = WorkerRsh("n[1-2]", command="true")
    solo_task.schedule(worker)
    solo_task.resume()
    assert sorted(worker.iter_keys_timeout()) == ["n1", "n2"] and worker.did_timeout()


# -- tasks of threads -------------------------------------------------------------------------------


def test_the_thread_of_a_task_waits_for_its_first_run(thread_task: Task) -> None:
    assert thread_task.thread.is_alive() and not thread_task.thread.daemon
    assert thread_task.running() is False
    thread_task.shell("echo x", key="k")
    assert thread_task.key_buffer("k") == b""
    thread_task.resume()
    thread_task.join()
    assert thread_task.key_buffer("k") == b"x" and thread_task.thread.is_alive()


def test_the_timeout_of_a_run_of_a_thread_task_goes_to_its_hook(thread_task: Task) -> None:
    caught: list[type] = []
    thread_task.excepthook = lambda kind, value, tb: caught.append(kind)
    seen = Recorder()
    thread = thread_task.thread
    thread_task.shell("sleep 60", key="k", handler=seen)
    thread_task.resume(3)
    thread_task.join()
    thread.join(20)
    assert caught == [TimeoutError] and not thread.is_alive()
    assert seen.closes() == [True] and not seen.of("hup")
    assert list(thread_task.iter_keys_timeout()) == ["k"]


def test_input_written_by_another_thread_arrives(task: Task, in_thread: InThread) -> None:
    seen = Recorder()
    worker = ExecWorker("n[1-6]", seen, command="cat")

    def feed() -> None:
        if eventually(lambda: seen.count("pickup") == 6, 20):
            for number in range(200):
                worker.write(b"%d\n" % number)
        worker.set_write_eof()

    task.schedule(worker)
    in_thread(feed)
    task.resume()
    expected = b"\n".join(b"%d" % number for number in range(200))
    assert [(bytes(elem), str(nodes)) for elem, nodes in worker.iter_buffers()] == [
        (expected, "n[1-6]")
    ]


def test_a_worker_aborted_by_another_thread_leaves_the_others(
    task: Task, in_thread: InThread
) -> None:
    seen = Recorder()
    doomed = ExecWorker("n[1-4]", seen, command="sleep 60")
    other = ExecWorker("m[1-4]", command="sleep 0.3; echo x")
    task.schedule(doomed)
    task.schedule(other)

    def abort() -> None:
        eventually(lambda: seen.count("pickup") == 4, 20)
        doomed.abort()

    in_thread(abort)
    task.resume()
    assert seen.closes() == [False] and not seen.of("hup")
    assert dict(other.iter_node_retcodes()) == {f"m{i}": 0 for i in range(1, 5)}


# -- timers and ports -------------------------------------------------------------------------------


def test_a_timer_and_a_port_show_how_they_were_made(solo_task: Task) -> None:
    seen = Recorder()
    timer = solo_task.timer(60, seen, interval=2.5, autoclose=True)
    assert (timer.fire_delay, timer.interval, timer.autoclose, timer.eh) == (60, 2.5, True, seen)
    port = solo_task.port(seen, autoclose=True)
    assert port.autoclose is True and port.eh is seen
    timer.invalidate()
    solo_task.remove_port(port)


# -- bad input --------------------------------------------------------------------------------------

WORKERS: dict[str, Callable[..., Any]] = {
    "popen": lambda **options: WorkerPopen("true", **options),
    "exec": lambda **options: ExecWorker("n1", command="true", **options),
    "ssh": lambda **options: WorkerSsh("n1", command="true", **options),
    "rsh": lambda **options: WorkerRsh("n1", command="true", **options),
    "pdsh": lambda **options: WorkerPdsh("n1", command="true", **options),
    "stream": lambda **options: StreamWorker(**{"handler": None, **options}),
}


@pytest.mark.parametrize("kind", WORKERS)
def test_a_bad_option_of_each_worker_is_named_when_it_is_made(kind: str) -> None:
    make = WORKERS[kind]
    for options, error, text in (
        ({"handler": "nobody"}, TypeError, "nobody"),
        ({"handler": 57}, TypeError, "57"),
        ({"timeout": -57}, ValueError, "-57"),
        ({"timeout": "soon"}, (TypeError, ValueError), "soon"),
        ({"handlr": None}, TypeError, "handlr"),
    ):
        with pytest.raises(error, match=text):
            make(**options)


def test_a_bad_copy_is_an_error_at_the_call(solo_task: Task, tmp_path: Path) -> None:
    for copy in (solo_task.copy, solo_task.rcopy):
        with pytest.raises(NodeSetException, match=r"n\[1-"):
            copy("/etc/hosts", tmp_path, "n[1-")
        with pytest.raises(ValueError, match="-57"):
            copy("/etc/hosts", tmp_path, "n1", timeout=-57)
        with pytest.raises(TypeError, match="57"):
            copy("/etc/hosts", tmp_path, "n1", handler=57)
    solo_task.run("true")
    assert solo_task.max_retcode() == 0, "none of the copies has been left to the run"


def test_a_run_asked_for_while_the_task_ends_holds_nobody_up(
    thread_task: Task, in_thread: InThread
) -> None:
    hooked, resumed = threading.Event(), threading.Event()

    def fail(*args: Any) -> None:
        raise RuntimeError("from a handler")

    def hook(*args: Any) -> None:
        hooked.set()
        resumed.wait(20)

    thread_task.excepthook = hook
    thread_task.shell("echo x", key="x", handler=Recorder(read=fail))
    thread_task.resume()
    assert hooked.wait(20)
    thread_task.resume()
    resumed.set()
    joiner = in_thread(thread_task.join)
    joiner.join(20)
    assert not joiner.is_alive()
    with pytest.raises(TaskError):
        thread_task.resume()


@pytest.mark.parametrize("kill", [True, False])
def test_a_run_that_is_aborted_before_it_begins_holds_nobody_up(
    kill: bool, in_thread: InThread
) -> None:
    for _ in range(50):
        task = Task()
        task.shell("sleep 60")
        task.resume()
        task.abort(kill)
        joiner = in_thread(task.join)
        for thread in (joiner, task.thread):
            thread.join(20)
            assert not thread.is_alive()
