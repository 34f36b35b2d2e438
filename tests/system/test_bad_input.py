"""Mistakes in calls, a table: each is a typed error at the call that names the bad value."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import mpshell
from mpshell import (
    DEFAULTS,
    EventHandler,
    ExecWorker,
    NodeSet,
    Task,
    TaskError,
    WorkerError,
    WorkerPopen,
    WorkerSsh,
    task_self,
    task_terminate,
)

HANDLER = EventHandler()


class ReadOnly:
    """A handler that is none for a timer."""

    def ev_read(self, *args: Any) -> None:
        """Take a line."""


def with_setting(task: Task, key: str, value: str, *, copy: bool = False) -> None:
    task.set_info(key, value)
    try:
        if copy:
            task.copy(__file__, "/no/such/place", nodes="n1")
            task.resume()
        else:
            task.run("x", nodes="n1")
    finally:
        task.set_info(key, "")


def with_options(task: Task, options: str) -> None:
    with_setting(task, "ssh_options", options)


#: The package as a caller without a type checker has it; so are the tasks of the table.
untyped: Any = mpshell

CALLS: dict[str, tuple[Callable[[Any], object], type[Exception], str]] = {
    "command-number": (lambda t: t.shell(57), TypeError, "57"),
    "command-list": (lambda t: t.run(["ls"]), TypeError, "'ls'"),
    "command-bool": (lambda t: t.run(True), TypeError, "True"),
    "command-nul": (lambda t: t.shell("a\0b"), ValueError, "a.x00b"),
    "command-without-bytes": (
        lambda t: t.shell("a\ud800"),
        ValueError,
        "ud800.* cannot be encoded",
    ),
    "node-without-bytes": (lambda t: t.shell("x", nodes=["n1", "n\ud800"]), ValueError, "n.ud800"),
    "path-without-bytes": (
        lambda t: t.copy("/a\ud800", "/b", nodes="n1"),
        ValueError,
        "source .*ud800",
    ),
    "setting-without-bytes": (
        lambda t: with_options(t, "-oX=\ud800"),
        WorkerError,
        "ssh_options .*ud800",
    ),
    "option-without-dash": (
        lambda t: with_options(t, "-v Port=422"),
        WorkerError,
        "'Port=422' is not an option of ssh .-oPort=422.",
    ),
    "option-behind-a-value": (lambda t: with_options(t, "-p 422 n57"), WorkerError, "'n57'"),
    "option-without-value": (
        lambda t: with_options(t, "-v -i"),
        WorkerError,
        "-i of ssh needs a value",
    ),
    "options-without-value": (
        lambda t: with_options(t, "-vF"),
        WorkerError,
        "-F of ssh needs a value",
    ),
    "end-of-options": (lambda t: with_options(t, "-v --"), WorkerError, "'--' is not an option"),
    "option-in-the-path": (
        lambda t: with_setting(t, "ssh_path", "ssh Port=422"),
        WorkerError,
        "'Port=422' is not an option of ssh",
    ),
    "option-of-scp": (
        lambda t: with_setting(t, "scp_options", "-l 9 User=n57", copy=True),
        WorkerError,
        "'User=n57' is not an option of scp",
    ),
    "command-none": (lambda t: untyped.WorkerPopen(None), ValueError, "command"),
    "keyword-of-run": (lambda t: t.run("x", handlr=HANDLER), TypeError, "handlr"),
    "keyword-of-a-run-without-command": (lambda t: t.run(node="n1"), TypeError, "node"),
    "keyword-of-a-timed-run": (lambda t: t.run(3, kay=1), TypeError, "kay"),
    "keyword-of-popen": (lambda t: untyped.WorkerPopen("x", foo=1), TypeError, "foo"),
    "nodes-number": (lambda t: t.shell("x", nodes=57), TypeError, "57"),
    "nodes-bytes": (lambda t: t.shell("x", nodes=b"n1"), TypeError, "b'n1'"),
    "nodes-none-inside": (lambda t: t.shell("x", nodes=["a", None]), TypeError, "None"),
    "node-option": (lambda t: WorkerSsh("-oX=y", command="x"), WorkerError, "-oX=y"),
    "key-list": (lambda t: t.shell("x", key=[57]), TypeError, r"\[57\]"),
    "set-key-list": (lambda t: WorkerPopen("x").set_key([57]), TypeError, r"\[57\]"),
    "handler-class": (lambda t: t.shell("x", handler=EventHandler), TypeError, "EventHandler"),
    "handler-later": (lambda t: setattr(WorkerPopen("x"), "eh", "foo"), TypeError, "foo"),
    "handler-of-a-timer": (lambda t: t.timer(1, ReadOnly()), TypeError, "ReadOnly"),
    "timeout-nan": (lambda t: t.shell("x", timeout=float("nan")), ValueError, "nan"),
    "timeout-bool": (lambda t: t.shell("x", timeout=True), TypeError, "True"),
    "run-negative": (lambda t: t.run(-3), ValueError, "-3"),
    "timer-text": (lambda t: t.timer("soon", HANDLER), TypeError, "soon"),
    "timer-interval": (
        lambda t: t.timer(1, HANDLER, "often"),
        TypeError,
        "often",
    ),
    "next-fire": (lambda t: t.timer(60, HANDLER).set_nextfire(-1), ValueError, "-1"),
    "no-port": (lambda t: t.remove_port(57), TypeError, "57"),
    "no-worker": (lambda t: t.schedule("x"), TypeError, "'x'"),
    "no-thread": (lambda t: untyped.Task(thread=57), TypeError, "57"),
    "no-thread-to-wait-from": (lambda t: untyped.Task.wait(57), TypeError, "57"),
    "write-text": (lambda t: untyped.WorkerPopen("x").write("y"), TypeError, "str"),
    "write-elsewhere": (lambda t: WorkerPopen("x").write(b"y", "log"), WorkerError, "log"),
    "fanout-fraction": (lambda t: t.set_info("fanout", 2.5), ValueError, "2.5"),
    "engines-none": (lambda t: t.set_info("engines", 0), ValueError, "0"),
    "connect-timeout": (lambda t: t.set_info("connect_timeout", -1), ValueError, "-1"),
    "command-timeout": (lambda t: t.set_info("command_timeout", "x"), ValueError, "'x'"),
    "grace": (lambda t: t.set_info("grace", float("inf")), ValueError, "grace"),
    "print-debug": (lambda t: t.set_info("print_debug", 57), ValueError, "57"),
    "ssh-path": (lambda t: t.set_info("ssh_path", 57), ValueError, "57"),
    "ssh-options": (lambda t: t.set_info("ssh_options", "'open"), ValueError, "'open"),
    "transport-number": (lambda t: t.set_default("local_workername", 57), ImportError, "57"),
    "transport-class": (lambda t: t.set_default("distant_worker", int), ValueError, "int"),
    "transport-not-over-nodes": (
        lambda t: t.set_default("distant_worker", WorkerPopen),
        ValueError,
        "over nodes.*WorkerPopen",
    ),
    "transport-popen": (
        lambda t: t.set_default("distant_workername", "popen"),
        ImportError,
        "'popen'",
    ),
    "transport-relative": (lambda t: t.set_default("local_workername", "..x"), ImportError, "x"),
    "transport-module": (lambda t: t.set_default("distant_workername", "os"), ImportError, "os"),
    "port-limit": (lambda t: t.set_default("port_qlimit", 0), ValueError, "0"),
    "match-keys": (lambda t: t.iter_buffers(57), TypeError, "57"),
    "unknown-key": (lambda t: t.key_retcode("n57"), KeyError, "n57"),
    "split": (lambda t: untyped.NodeSet("n1").split("x"), TypeError, "'x'"),
    "position": (lambda t: NodeSet("n1")[57], IndexError, "57"),
    "fold": (lambda t: untyped.fold(57), TypeError, "57"),
    "default-unknown": (lambda t: setattr(DEFAULTS, "fanot", 3), AttributeError, "fanot"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_mistake_is_named_at_the_call(solo_task: Task, name: str) -> None:
    call, error, text = CALLS[name]
    with pytest.raises(error, match=text):
        call(solo_task)
    solo_task.abort()


@pytest.mark.parametrize("fanout", [0, -2, "x", 1.5, True])
def test_a_bad_fanout_of_a_worker_is_an_error_of_the_run(solo_task: Task, fanout: Any) -> None:
    worker = ExecWorker("n1", command="true")
    worker._fanout = fanout
    solo_task.schedule(worker)
    with pytest.raises(WorkerError, match=repr(fanout)):
        solo_task.resume()


def test_defaults_that_are_none_are_refused() -> None:
    task_terminate()
    with pytest.raises(TypeError, match="57"):
        untyped.task_self(defaults=57)


def test_a_killed_task_takes_neither_timer_nor_port() -> None:
    task_terminate()
    task = task_self()
    task.abort(kill=True)
    with pytest.raises(TaskError, match="killed"):
        task.timer(1, HANDLER)
    with pytest.raises(TaskError, match="killed"):
        task.port(HANDLER)


def test_a_message_for_a_handler_without_ev_msg_is_taken(thread_task: Task) -> None:
    port = thread_task.port(ReadOnly())
    thread_task.resume()
    assert port.msg("x") is True
    threading.Timer(0, thread_task.remove_port, (port,)).start()
    thread_task.join()
