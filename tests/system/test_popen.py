"""Local commands: the worker's attributes, keys, codes; autoclose."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mpshell import ExecWorker, Task, WorkerPopen
from tests.support import eventually
from tests.system.recorder import Marks, Recorder, alive, read_pids, until


def test_command_and_key_are_kept_as_given(solo_task: Task) -> None:
    keyed = solo_task.shell("echo ok", key="ok")
    plain = WorkerPopen("echo foo")
    zero = WorkerPopen("echo zero", key=0)
    solo_task.schedule(plain)
    solo_task.schedule(zero)
    assert (keyed.key, plain.key, zero.key) == ("ok", None, 0)
    assert (keyed.command, plain.command) == ("echo ok", "echo foo")
    solo_task.resume()
    assert solo_task.key_buffer(0) == b"zero" and plain.read() == b"foo"
    assert plain.task is solo_task


def test_the_node_of_its_events_is_the_key_or_the_worker_itself(solo_task: Task) -> None:
    for key in ("k", None):
        seen = Recorder()
        worker = solo_task.shell("cat; exit 4", key=key, handler=seen)
        worker.write(b"abc\n")
        worker.set_write_eof()
        solo_task.resume()
        node = worker if key is None else key
        assert sorted(seen.events, key=lambda event: str(event[0])) == [
            ("close", False),
            ("hup", node, 4),
            ("pickup", node),
            ("read", node, "stdout", b"abc"),
            ("start",),
            ("written", node, "stdin", 4),
        ]
        assert seen.workers == {worker}


def test_current_node_of_a_local_command_stays_none(solo_task: Task) -> None:
    nodes: list[Any] = []

    def note(worker: Any, *rest: Any) -> None:
        nodes.append(worker.current_node)

    names = ("start", "pickup", "read", "written", "hup", "close")
    worker = solo_task.shell("cat", key="k", handler=Recorder(**dict.fromkeys(names, note)))
    worker.write(b"abc\n")
    worker.set_write_eof()
    solo_task.resume()
    assert nodes == [None] * 6


def test_retcode_is_none_until_the_end(solo_task: Task) -> None:
    codes: list[Any] = []
    seen = Recorder(read=lambda worker, *rest: codes.append(worker.retcode()))
    worker = solo_task.shell("echo x; exit 7", handler=seen)
    assert worker.retcode() is None
    solo_task.resume()
    assert codes == [None] and worker.retcode() == 7


def test_retcode_of_a_command_ended_by_a_signal(solo_task: Task) -> None:
    def end(worker: Any, node: Any, sname: str, msg: bytes) -> None:
        os.kill(int(msg), signal.SIGTERM)

    worker = solo_task.shell("echo $$; exec sleep 60", handler=Recorder(read=end))
    solo_task.resume()
    assert worker.retcode() == 128 + signal.SIGTERM


def test_retcode_is_none_after_timeout_and_abort(solo_task: Task) -> None:
    late = solo_task.shell("sleep 60", timeout=0.3)
    aborted = solo_task.shell(
        "echo x; sleep 60", handler=Recorder(read=lambda worker, *rest: worker.abort())
    )
    solo_task.resume()
    assert late.retcode() is None and aborted.retcode() is None
    assert late.did_timeout() and not aborted.did_timeout()


def test_a_key_may_be_set_before_the_run(solo_task: Task) -> None:
    solo_task.shell("echo foo", key="foo")
    worker = solo_task.shell("echo foobar")
    worker.set_key("bar")
    solo_task.resume()
    assert solo_task.key_buffer("bar") == b"foobar" and solo_task.key_buffer("foo") == b"foo"


def test_read_and_error_of_a_local_command(solo_task: Task) -> None:
    worker = solo_task.shell("printf 'foo\\nbar\\n' >&2; echo out", key="k", stderr=True)
    solo_task.resume()
    assert worker.read() == b"out" and worker.read(sname="stderr") == b"foo\nbar"
    assert worker.error() == b"foo\nbar" == solo_task.key_error("k")


def test_a_hundred_local_commands(solo_task: Task) -> None:
    workers = [solo_task.shell(f"echo {i}; exit {i}") for i in range(100)]
    solo_task.resume()
    assert [worker.read() for worker in workers] == [b"%d" % i for i in range(100)]
    assert [worker.retcode() for worker in workers] == list(range(100))
    assert solo_task.max_retcode() == 99


def test_local_and_distant_commands_in_one_run(solo_task: Task) -> None:
    solo_task.set_default("local_workername", "exec")
    local = solo_task.shell("echo local %h")
    distant = solo_task.shell("echo %h", nodes="n[1-3]", remote=False)
    solo_task.resume()
    assert local.read() == b"local %h" and distant.node_buffer("n3") == b"n3"


def test_an_autoclose_command_does_not_keep_the_task_running(
    solo_task: Task, pid_file: Path
) -> None:
    worker = solo_task.shell(f"echo $$ >> {pid_file}; sleep 60; uname", autoclose=True)
    solo_task.resume()
    assert worker.read() is None
    assert eventually(lambda: not any(alive(pid) for pid in read_pids(pid_file)), 20)


def test_a_running_autoclose_command_is_closed_at_the_end(
    solo_task: Task, pid_file: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    seen = Recorder(read=lambda *args: go.touch())
    worker = solo_task.shell(
        f"sleep 60 & echo $$ $! >> {pid_file}; echo x; sleep 60; :", autoclose=True, handler=seen
    )
    other = solo_task.shell(f"{until(go)}; echo ok")
    solo_task.resume()
    assert other.read() == b"ok" and worker.retcode() is None
    assert seen.names() == ["start", "pickup", "read", "close"]
    pids = read_pids(pid_file)
    assert len(pids) == 2
    assert eventually(lambda: not any(alive(pid) for pid in pids), 20)
    before = list(seen.events)
    solo_task.run("sleep 0.2")
    assert seen.events == before


def test_an_autoclose_command_that_ends_in_time_is_like_any_other(
    solo_task: Task, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    seen = Recorder(close=lambda *args: go.touch())
    quick = solo_task.shell("echo blah | cat; exit 3", autoclose=True, handler=seen)
    solo_task.shell(until(go))
    solo_task.resume()
    assert quick.read() == b"blah" and quick.retcode() == 3
    assert seen.names() == ["start", "pickup", "read", "hup", "close"]


def test_autoclose_of_nodes(task: Task, marks: Marks) -> None:
    seen = Recorder()
    worker = task.shell("echo x")
    worker._fanout = 1
    task.set_info("fanout", 2)
    task.schedule(ExecWorker("n[1-5]", seen, command=marks.command("sleep 60"), autoclose=True))
    task.shell("sleep 0.3")._fanout = 1
    task.resume()
    assert worker.read() == b"x" and set(marks.begun()) <= {"n1", "n2"}
    assert not seen.of("hup") and seen.names()[-1:] in ([], ["close"])


def test_the_names_of_streams_in_events(solo_task: Task) -> None:
    seen = Recorder()
    solo_task.shell("echo o; echo e >&2", key="k", stderr=True, handler=seen)
    solo_task.resume()
    assert sorted(seen.of("read")) == [
        ("read", "k", "stderr", b"e"),
        ("read", "k", "stdout", b"o"),
    ]


@pytest.mark.parametrize("count", [1, 50])
def test_a_task_can_be_run_many_times(solo_task: Task, count: int) -> None:
    for i in range(count):
        assert solo_task.run(f"echo {i}").read() == b"%d" % i
