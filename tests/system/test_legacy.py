"""Handlers written for older versions: short signatures, warnings, attributes; debug texts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mpshell import EventHandler, ExecWorker, Task, TimeoutError, WorkerSsh
from tests.system.recorder import until, within


def derived(methods: type) -> Any:
    """Return a handler with these methods: a type checker does not let a class of today override so."""
    return type(methods.__name__, (methods, EventHandler), {})()


class Old:
    """All methods in their old form; records the attributes of the worker."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def ev_start(self, worker: Any) -> None:
        self.events.append(("start", worker.current_node))

    def ev_pickup(self, worker: Any) -> None:
        self.events.append(("pickup", worker.current_node))

    def ev_read(self, worker: Any) -> None:
        self.events.append(("read", worker.current_node, worker.current_msg))

    def ev_error(self, worker: Any) -> None:
        self.events.append(("error", worker.current_node, worker.current_errmsg))

    def ev_hup(self, worker: Any) -> None:
        self.events.append(("hup", worker.current_node, worker.current_rc))

    def ev_timeout(self, worker: Any) -> None:
        self.events.append(("timeout", sorted(worker.task.iter_keys_timeout())))

    def ev_close(self, worker: Any) -> None:
        self.events.append(("close",))


@pytest.fixture
def caught() -> Iterator[list[Any]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def deprecations(caught: list[Any]) -> int:
    assert all(issubclass(one.category, DeprecationWarning) for one in caught)
    return len(caught)


def test_old_handler_of_a_local_command(solo_task: Task, caught: list[Any]) -> None:
    for _ in range(2):
        old = derived(Old)
        solo_task.shell("echo abc; exit 3", handler=old)
        solo_task.resume()
        assert old.events == [
            ("start", None),
            ("pickup", None),
            ("read", None, b"abc"),
            ("hup", None, 3),
            ("close",),
        ]
    assert deprecations(caught) == 8


def test_old_handler_of_nodes(solo_task: Task, caught: list[Any]) -> None:
    old = derived(Old)
    solo_task.set_info("fanout", 1)
    solo_task.schedule(ExecWorker("n[1-3]", old, command="echo %h 1; echo %h 2; exit %n"))
    solo_task.resume()
    assert old.events[0][0] == "start" and old.events[-1] == ("close",)
    by_node = {
        node: [event for event in old.events[1:-1] if event[1] == node]
        for node in ("n1", "n2", "n3")
    }
    assert by_node == {
        f"n{i}": [
            ("pickup", f"n{i}"),
            ("read", f"n{i}", b"n%d 1" % i),
            ("read", f"n{i}", b"n%d 2" % i),
            ("hup", f"n{i}", i - 1),
        ]
        for i in (1, 2, 3)
    }
    assert deprecations(caught) == 3 + 6 + 3 + 1


def test_old_ev_read_leaves_stderr_to_ev_error(
    solo_task: Task, caught: list[Any], tmp_path: Path
) -> None:
    class Hears(Old):
        def ev_error(self, worker: Any) -> None:
            super().ev_error(worker)
            (tmp_path / "seen").touch()

    old = derived(Hears)
    command = f"echo oops >&2; {until(tmp_path / 'seen')}; echo abc"
    solo_task.shell(command, handler=old, stderr=True)
    solo_task.resume()
    assert [event for event in old.events if event[0] in ("read", "error")] == [
        ("error", None, b"oops"),
        ("read", None, b"abc"),
    ]
    assert deprecations(caught) == 1 + 2 + 1 + 1


def test_new_ev_read_gets_stderr_after_ev_error(solo_task: Task, caught: list[Any]) -> None:
    order: list[Any] = []

    class Mixed(EventHandler):
        def ev_error(self, worker: Any) -> None:
            order.append(("error", worker.current_errmsg))

        def ev_read(self, worker: Any, node: Any, sname: str, msg: bytes) -> None:
            order.append((sname, msg))

    solo_task.shell("echo oops >&2", handler=Mixed(), stderr=True)
    solo_task.resume()
    assert order == [("error", b"oops"), ("stderr", b"oops")]
    assert deprecations(caught) == 0


@pytest.mark.parametrize("of_the_run", [False, True])
def test_ev_timeout_of_a_local_command(
    solo_task: Task, caught: list[Any], of_the_run: bool
) -> None:
    old = derived(Old)
    solo_task.shell("sleep 60", handler=old, key="k", timeout=None if of_the_run else 3)
    if of_the_run:
        with within(15), pytest.raises(TimeoutError):
            solo_task.resume(3)
    else:
        solo_task.resume()
    assert [event[0] for event in old.events] == ["start", "pickup", "timeout", "close"]
    assert old.events[2] == ("timeout", ["k"])
    assert deprecations(caught) == 3


def test_ev_timeout_of_nodes_does_not_warn(solo_task: Task, caught: list[Any]) -> None:
    old = derived(Old)
    command = "[ %h = n2 ] || sleep 60"
    solo_task.schedule(ExecWorker("n[1-3]", old, command=command, timeout=3))
    solo_task.resume()
    assert old.events[-2:] == [("timeout", ["n1", "n3"]), ("close",)]
    assert ("hup", "n2", 0) in old.events
    assert deprecations(caught) == 3 + 1 + 1


def test_ev_timeout_beside_a_new_ev_close(solo_task: Task, caught: list[Any]) -> None:
    order: list[Any] = []

    class Both(EventHandler):
        def ev_timeout(self, worker: Any) -> None:
            order.append(worker.num_timeout())

        def ev_close(self, worker: Any, timedout: bool) -> None:
            order.append(timedout)

    solo_task.schedule(ExecWorker("n[1-2]", Both(), command="sleep 60", timeout=0.3))
    solo_task.resume()
    assert order == [2, True] and deprecations(caught) == 0


def test_new_handlers_never_warn(solo_task: Task, caught: list[Any]) -> None:
    class New(EventHandler):
        def ev_pickup(self, worker: Any, node: Any) -> None: ...

        def ev_read(self, worker: Any, node: Any, sname: str, msg: bytes) -> None: ...

        def ev_hup(self, worker: Any, node: Any, rc: Any) -> None: ...

        def ev_close(self, worker: Any, timedout: bool) -> None: ...

    solo_task.shell("echo x; echo y >&2; sleep 60", handler=New(), stderr=True, timeout=0.4)
    solo_task.schedule(ExecWorker("n[1-3]", New(), command="echo x"))
    solo_task.resume()
    assert deprecations(caught) == 0


def test_only_the_old_methods_warn(solo_task: Task, caught: list[Any]) -> None:
    class OldHup:
        seen: ClassVar[list[Any]] = []

        def ev_hup(self, worker: Any) -> None:
            self.seen.append(worker.current_rc)

        def ev_close(self, worker: Any, timedout: bool) -> None:
            self.seen.append(timedout)

    for i in (1, 2, 3):
        solo_task.shell(f"exit {i}", handler=derived(OldHup))
    solo_task.resume()
    assert sorted(map(str, OldHup.seen)) == ["1", "2", "3", "False", "False", "False"]
    assert deprecations(caught) == 3


def test_methods_with_any_number_of_arguments_get_the_new_form(
    solo_task: Task, caught: list[Any]
) -> None:
    got: list[Any] = []

    class Variadic(EventHandler):
        def ev_pickup(self, *args: Any) -> None:
            got.append(args[1:])

        def ev_read(self, *args: Any) -> None:
            got.append(args[1:])

        def ev_hup(self, *args: Any) -> None:
            got.append(args[1:])

        def ev_close(self, *args: Any) -> None:
            got.append(args[1:])

    solo_task.schedule(ExecWorker("n1", Variadic(), command="echo x; exit 2"))
    solo_task.resume()
    assert got == [("n1",), ("n1", "stdout", b"x"), ("n1", 2), (False,)]
    assert deprecations(caught) == 0


def test_a_handler_need_not_derive_from_the_base_class(solo_task: Task, caught: list[Any]) -> None:
    names = ["start", "pickup", "read", "written", "hup", "close"]
    got: list[Any] = []
    methods = {f"ev_{name}": lambda self, *a, n=name: got.append((n, *a[1:])) for name in names}
    duck = type("Duck", (), methods)()
    worker = ExecWorker("n1", duck, command="cat")
    worker.write(b"x\n")
    worker.set_write_eof()
    solo_task.schedule(worker)
    solo_task.resume()
    assert sorted(map(str, got)) == sorted(
        map(
            str,
            [
                ("start",),
                ("pickup", "n1"),
                ("written", "n1", "stdin", 2),
                ("read", "n1", "stdout", b"x"),
                ("hup", "n1", 0),
                ("close", False),
            ],
        )
    )
    assert deprecations(caught) == 0


def debugged(task: Task) -> list[str]:
    texts: list[str] = []
    task.set_info("print_debug", lambda task, text: texts.append(text))
    task.set_info("debug", True)
    return texts


def test_debug_is_silent_until_switched_on(solo_task: Task) -> None:
    texts: list[str] = []
    solo_task.set_info("print_debug", lambda task, text: texts.append(text))
    solo_task.run("true")
    assert texts == [] and solo_task.info("debug") is False


def test_debug_texts_of_a_local_command(solo_task: Task) -> None:
    texts = debugged(solo_task)
    solo_task.run("true")
    assert texts == ["POPEN: true"]
    solo_task.run("echo x")
    assert texts[1] == "POPEN: echo x" and "LINE b'x'" in texts[2] and len(texts) == 3
    solo_task.set_info("debug", False)
    solo_task.run("echo y")
    assert len(texts) == 3


def test_debug_texts_of_nodes(solo_task: Task, tmp_path: Path) -> None:
    texts = debugged(solo_task)
    solo_task.schedule(ExecWorker("n1", None, command="echo %h"))
    solo_task.resume()
    assert texts == ["EXECCLIENT: echo n1", "n1: b'n1'"]
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho out\n")
    ssh.chmod(0o755)
    solo_task.set_info("ssh_path", str(ssh))
    solo_task.schedule(WorkerSsh("n2", None, command="uptime"))
    solo_task.resume()
    assert texts[2].startswith(f"SSHCLIENT: {ssh} ") and texts[2].endswith(" n2 uptime")
    assert texts[3:] == ["n2: b'out'"]


def test_print_debug_gets_the_task(solo_task: Task) -> None:
    tasks: list[Any] = []
    solo_task.set_info("print_debug", lambda task, text: tasks.append(task))
    solo_task.set_info("debug", True)
    solo_task.run("true")
    assert tasks == [solo_task]


def test_the_default_print_debug_prints(
    solo_task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    solo_task.set_info("debug", True)
    solo_task.run("true")
    assert "POPEN: true" in capsys.readouterr().out
