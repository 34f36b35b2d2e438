"""The recording of a Task: the `*_msgtree` defaults, stream names, set at any moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mpshell import ExecWorker, Task, TaskMsgTreeError
from tests.system.recorder import Recorder, folded

Sweep = Callable[..., ExecWorker]


def test_reading_an_unrecorded_stream_is_an_error_at_the_call(task: Task, sweep: Sweep) -> None:
    task.set_default("stdout_msgtree", False)
    seen = Recorder()
    sweep("n[1-3]", "echo x; echo y >&2", stderr=True, handler=seen)
    with pytest.raises(TaskMsgTreeError):
        task.iter_buffers()
    with pytest.raises(TaskMsgTreeError):
        task.key_buffer("n1")
    assert folded(task.iter_errors()) == {b"y": ["n1", "n2", "n3"]}
    assert sorted(seen.lines(sname="stdout")) == [b"x"] * 3
    assert task.max_retcode() == 0


def test_errors_may_be_left_unrecorded(task: Task, sweep: Sweep) -> None:
    task.set_default("stderr_msgtree", False)
    sweep("n[1-3]", "echo x; echo y >&2", stderr=True)
    with pytest.raises(TaskMsgTreeError):
        task.iter_errors()
    with pytest.raises(TaskMsgTreeError):
        task.key_error("n1")
    assert folded(task.iter_buffers()) == {b"x": ["n1", "n2", "n3"]}


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_recording_switched_on_after_the_run_finds_nothing(
    task: Task, sweep: Sweep, stream: str
) -> None:
    task.set_default(f"{stream}_msgtree", False)
    sweep("n1", "echo x; echo y >&2", stderr=True)
    task.set_default(f"{stream}_msgtree", True)
    assert list(task.iter_buffers() if stream == "stdout" else task.iter_errors()) == []


def test_reading_an_unrecorded_stream_of_a_worker_is_an_error_too(solo_task: Task) -> None:
    solo_task.set_default("stdout_msgtree", False)
    worker = ExecWorker("n1", None, command="echo foo >&2; echo bar", stderr=True)
    solo_task.schedule(worker)
    local = solo_task.shell("echo bar")
    solo_task.resume()
    asked: list[Callable[[], object]] = [
        worker.read,
        lambda: worker.node_buffer("n1"),
        lambda: list(worker.iter_buffers()),
        lambda: list(worker.iter_node_buffers()),
        local.read,
    ]
    for ask in asked:
        with pytest.raises(TaskMsgTreeError, match="stdout"):
            ask()
    assert worker.node_error("n1") == b"foo" and worker.node_retcode("n1") == 0
    worker.flush_buffers()


def test_recording_before_any_run_is_empty_not_an_error(solo_task: Task) -> None:
    assert list(solo_task.iter_buffers()) == [] == list(solo_task.iter_errors())
    solo_task.shell("true")
    assert list(solo_task.iter_buffers()) == []


def test_recording_switched_on_by_a_handler_counts_from_then_on(task: Task) -> None:
    def switch(worker: Any, *rest: Any) -> None:
        worker.task.set_default("stdout_msgtree", True)
        worker.task.schedule(ExecWorker("m1", None, command="echo second"))

    task.set_default("stdout_msgtree", False)
    assert task.default("stdout_msgtree") is False
    task.schedule(ExecWorker("n1", Recorder(read=switch), command="echo first"))
    task.resume()
    assert folded(task.iter_buffers())[b"second"] == ["m1"]


def test_recording_switched_off_by_a_handler_counts_from_then_on(task: Task) -> None:
    def switch(worker: Any, *rest: Any) -> None:
        worker.task.set_default("stdout_msgtree", False)
        worker.task.schedule(ExecWorker("m1", None, command="echo second"))

    task.schedule(ExecWorker("n1", Recorder(read=switch), command="echo first"))
    task.resume()
    assert folded(task.iter_buffers()) == {b"first": ["n1"]}


def test_a_stream_of_another_name_is_not_recorded(task: Task) -> None:
    seen = Recorder()
    worker = ExecWorker("n1", seen, command="echo foo >&2; echo bar", stderr=True)
    worker.SNAME_STDOUT = "dummy-stdout"
    task.schedule(worker)
    task.resume()
    assert list(task.iter_buffers()) == []
    assert folded(task.iter_errors()) == {b"foo": ["n1"]}
    with pytest.raises(TaskMsgTreeError, match="dummy-stdout"):
        worker.read("n1", "dummy-stdout")
    assert seen.lines(sname="dummy-stdout") == [b"bar"]


def test_a_stream_of_another_name_is_recorded_when_asked_for(solo_task: Task) -> None:
    solo_task.set_default("log_msgtree", True)
    worker = solo_task.shell("echo bar")
    worker.SNAME_STDOUT = "log"
    solo_task.resume()
    assert worker.read(sname="log") == b"bar" and worker.read() is None


def test_stream_names_of_a_worker(solo_task: Task) -> None:
    worker = ExecWorker("n1", None, command="true")
    names = (worker.SNAME_STDIN, worker.SNAME_STDOUT, worker.SNAME_STDERR)
    assert names == ("stdin", "stdout", "stderr")


def test_stderr_is_merged_in_order_unless_asked_for(task: Task, sweep: Sweep) -> None:
    command = "echo 1; echo 2 >&2; echo 3; echo 4 >&2"
    merged = Recorder()
    worker = sweep("n[1-3]", command, handler=merged)
    for node in ("n1", "n2", "n3"):
        assert merged.lines(node, "stdout") == [b"1", b"2", b"3", b"4"]
        assert worker.node_error(node) is None and task.node_error(node) == b""
    apart = Recorder()
    worker = sweep("n[1-3]", command, handler=apart, stderr=True)
    for node in ("n1", "n2", "n3"):
        assert apart.lines(node, "stdout") == [b"1", b"3"]
        assert apart.lines(node, "stderr") == [b"2", b"4"]
        assert worker.node_error(node) == b"2\n4"


def test_stderr_default_of_the_task_and_its_override(solo_task: Task) -> None:
    solo_task.set_default("distant_worker", ExecWorker)
    solo_task.set_default("stderr", True)
    local = solo_task.shell("echo o; echo e >&2", key="local")
    distant = solo_task.shell("echo o; echo e >&2", nodes="n1")
    merged = solo_task.shell("echo o; echo e >&2", nodes="n2", stderr=False)
    solo_task.resume()
    assert local.read() == b"o" and solo_task.key_error("local") == b"e"
    assert distant.node_buffer("n1") == b"o" and distant.node_error("n1") == b"e"
    assert merged.node_buffer("n2") == b"o\ne" and merged.node_error("n2") is None


def test_recording_switched_by_a_handler_counts_from_the_next_line_on(task: Task) -> None:
    def switch(worker: Any, node: Any, sname: str, msg: bytes) -> None:
        if msg in (b"2", b"4"):
            task.set_default("stdout_msgtree", msg == b"4")

    worker = ExecWorker("n1", Recorder(read=switch), command="printf '1\\n2\\n3\\n4\\n5\\n'")
    task.schedule(worker)
    task.resume()
    assert worker.node_buffer("n1") == b"1\n2\n5" == task.node_buffer("n1")


def test_what_was_recorded_stays_when_recording_is_switched_off(task: Task, sweep: Sweep) -> None:
    worker = sweep("n[1-3]", "echo x")
    task.set_default("stdout_msgtree", False)
    assert worker.node_buffer("n2") == b"x" == task.node_buffer("n2")
    assert (
        folded(task.iter_buffers()) == {b"x": ["n1", "n2", "n3"]} == folded(worker.iter_buffers())
    )
