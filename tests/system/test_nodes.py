"""The values that are taken as nodes, and the attributes of a worker about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mpshell import DistantWorker, ExecWorker, NodeSet, Task, Worker, WorkerPopen
from tests.system.recorder import Marks, Recorder

Sweep = Callable[..., ExecWorker]


def generator() -> Iterator[str]:
    yield from ("n1", "n3", "n2")


FORMS: dict[str, Any] = {
    "text": "n[1-3]",
    "operators": "n[1-5]!n[4-5]",
    "NodeSet": NodeSet("n[1-3]"),
    "list": ["n1", "n2", "n3"],
    "tuple": ("n3", "n2", "n1"),
    "set": {"n1", "n2", "n3"},
    "dict": {"n1": 1, "n2": 2, "n3": 3},
    "generator": generator,
    "repeated": ["n1", "n2", "n1", "n3", "n2"],
    "folded list": ["n[1-2]", "n3"],
}


@pytest.mark.parametrize("form", FORMS)
def test_nodes_may_be_given_as(solo_task: Task, form: str) -> None:
    solo_task.set_default("distant_worker", ExecWorker)

    def nodes() -> Any:
        return FORMS[form]() if form == "generator" else FORMS[form]

    made = ExecWorker(nodes(), None, command="echo %n")
    solo_task.schedule(made)
    asked = solo_task.shell("echo %n", nodes=nodes())
    solo_task.resume()
    for worker in (made, asked):
        assert worker.nodes == NodeSet("n[1-3]") and worker.command == "echo %n"
        assert {node: bytes(elem) for node, elem in worker.iter_node_buffers()} == {
            "n1": b"0",
            "n2": b"1",
            "n3": b"2",
        }


def test_a_foreign_node_set_is_an_iterable_of_names(solo_task: Task) -> None:
    class Foreign:
        def __iter__(self) -> Iterator[str]:
            return iter(["n1", "n2"])

        def __str__(self) -> str:
            return "n[1-2]"

        def __len__(self) -> int:
            return 2

    worker = ExecWorker(Foreign(), None, command="echo %h")
    solo_task.schedule(worker)
    solo_task.resume()
    assert worker.nodes == NodeSet("n[1-2]") and worker.node_buffer("n2") == b"n2"


@pytest.mark.parametrize("nodes", [NodeSet(), [], ()], ids=["NodeSet", "list", "tuple"])
def test_an_empty_node_set_runs_nothing(task: Task, marks: Marks, nodes: Any) -> None:
    task.set_default("distant_worker", ExecWorker)
    seen = Recorder()
    worker = task.shell(marks.command(name="x"), nodes=nodes, handler=seen)
    task.resume()
    assert marks.entries() == [] and task.max_retcode() is None
    assert not isinstance(worker, WorkerPopen)
    assert not seen.of("pickup") and not seen.of("hup")


def test_no_nodes_at_all_runs_the_command_here(solo_task: Task) -> None:
    worker = solo_task.shell("echo x", nodes=None, handler=None)
    solo_task.resume()
    assert type(worker) is WorkerPopen and worker.read() == b"x"


def test_names_of_every_shape(sweep: Sweep) -> None:
    names = "a1b2c3,x-01.domain.org,node,N007,10.0.0.1,aa-bb-X01Y07Z15-0804"
    worker = sweep(names, "echo %h")
    assert {node: bytes(elem) for node, elem in worker.iter_node_buffers()} == {
        name: name.encode() for name in names.split(",")
    }
    assert {node for _, nodes in worker.iter_retcodes() for node in nodes} == set(names.split(","))


def test_the_classes_of_workers() -> None:
    assert issubclass(ExecWorker, DistantWorker) and issubclass(DistantWorker, Worker)
    assert issubclass(WorkerPopen, Worker) and not issubclass(WorkerPopen, DistantWorker)


def test_a_worker_knows_its_task_once_scheduled(solo_task: Task) -> None:
    worker = ExecWorker("n1", None, command="true")
    assert worker.task is None
    solo_task.schedule(worker)
    assert worker.task is solo_task


def test_a_sweep_of_hundreds_of_nodes(sweep: Sweep) -> None:
    worker = sweep("node[0001-0600]", "exit $((%n %% 3))")
    groups = {rc: nodes for rc, nodes in worker.iter_retcodes()}
    assert {rc: len(nodes) for rc, nodes in groups.items()} == {0: 200, 1: 200, 2: 200}
    assert str(groups[0]).startswith("node[0001,0004,")


def test_the_same_worker_class_over_the_same_nodes_twice(sweep: Sweep) -> None:
    first = sweep("n[1-30]", "echo 1")
    second = sweep("n[1-30]", "echo 2")
    assert [(bytes(elem), str(nodes)) for elem, nodes in second.iter_buffers()] == [
        (b"2", "n[1-30]")
    ]
    assert list(first.iter_buffers()) == []
