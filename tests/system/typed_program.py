"""A program as a typed user writes it: never run, read by type checkers alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import mpshell
from mpshell import (
    DEFAULTS,
    Defaults,
    DistantWorker,
    EngineEPoll,
    EnginePort,
    EngineTimer,
    EventHandler,
    ExecWorker,
    MsgTree,
    MsgTreeElem,
    NodeOutcome,
    NodeSet,
    RangeSet,
    RetryPolicy,
    StreamWorker,
    Task,
    TaskError,
    Worker,
    WorkerPopen,
    WorkerSsh,
    expand,
    fold,
    task_self,
)
from mpshell.compat.Worker.Worker import WorkerError
from mpshell.task import task_wait
from mpshell.task.outcomes import Outcomes
from mpshell.worker.public import TaskOf
from mpshell.worker.transport import NODE, Copy, Transport, Word


class Handler(EventHandler):
    """Every event, with the types that it is called with."""

    where: NodeSet | None = None

    def ev_start(self, worker: Worker) -> None:
        task = worker.task
        assert_type(task, TaskOf[Worker, WorkerPopen, DistantWorker] | Any)
        # A handler may give the Task more work, as the program itself does.
        assert_type(task.shell("true", key="k", handler=self), WorkerPopen | Any)
        assert_type(task.shell("true", nodes="n1", handler=self, timeout=3), DistantWorker | Any)
        assert_type(task.shell("true", nodes=self.where), WorkerPopen | DistantWorker | Any)
        assert_type(task.shell("true").read(), bytes | Any | None)
        assert_type(task.shell("true", nodes="n1").node_retcode("n1"), int | Any)
        assert_type(task.copy("a", "b", nodes=NodeSet("n1")), DistantWorker | Any)
        assert_type(task.rcopy("a", "b", nodes="n1").nodes, NodeSet | Any)
        task.schedule(ExecWorker("n1", self, command="true"))
        task.timer(1, self).set_nextfire(2)
        task.port(self).msg_send("text")
        task.set_info("fanout", 3)
        task.abort()
        assert_type(worker.current_rc, int | None)

    def ev_pickup(self, worker: Worker, node: str) -> None:
        worker.write(node.encode())

    def ev_read(self, worker: Worker, node: str, sname: str, msg: bytes) -> None:
        assert_type(worker.read(node, sname), bytes | None)
        if isinstance(worker, DistantWorker):
            assert_type(worker.node_buffer(node), bytes | None)

    def ev_error(self, worker: Worker) -> None:
        assert_type(worker.current_errmsg, bytes | None)

    def ev_written(self, worker: Worker, node: str, sname: str, size: int) -> None:
        worker.set_write_eof()

    def ev_hup(self, worker: Worker, node: str, rc: int | None) -> None:
        worker.abort()

    def ev_outcome(self, worker: Worker, outcome: NodeOutcome) -> None:
        assert_type(outcome.ok, bool)
        assert_type(outcome.duration, float)

    def ev_retry(self, worker: Worker, outcome: NodeOutcome, delay: float) -> None:
        assert_type(outcome.attempt, int)

    def ev_close(self, worker: Worker, timedout: bool) -> None:
        assert_type(worker.did_timeout(), bool)

    def ev_port_start(self, port: EnginePort) -> None:
        assert_type(port.msg_send("text"), bool)

    def ev_msg(self, port: EnginePort, msg: str) -> None:
        port.msg(msg, send_once=True)

    def ev_timer(self, timer: EngineTimer) -> None:
        timer.set_nextfire(1.5, interval=2)


class WorkerOwn(Transport):
    """A transport, whose methods are given a Task."""

    def command_argv(self, task: Task, command: str) -> list[Word]:
        assert_type(task.max_retcode(), int | None)
        return [str(task.info("own_path", "own")), (NODE,), command]

    def copy_argv(self, task: Task, copy: Copy) -> list[Word]:
        return ["cp", copy.source, (NODE, ":", copy.dest)]


def workers(task: Task, maybe: NodeSet | None) -> None:
    """Each way to a worker has its type."""
    assert_type(task, Task)
    assert_type(task.shell("true"), WorkerPopen)
    assert_type(task.shell("true", key="k", handler=Handler(), timeout=3), WorkerPopen)
    assert_type(task.shell("true", nodes=None, stdin=False), WorkerPopen)
    assert_type(task.shell("true", nodes="n[1-3]"), DistantWorker)
    assert_type(task.shell("true", "n1", remote=False, stderr=True), DistantWorker)
    assert_type(task.shell("true", nodes=["n1"], autoclose=True, tree=False), DistantWorker)
    assert_type(task.shell("true", nodes=NodeSet("n1")), DistantWorker)
    assert_type(task.shell("true", nodes=maybe), WorkerPopen | DistantWorker)
    assert_type(task.run("true"), WorkerPopen)
    assert_type(task.run("true", key=3, handler=Handler(), timeout=1.5), WorkerPopen)
    assert_type(task.run("true", nodes="n1", stderr=True), DistantWorker)
    assert_type(task.run("true", nodes=maybe), WorkerPopen | DistantWorker)
    assert_type(task.copy("a", b"b", "n1", preserve=True), DistantWorker)
    assert_type(task.rcopy("a", "b", NodeSet("n1"), atomic=True), DistantWorker)
    assert_type(task.iter_outcomes("true"), Outcomes[WorkerPopen])
    assert_type(task.iter_outcomes("true", nodes="n1", timeout=3), Outcomes[DistantWorker])
    assert_type(task.iter_outcomes("true", nodes=maybe), Outcomes[WorkerPopen | DistantWorker])
    for outcome in task.iter_outcomes("true", nodes="n1"):
        assert_type(outcome, NodeOutcome)
    with task.iter_outcomes("true", key="k") as outcomes:
        assert_type(outcomes.worker, WorkerPopen)
    task.set_info("retry", RetryPolicy(2, frozenset(("lost",)), delay=0.5))
    task.run()
    task.run(5)
    task.run(timeout=2.5, stdin=False)
    task.resume(3)
    task_wait()


def results(worker: DistantWorker, local: WorkerPopen, task: Task) -> None:
    """What a worker and a task give out."""
    assert_type(worker.nodes, NodeSet)
    assert_type(worker.command, str | None)
    assert_type(worker.node_retcode("n1"), int)
    assert_type(worker.iter_retcodes(), Iterator[tuple[int, NodeSet]])
    assert_type(worker.iter_buffers(), Iterator[tuple[MsgTreeElem, NodeSet]])
    assert_type(worker.iter_node_buffers(["n1"]), Iterator[tuple[str, MsgTreeElem]])
    assert_type(worker.outcomes(), Iterator[NodeOutcome])
    assert_type(local.retcode(), int | None)
    assert_type(local.read(), bytes | None)
    assert_type(task.max_retcode(), int | None)
    assert_type(task.node_buffer("n1"), bytes)
    assert_type(task.iter_retcodes(), Iterator[tuple[int, list[Any]]])
    assert_type(task.iter_buffers(), Iterator[tuple[MsgTreeElem, list[Any]]])
    assert_type(task.timer(1, Handler(), interval=2), EngineTimer)
    assert_type(task.port(Handler()), EnginePort)
    assert_type(task.running(), bool | None)


async def in_a_loop(maybe: NodeSet | None) -> None:
    """Runs of asyncio."""
    assert_type(mpshell.aio.run("true"), mpshell.aio.AsyncRun[WorkerPopen])
    assert_type(
        mpshell.aio.run("true", nodes="n1", info={"fanout": 3}), mpshell.aio.AsyncRun[DistantWorker]
    )
    assert_type(
        mpshell.aio.run("true", nodes=maybe), mpshell.aio.AsyncRun[WorkerPopen | DistantWorker]
    )
    async with mpshell.aio.run("true", nodes="n1", stdin=True) as run:
        assert_type(run, mpshell.aio.AsyncRun[DistantWorker])
        assert_type(run.worker, DistantWorker)
        async for outcome in run:
            assert_type(outcome, NodeOutcome)
            assert_type(run.worker.attempts(outcome.node), list[NodeOutcome])


def sets() -> None:
    """Node sets and texts."""
    nodes = NodeSet("n[1-9]") | NodeSet("m1")
    assert_type(nodes, NodeSet)
    assert_type(nodes[0], str)
    assert_type(nodes[1:3], NodeSet)
    assert_type([node for node in nodes], list[str])
    assert_type(expand("n[1-3]"), list[str])
    assert_type(fold(["n1", "n2"]), str)
    assert_type(bytes(MsgTreeElem(b"line", parent=MsgTreeElem()).append(b"next")), bytes)
    assert_type([keys for _, keys in MsgTree().walk(match=str.isalpha)], list[list[Any]])
    assert_type(RangeSet("1-3").padding, int | None)
    assert_type(DEFAULTS, Defaults)
    assert_type(EngineEPoll.identifier, str)
    assert_type(mpshell.task_self(), Task)


def main() -> int:
    task = task_self()
    try:
        task.schedule(ExecWorker("n[1-3]", Handler(), 10, command="echo %h"))
        task.schedule(WorkerSsh("n1", handler=None, command="true"))
        task.schedule(StreamWorker(Handler(), key="k"))
        workers(task, None)
    except (TaskError, WorkerError, mpshell.TimeoutError):
        return 1
    return 0
