"""`worker.task` has every method of a Task, as it is."""

from __future__ import annotations

import inspect

import pytest

from mpshell import EnginePort, EngineTimer, Task
from mpshell.worker.public import PublicPort, PublicTimer, TaskOf

#: Names for programs written for ClusterShell, and names about all Tasks or the program's threads.
APART = {
    "TOPOLOGY_CONFIGS",
    "topology",
    "load_topology",
    "excepthook",
    "default_excepthook",
    "wait",
    "beside",
    "iter_outcomes",  # a run, which no handler can begin; its iterator is the Task's
}


def public(owner: type) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


def test_all_is_there() -> None:
    assert public(TaskOf) == public(Task) - APART


@pytest.mark.parametrize(
    ("protocol", "real"), [(TaskOf, Task), (PublicPort, EnginePort), (PublicTimer, EngineTimer)]
)
def test_parameters_are_the_same(protocol: type, real: type) -> None:
    for name in sorted(public(protocol)):
        mine, other = getattr(protocol, name), getattr(real, name)
        if name in ("shell", "run") or isinstance(mine, property):
            continue  # overloads and properties: mypy compares them where a Task is bound to its workers
        ours, theirs = inspect.signature(mine), inspect.signature(other)
        if name in ("schedule", "remove_port"):
            assert list(ours.parameters) == list(theirs.parameters)
            continue
        assert ours.parameters == theirs.parameters, name
        if theirs.return_annotation not in ("DistantWorker", "EngineTimer", "EnginePort"):
            assert ours.return_annotation == theirs.return_annotation, name
