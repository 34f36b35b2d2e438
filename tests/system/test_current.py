"""`worker.current_*` as handlers of old read them: at every event, at the close, and after the run."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell import EventHandler, ExecWorker, StreamWorker, Task, WorkerPopen, WorkerSimple
from tests.system.recorder import Recorder, until

#: The number of arguments of each event, beside the handler and the worker.
ARGUMENTS = {
    "ev_start": 0,
    "ev_pickup": 1,
    "ev_read": 3,
    "ev_error": 0,
    "ev_written": 3,
    "ev_hup": 2,
    "ev_outcome": 1,
    "ev_close": 1,
}

#: A handler may have any of these beside its ev_close: each has its engines send something else.
BESIDE = [(), *((name,) for name in ARGUMENTS if name != "ev_close"), ("ev_read", "ev_hup")]

SAYS_AND_FAILS = "echo out; echo err >&2; exit 3"


def handling(*names: str) -> tuple[Any, list[Any]]:
    """Return a handler that has these methods only, and the list of its notes: (event, node, code)."""
    noted: list[Any] = []

    def method(name: str) -> Callable[..., None]:
        def note(*args: Any) -> None:
            _, worker, *rest = args
            assert len(rest) == ARGUMENTS[name]
            noted.append((name, worker.current_node, worker.current_rc))

        return note

    return type("Hearing", (EventHandler,), {name: method(name) for name in names})(), noted


def ends(worker: Any) -> tuple[Any, Any]:
    return worker.current_node, worker.current_rc


@pytest.mark.parametrize("beside", BESIDE, ids=lambda names: "+".join(names) or "alone")
@pytest.mark.parametrize("separate", [False, True])
class TestAtTheClose:
    def test_of_nodes(
        self, task: Task, tmp_path: Path, beside: tuple[str, ...], separate: bool
    ) -> None:
        """The node that ends last is n1, for any methods of the handler and on any engine."""
        handler, noted = handling("ev_close", *beside)
        pid = tmp_path / "pid"
        last = f"{until(pid)}; while kill -0 $(cat {pid}) 2>&-; do sleep 0.05; done; sleep 0.3"
        first = f"echo $$ > {pid}.new; mv {pid}.new {pid}"
        command = f"if [ %h = n1 ]; then {last}; else {first}; fi; echo %h; echo err >&2; exit 1%n"
        worker = ExecWorker("n[1-2]", handler, command=command, stderr=separate)
        task.schedule(worker)
        task.resume()
        assert noted[-1] == ("ev_close", "n1", 10)
        assert ends(worker) == ("n1", 10)

    def test_of_one_command_for_all_nodes(
        self, solo_task: Task, beside: tuple[str, ...], separate: bool
    ) -> None:
        handler, noted = handling("ev_close", *beside)
        worker = ExecWorker("n[1-3]", handler, command="echo %hosts; exit 3", stderr=separate)
        solo_task.schedule(worker)
        solo_task.resume()
        assert noted[-1] == ("ev_close", "n3", 3)
        assert ends(worker) == ("n3", 3)

    def test_of_a_local_command(
        self, solo_task: Task, beside: tuple[str, ...], separate: bool
    ) -> None:
        handler, noted = handling("ev_close", *beside)
        worker = WorkerPopen(SAYS_AND_FAILS, "key", handler, stderr=separate)
        solo_task.schedule(worker)
        solo_task.resume()
        assert noted[-1] == ("ev_close", None, 3)
        assert ends(worker) == (None, 3)

    def test_of_streams(
        self, solo_task: Task, pipes: Callable[[], tuple[int, int]], beside: tuple[str, ...], separate: bool
    ) -> None:  # fmt: skip
        handler, noted = handling("ev_close", *beside)
        fd, writer = pipes()
        os.write(writer, b"line\n")
        os.close(writer)
        worker = StreamWorker(handler, key="key", stderr=separate)
        worker.set_reader("stdout", fd)
        solo_task.schedule(worker)
        solo_task.resume()
        assert noted[-1] == ("ev_close", "key", None)
        assert (*ends(worker), worker.current_msg) == ("key", None, b"line")


@pytest.mark.parametrize("beside", [(), ("ev_pickup",), ("ev_read",), ("ev_hup",), ("ev_outcome",)])
def test_of_a_node_that_times_out_after_another_has_ended(
    solo_task: Task, beside: tuple[str, ...]
) -> None:
    """In ClusterShell the code is then still that of the other node."""
    handler, noted = handling("ev_close", *beside)
    command = "[ %h = n2 ] && sleep 60; echo out; exit 4"
    worker = ExecWorker("n[1-2]", handler, command=command, timeout=4)
    solo_task.schedule(worker)
    solo_task.resume()
    assert worker.node_retcode("n1") == 4
    assert noted[-1] == ("ev_close", "n2", None)
    assert ends(worker) == ("n2", None)


def test_after_a_run_without_a_handler(solo_task: Task) -> None:
    worker = solo_task.shell("echo out; exit %n", nodes="n[1-3]", remote=False)
    local = solo_task.shell("exit 7")
    solo_task.set_info("fanout", 1)
    solo_task.run()
    assert ends(worker) == ("n3", 2)
    assert ends(local) == (None, 7)


def test_nothing_is_known_before_the_run(solo_task: Task) -> None:
    for worker in (ExecWorker("n1", None, command="true"), WorkerPopen("true"), StreamWorker(None)):
        assert ends(worker) == (None, None)
        assert (worker.current_msg, worker.current_errmsg, worker.current_sname) == (None,) * 3


def test_the_code_is_that_of_the_node_at_every_event(solo_task: Task) -> None:
    """ClusterShell leaves the code of the node before: n1's 3 would be taken for n2's."""
    handler, noted = handling(
        "ev_start", "ev_pickup", "ev_read", "ev_hup", "ev_outcome", "ev_close"
    )
    solo_task.set_info("fanout", 1)
    worker = ExecWorker("n[1-2]", handler, command="echo %h; exit 3%n")
    solo_task.schedule(worker)
    solo_task.resume()
    assert noted == [
        ("ev_start", "n1", None),
        ("ev_pickup", "n1", None),
        ("ev_read", "n1", None),
        ("ev_hup", "n1", 30),
        ("ev_outcome", "n1", 30),
        ("ev_pickup", "n2", None),
        ("ev_read", "n2", None),
        ("ev_hup", "n2", 31),
        ("ev_outcome", "n2", 31),
        ("ev_close", "n2", 31),
    ]


def test_an_aborted_node_has_no_code(solo_task: Task) -> None:
    handler, noted = handling("ev_close")
    worker = ExecWorker("n[1-2]", handler, command="[ %h = n1 ] && exit 3; sleep 60")
    solo_task.schedule(worker)

    def abort(timer: Any) -> None:
        if list(worker.iter_node_retcodes()):
            worker.abort()

    solo_task.timer(0, Recorder(timer=abort), interval=0.1, autoclose=True)
    solo_task.resume()
    assert noted == [("ev_close", "n2", None)]


def test_a_node_that_was_called_off_is_not_the_last(solo_task: Task) -> None:
    handler, noted = handling("ev_close")
    solo_task.set_info("fanout", 1)
    worker = ExecWorker("n[1-9]", handler, command="sleep 1; exit 3")
    solo_task.schedule(worker)
    # As soon as the first has begun.
    solo_task.timer(0, Recorder(timer=lambda timer: worker.withdraw()))
    solo_task.resume()
    assert noted == [("ev_close", "n1", 3)]


def test_a_command_that_cannot_be_started_has_its_code(solo_task: Task) -> None:
    handler, noted = handling("ev_close")
    solo_task.set_info("ssh_path", "/nowhere/ssh")
    solo_task.shell("true", nodes="n1", handler=handler)
    solo_task.run()
    assert noted == [("ev_close", "n1", 255)]


@pytest.mark.parametrize(
    "beside", [(), ("ev_hup",), ("ev_read",), ("ev_pickup",), ("ev_read", "ev_hup")]
)
@pytest.mark.parametrize("kind", ["exec", "popen", "simple"])
def test_the_last_line_is_known_with_any_methods(
    solo_task: Task, pipes: Callable[[], tuple[int, int]], beside: tuple[str, ...], kind: str
) -> None:
    handler, _ = handling("ev_close", *beside)
    solo_task.set_info("fanout", 1)
    worker: Any
    if kind == "exec":
        worker = ExecWorker("n[1-2]", handler, command="echo first; echo out %n")
    elif kind == "popen":
        worker = WorkerPopen("echo first; printf 'out 1'", None, handler)
    else:
        fd, writer = pipes()
        os.write(writer, b"first\nout 1\n")
        os.close(writer)
        worker = WorkerSimple(os.fdopen(fd, "rb"), None, None, None, handler)
    solo_task.schedule(worker)
    solo_task.resume()
    assert (worker.current_msg, worker.current_errmsg, worker.current_sname) == (
        b"out 1",
        None,
        "stdout",
    )


@pytest.mark.parametrize("beside", [(), ("ev_hup",), ("ev_read",), ("ev_error",)])
def test_the_last_line_of_each_stream_is_known(solo_task: Task, beside: tuple[str, ...]) -> None:
    handler, _ = handling("ev_close", *beside)
    worker = WorkerPopen("echo out; sleep 0.3; echo err >&2", None, handler, stderr=True)
    solo_task.schedule(worker)
    solo_task.resume()
    assert worker.current_errmsg == b"err"
    # Of two gathered streams the last one is not known.
    if beside in [("ev_read",), ("ev_error",)]:
        assert worker.current_sname == "stderr"
    else:
        assert (worker.current_msg, worker.current_sname) == (b"out", None)


def test_no_line_is_known_that_is_not_recorded(solo_task: Task) -> None:
    solo_task.set_default("stdout_msgtree", False)
    handler, noted = handling("ev_close")
    worker = solo_task.run("echo out; exit 3", nodes="n1", remote=False, handler=handler)
    assert noted == [("ev_close", "n1", 3)] and worker.current_msg is None


def test_a_line_of_stderr_leaves_the_last_one_of_stdout(solo_task: Task) -> None:
    seen: list[Any] = []

    def read(worker: Any, node: Any, sname: str, msg: bytes) -> None:
        seen.append((worker.current_sname, worker.current_msg, worker.current_errmsg))

    command = "echo out; sleep 0.2; echo err >&2"
    solo_task.run(command, nodes="n1", remote=False, stderr=True, handler=Recorder(read=read))
    assert seen == [("stdout", b"out", None), ("stderr", b"out", b"err")]


class Calls:
    """An object that is called, as a decorator may leave one in the place of a method."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def __call__(self, worker: Any) -> None:
        self.got.append((worker.current_node, worker.current_rc))


def test_an_object_in_the_place_of_a_method_is_legacy_by_its_parameters(solo_task: Task) -> None:
    old, calls = Calls(), []

    def new(label: str, worker: Any, node: Any, rc: Any) -> None:
        calls.append((label, node, rc))

    for hup in (old, functools.partial(new, "new")):
        handler = EventHandler()
        vars(handler)["ev_hup"] = hup
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            solo_task.run("exit 3", nodes="n1", remote=False, handler=handler)
        assert [one.category for one in caught] == [DeprecationWarning] * (hup is old)
    assert (old.got, calls) == ([("n1", 3)], [("new", "n1", 3)])
