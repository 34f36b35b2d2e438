"""StreamWorker and WorkerSimple: the caller's own file objects and descriptors."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell import StreamWorker, Task, TaskMsgTreeError, WorkerError, WorkerSimple
from mpshell.compat.Worker.Worker import StreamWorker as SameStreamWorker
from tests.system.recorder import Recorder


def run(task: Task, worker: StreamWorker) -> StreamWorker:
    task.schedule(worker)
    task.resume()
    return worker


def is_open(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def test_lines_of_a_pipe_are_told_and_recorded(solo_task: Task, pipes: Any) -> None:
    read, write = pipes()
    os.write(write, b"one\ntwo\r\n\nlast")
    os.close(write)
    seen = Recorder()
    worker = StreamWorker(seen, key="it")
    assert SameStreamWorker is StreamWorker
    worker.set_reader("stdout", read)
    run(solo_task, worker)
    lines = [b"one", b"two", b"", b"last"]
    assert seen.events == [
        ("start",),
        ("pickup", "it"),
        *(("read", "it", "stdout", line) for line in lines),
        ("hup", "it", None),
        ("close", False),
    ]
    assert seen.workers == {worker}
    assert worker.read() == b"one\ntwo\n\nlast" == solo_task.key_buffer("it")
    assert solo_task.max_retcode() is None
    assert not is_open(read)


def test_several_named_streams_are_kept_apart(solo_task: Task, pipes: Any) -> None:
    solo_task.set_default("first_msgtree", True)
    seen = Recorder()
    worker = StreamWorker(handler=seen)
    for name in ("first", "second"):
        read, write = pipes()
        os.write(write, name.encode())
        os.close(write)
        worker.set_reader(name, read)
    run(solo_task, worker)
    assert worker.read(sname="first") == b"first"
    with pytest.raises(TaskMsgTreeError, match="second"):
        worker.read(sname="second")
    assert sorted(seen.of("read")) == sorted(
        ("read", worker, name, name.encode()) for name in ("first", "second")
    )


@pytest.mark.parametrize("key", [0, "", ("a", 1)])
def test_any_hashable_is_a_key(key: Any, solo_task: Task, pipes: Any) -> None:
    read, write = pipes()
    os.write(write, b"x\n")
    os.close(write)
    worker = StreamWorker(None)
    worker.set_key(key)
    worker.set_reader("stdout", read)
    run(solo_task, worker)
    assert solo_task.key_buffer(key) == b"x" == worker.read() == worker.read(key)


def test_written_data_arrives_and_is_reported(solo_task: Task, pipes: Any) -> None:
    read, write = pipes()
    data = bytes(range(256)) * 2000  # more than a pipe holds
    seen = Recorder()
    worker = StreamWorker(seen, key="w")
    worker.set_writer("in", write)
    worker.write(data[:1000], sname="in")
    worker.write(data[1000:])
    worker.set_write_eof()
    worker.write(b"too late")
    reader = subprocess.Popen(["sha1sum"], stdin=read, stdout=subprocess.PIPE)
    os.close(read)
    run(solo_task, worker)
    received = reader.communicate(timeout=20)[0]
    expected = subprocess.run(["sha1sum"], input=data, capture_output=True, check=True).stdout
    assert received == expected
    assert sum(event[3] for event in seen.of("written")) == len(data)
    assert {event[2] for event in seen.of("written")} == {"in"}
    assert not is_open(write)


def test_a_handler_answers_on_another_stream(solo_task: Task, pipes: Any) -> None:
    (read, write), (back, answer) = pipes(), pipes()
    os.write(write, b"ping\n")

    def reply(worker: StreamWorker, *_: Any) -> None:
        worker.write(b"pong\n", "out")
        worker.set_write_eof("out")
        os.close(write)

    worker = StreamWorker(Recorder(read=reply))
    worker.set_reader("in", read)
    worker.set_writer("out", answer)
    run(solo_task, worker)
    assert os.read(back, 100) == b"pong\n"


def test_a_reader_that_is_gone_ends_a_stream_without_an_error(solo_task: Task, pipes: Any) -> None:
    read, write = pipes()
    os.close(read)
    seen = Recorder()
    worker = StreamWorker(seen)
    worker.set_writer("w", write)
    worker.write(b"nobody")
    run(solo_task, worker)
    assert seen.names() == ["start", "pickup", "hup", "close"]
    worker.write(b"after the end")
    worker.set_write_eof("w")


@pytest.mark.parametrize("closefd", [True, False])
def test_closefd(closefd: bool, solo_task: Task, pipes: Any) -> None:
    read, write = pipes()
    os.close(write)
    worker = StreamWorker(None)
    worker.set_reader("x", read, closefd=closefd)
    run(solo_task, worker)
    assert is_open(read) is not closefd


@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_a_stream_that_does_not_retain(kind: str, solo_task: Task, pipes: Any) -> None:
    """Its worker ends without it, and closes it."""
    ends, (read, write) = pipes(), pipes()
    os.write(write, b"x\n")
    os.close(write)
    seen = Recorder()
    worker = StreamWorker(seen)
    held = ends[kind == "writer"]
    getattr(worker, f"set_{kind}")("held", held, retain=False)
    worker.set_reader("read", read)
    run(solo_task, worker)
    assert seen.closes() == [False] and seen.lines() == [b"x"]
    assert not is_open(held)


def test_a_timeout_flushes_the_last_line(solo_task: Task, pipes: Any) -> None:
    read, write = pipes()
    os.write(write, b"whole\npart")
    seen = Recorder()
    worker = StreamWorker(seen, key="k", timeout=0.3)
    worker.set_reader("stdout", read)
    run(solo_task, worker)
    assert seen.lines() == [b"whole", b"part"]
    assert seen.of("hup") == [("hup", "k", None)] and seen.closes() == [True]
    assert worker.did_timeout() and list(solo_task.iter_keys_timeout()) == ["k"]


def test_an_abort_reports_no_more_lines(solo_task: Task, pipes: Any) -> None:
    read, write = pipes()
    os.write(write, b"one\ntwo\npart")
    seen = Recorder(read=lambda worker, *_: worker.abort())
    worker = StreamWorker(seen)
    worker.set_reader("stdout", read)
    run(solo_task, worker)
    assert seen.lines() == [b"one"] and seen.closes() == [False]
    worker.abort()


def test_without_a_stream_it_does_not_run_and_holds_nobody_up(solo_task: Task) -> None:
    worker = StreamWorker(Recorder(), timeout=0.1)
    run(solo_task, worker)
    solo_task.run("true")
    worker.abort()
    solo_task.resume()
    assert worker.eh.names() == [] and not worker.started


def test_without_a_stream_it_waits_for_one(solo_task: Task, pipes: Any) -> None:
    read, write = pipes()
    worker = StreamWorker(Recorder(), key="k")
    run(solo_task, worker)
    worker.set_reader("stdout", read)
    os.write(write, b"at last")
    os.close(write)
    solo_task.resume()
    assert solo_task.key_buffer("k") == b"at last" and worker.eh.closes() == [False]


def test_it_takes_no_slot_of_the_fanout(solo_task: Task, pipes: Any) -> None:
    read, write = pipes()
    solo_task.set_info("fanout", 1)
    worker = StreamWorker(None)
    worker.set_reader("stdout", read)
    solo_task.schedule(worker)
    solo_task.shell("true", key="c", handler=Recorder(hup=lambda *_: os.close(write)))
    solo_task.resume()
    assert solo_task.key_retcode("c") == 0


def test_an_autoclose_worker_keeps_nothing_running(solo_task: Task, pipes: Any) -> None:
    read, _write = pipes()
    worker = StreamWorker(Recorder(), autoclose=True)
    worker.set_reader("stdout", read)
    solo_task.schedule(worker)
    solo_task.run("true")
    assert worker.eh.closes() == [False]


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_regular_files_can_be_read(size: int, solo_task: Task, tmp_path: Path) -> None:
    line = b"x" * 99 + b"\n"
    path = tmp_path / "file"
    path.write_bytes(line * (size // 100) + b"y" * (size % 100))
    worker = StreamWorker(None)
    with path.open("rb") as file:
        worker.set_reader("stdout", file)
        run(solo_task, worker)
        assert file.closed
    assert (worker.read() or b"").rstrip(b"\n") == path.read_bytes().rstrip(b"\n")


def test_regular_files_can_be_written(solo_task: Task, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        worker = StreamWorker(None)
        worker.set_writer("w", file)
        worker.write(b"data" * 100_000)
        worker.set_write_eof()
        run(solo_task, worker)
    assert (tmp_path / "out").read_bytes() == b"data" * 100_000


def test_a_terminal_ends_when_its_other_side_is_closed(solo_task: Task) -> None:
    ours, theirs = pty.openpty()
    os.write(theirs, b"typed\n")
    seen = Recorder(read=lambda *_: os.close(theirs))
    worker = StreamWorker(seen)
    worker.set_reader("tty", ours)
    run(solo_task, worker)
    assert seen.lines() == [b"typed"] and not is_open(ours)


def test_a_socket_is_read_and_written(solo_task: Task) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"hello\n")
    worker = StreamWorker(
        Recorder(read=lambda worker, *_: (worker.write(b"bye"), worker.set_write_eof()))
    )
    worker.set_reader("in", ours, closefd=False)
    worker.set_writer("out", ours, closefd=False)
    worker.eh._actions["written"] = lambda *_: theirs.shutdown(socket.SHUT_WR)
    run(solo_task, worker)
    assert theirs.recv(100) == b"bye"
    ours.close()
    theirs.close()


@pytest.mark.parametrize("blocking", [True, False])
def test_the_flags_of_a_descriptor_stay(blocking: bool, solo_task: Task, pipes: Any) -> None:
    read, write = pipes()
    os.set_blocking(read, blocking)
    states = []

    def look(*_: Any) -> None:
        states.append(os.get_blocking(read))
        os.close(write)

    os.write(write, b"x\n")
    worker = StreamWorker(Recorder(read=look))
    worker.set_reader("stdout", read, closefd=False)
    run(solo_task, worker)
    assert states == [blocking] and os.get_blocking(read) is blocking


def test_very_long_lines_are_whole(solo_task: Task, tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"z" * 5_000_000 + b"\nend\n")
    seen = Recorder()
    worker = StreamWorker(seen)
    worker.set_reader("stdout", os.open(tmp_path / "long", os.O_RDONLY))
    run(solo_task, worker)
    assert [len(line) for line in seen.lines()] == [5_000_000, 3]
    assert len(worker.read() or b"") == 5_000_004


def test_streams_and_key_are_set_before_the_run_only(solo_task: Task, pipes: Any) -> None:
    read, write = pipes()
    os.close(write)
    worker = StreamWorker(None)
    worker.set_reader("stdout", read)
    run(solo_task, worker)
    calls: list[Callable[[], object]] = [
        lambda: worker.set_reader("x", 0),
        lambda: worker.set_writer("x", 0),
        lambda: worker.set_key("k"),
    ]
    for call in calls:
        with pytest.raises(WorkerError):
            call()


def test_bad_streams_are_refused(pipes: Any) -> None:
    read, _ = pipes()
    worker = StreamWorker(None)
    with pytest.raises(TypeError, match="object"):
        worker.set_reader("x", object())
    with pytest.raises(ValueError, match="-1"):
        worker.set_reader("x", -1)
    worker.set_reader("x", read)
    with pytest.raises(WorkerError, match="'x'"):
        worker.set_writer("x", 1)
    with pytest.raises(WorkerError, match=str(read)):
        worker.set_reader("y", read)
    with pytest.raises(WorkerError, match="'z'"):
        worker.write(b"", sname="z")
    with pytest.raises(WorkerError, match="'z'"):
        worker.set_write_eof("z")


def test_a_handler_that_raises_ends_the_run_and_closes(solo_task: Task, pipes: Any) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no")

    read, write = pipes()
    os.write(write, b"x\n")
    seen = Recorder(read=fail)
    worker = StreamWorker(seen)
    worker.set_reader("stdout", read)
    solo_task.schedule(worker)
    with pytest.raises(RuntimeError):
        solo_task.resume()
    assert seen.closes() == [False] and not is_open(read)


def test_worker_simple_serves_a_process_of_the_caller_s(solo_task: Task) -> None:
    child = subprocess.Popen(
        ["sh", "-c", "cat; echo oops >&2"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdin and child.stdout and child.stderr
    seen = Recorder()
    worker = WorkerSimple(child.stdout, child.stdin, child.stderr, "p", seen, stderr=True)
    assert worker.reader_fileno() == child.stdout.fileno()
    assert worker.writer_fileno() == child.stdin.fileno()
    assert worker.error_fileno() == child.stderr.fileno()
    worker.write(b"in\n")
    worker.set_write_eof()
    run(solo_task, worker)
    assert child.wait(20) == 0
    assert (worker.read(), worker.error(), worker.current_node) == (b"in", b"oops", None)
    assert ("read", "p", "stderr", b"oops") in seen.events


def test_a_thread_writes_and_aborts(thread_task: Task, pipes: Any) -> None:
    read, write = pipes()
    worker = StreamWorker(Recorder())
    worker.set_writer("w", write)
    thread_task.schedule(worker)
    thread_task.resume()
    worker.write(b"from afar")
    assert os.read(read, 100) == b"from afar"
    worker.abort()
    thread_task.join()
    assert worker.eh.closes() == [False]
