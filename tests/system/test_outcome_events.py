"""`ev_outcome`: one for each command that has ended, in any way; and the command lines of a worker."""

from __future__ import annotations

from typing import Any

from mpshell import EventHandler, ExecWorker, NodeOutcome, Task, WorkerPopen, WorkerSsh
from tests.system.recorder import Recorder


class Outcomes(Recorder):
    def ev_outcome(self, worker: Any, outcome: NodeOutcome) -> None:
        self._note(("outcome", outcome.node, outcome.reason, outcome.returncode), worker, outcome)


def test_every_end_has_an_outcome(task: Task) -> None:
    handler = Outcomes()
    command = "echo x; case %n in 0) exit 3;; 1) kill -9 $$;; 2) sleep 60;; esac"
    task.schedule(ExecWorker("n[1-4]", handler, timeout=3, command=command))
    task.resume()
    assert sorted(handler.of("outcome")) == [
        ("outcome", "n1", "exit", 3),
        ("outcome", "n2", "signal", 137),
        ("outcome", "n3", "timeout", None),
        ("outcome", "n4", "exit", 0),
    ]
    for node in ("n1", "n2", "n4"):
        names = [event[0] for event in handler.events if node in event]
        assert names == ["pickup", "read", "hup", "outcome"]
    assert handler.names()[-1] == "close"


def test_output_is_there_without_a_reader(solo_task: Task) -> None:
    outputs: dict[str, bytes | None] = {}

    class Reader(EventHandler):
        def ev_outcome(self, worker: Any, outcome: NodeOutcome) -> None:
            outputs[outcome.node] = worker.read(outcome.node)

    command = "echo %h; [ %n = 0 ] || sleep 60"
    solo_task.schedule(ExecWorker("n[1-2]", Reader(), timeout=3, command=command))
    solo_task.resume()
    assert outputs == {"n1": b"n1", "n2": b"n2"}


def test_a_local_command_has_one(solo_task: Task) -> None:
    handler = Outcomes()
    solo_task.schedule(WorkerPopen("exit 2", key="here", handler=handler))
    solo_task.resume()
    assert handler.of("outcome") == [("outcome", "here", "exit", 2)]


def test_an_aborted_command_has_none(solo_task: Task) -> None:
    handler = Outcomes(pickup=lambda worker, node: worker.abort())
    solo_task.schedule(ExecWorker("n1", handler, command="sleep 60"))
    solo_task.resume()
    assert handler.of("outcome") == []


def test_command_lines_are_returned_and_not_run(solo_task: Task) -> None:
    def lines(worker: Any) -> list[tuple[str, list[str]]]:
        return [(str(nodes), words) for nodes, words in worker.command_lines(solo_task)]

    assert lines(ExecWorker("n[1-2]", command="echo %h %n %%")) == [
        ("n1", ["echo n1 0 %"]),
        ("n2", ["echo n2 1 %"]),
    ]
    assert lines(ExecWorker("n[1-2]", command="echo %hosts")) == [("n[1-2]", ["echo n[1-2]"])]
    ((node, words),) = lines(WorkerSsh("n1", command="ls; %h"))
    assert (node, words[0], words[-2:]) == ("n1", "ssh", ["n1", "ls; %h"])
    worker = ExecWorker("n1", command="echo ran")
    lines(worker)
    solo_task.schedule(worker)
    solo_task.resume()
    assert worker.read("n1") == b"ran"
