"""Streams of a StreamWorker that do not end by themselves: their end is reported, with its events."""

from __future__ import annotations

import os
from typing import Any

import pytest

from mpshell import StreamWorker, Task, TimeoutError
from tests.system.recorder import Recorder


def test_the_time_of_the_task_is_over(solo_task: Task, pipes: Any) -> None:
    read, write = pipes()
    os.write(write, b"one\npart")
    seen = Recorder()
    worker = StreamWorker(seen, key="k")
    worker.set_reader("stdout", read)
    solo_task.schedule(worker)
    with pytest.raises(TimeoutError):
        solo_task.resume(0.3)
    assert seen.names() == ["start", "pickup", "read", "read", "hup", "close"]
    assert seen.lines() == [b"one", b"part"] and worker.read() == b"one\npart"
    assert seen.closes() == [True] and list(solo_task.iter_keys_timeout()) == ["k"]


def test_the_time_of_the_task_is_over_and_a_handler_raises(solo_task: Task, pipes: Any) -> None:
    def fail(*args: Any) -> None:
        raise ValueError("of the handler")

    read, write = pipes()
    os.write(write, b"part")
    seen = Recorder(read=fail)
    worker = StreamWorker(seen, key="k")
    worker.set_reader("stdout", read)
    solo_task.schedule(worker)
    with pytest.raises((TimeoutError, ValueError)):
        solo_task.resume(0.3)
    assert seen.closes() == [True] and solo_task.run("echo on").read() == b"on"


@pytest.mark.parametrize("how", ["worker", "task", "error"])
def test_a_stream_that_is_ended_early_hangs_up_too(solo_task: Task, pipes: Any, how: str) -> None:
    def end(worker: Any, *args: Any) -> None:
        if how == "worker":
            worker.abort()
        elif how == "task":
            solo_task.abort()
        else:
            raise ValueError(how)

    read, write = pipes()
    os.write(write, b"one\ntwo\n")
    seen = Recorder(read=end)
    worker = StreamWorker(seen, key="k")
    worker.set_reader("stdout", read)
    solo_task.schedule(worker)
    if how == "error":
        with pytest.raises(ValueError, match="error"):
            solo_task.resume()
    else:
        solo_task.resume()
    assert seen.lines() == [b"one"]
    assert seen.events[-2:] == [("hup", "k", None), ("close", False)]


def test_a_stream_without_a_reported_start_has_no_reported_end(solo_task: Task, pipes: Any) -> None:
    read, _write = pipes()
    seen = Recorder(start=lambda worker: worker.abort())
    worker = StreamWorker(seen)
    worker.set_reader("stdout", read)
    solo_task.schedule(worker)
    solo_task.resume()
    assert seen.names() == ["start", "close"]
