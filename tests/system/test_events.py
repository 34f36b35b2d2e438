"""Events: which, how often, in which order, in which thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mpshell import EventHandler, ExecWorker, NodeSet, Task
from tests.system.recorder import Recorder, until

Sweep = Callable[..., ExecWorker]
NODES = NodeSet("n[1-120]")


def test_order_and_counts_over_many_nodes(task: Task, sweep: Sweep) -> None:
    task.set_info("fanout", 16)
    seen = Recorder()
    sweep(NODES, "echo one %h; echo two; exit 3", handler=seen)
    assert seen.names()[0] == "start" and seen.count("start") == 1
    assert seen.names()[-1] == "close" and seen.closes() == [False]
    assert len(seen.events) == 2 + 4 * len(NODES)
    for node in NODES:
        assert [event for event in seen.events if len(event) > 1 and event[1] == node] == [
            ("pickup", node),
            ("read", node, "stdout", b"one " + node.encode()),
            ("read", node, "stdout", b"two"),
            ("hup", node, 3),
        ]


def test_every_worker_has_its_own_start_and_close(task: Task) -> None:
    seen = [Recorder() for _ in range(5)]
    for recorder in seen:
        task.schedule(ExecWorker("n[1-30]", recorder, command="true"))
    task.resume()
    for recorder in seen:
        assert recorder.names()[0] == "start" and recorder.names()[-1] == "close"
        assert [recorder.count(name) for name in ("start", "pickup", "hup", "close")] == [
            1,
            30,
            30,
            1,
        ]


def test_handler_with_one_method_gets_just_that(sweep: Sweep) -> None:
    class OnlyPickup(EventHandler):
        got: ClassVar[list[Any]] = []

        def ev_pickup(self, worker: Any, node: Any) -> None:
            self.got.append(node)

    class OnlyRead(EventHandler):
        got: ClassVar[list[Any]] = []

        def ev_read(self, worker: Any, node: Any, sname: str, msg: bytes) -> None:
            self.got.append(msg.decode())

    class OnlyHup(EventHandler):
        got: ClassVar[list[Any]] = []

        def ev_hup(self, worker: Any, node: Any, rc: Any) -> None:
            self.got.append(node)

    for cls in (OnlyPickup, OnlyRead, OnlyHup):
        worker = sweep(NODES, "echo %h", handler=cls())
        assert sorted(cls.got) == sorted(NODES)
        assert worker.node_buffer("n7") == b"n7"
        assert dict(worker.iter_node_retcodes()) == dict.fromkeys(NODES, 0)


def test_handler_with_ev_close_alone_finds_the_results(sweep: Sweep) -> None:
    class OnlyClose(EventHandler):
        found: Any = None

        def ev_close(self, worker: Any, timedout: bool) -> None:
            buffers = [(bytes(elem), str(nodes)) for elem, nodes in worker.iter_buffers()]
            self.found = (timedout, buffers, len(list(worker.iter_node_retcodes())))

    handler = OnlyClose()
    sweep(NODES, "echo same", handler=handler)
    assert handler.found == (False, [(b"same", "n[1-120]")], 120)


def test_results_of_a_node_are_there_in_its_ev_hup(sweep: Sweep) -> None:
    found: dict[str, Any] = {}

    def look(worker: Any, node: str, rc: int) -> None:
        found[node] = (worker.node_buffer(node), worker.node_retcode(node), rc)

    class Hup(EventHandler):
        def ev_hup(self, worker: Any, node: Any, rc: Any) -> None:
            look(worker, node, rc)

    sweep("n[1-40]", "echo %h; exit %n", handler=Hup())
    assert found == {f"n{i}": (b"n%d" % i, i - 1, i - 1) for i in range(1, 41)}


def test_handlers_run_in_the_thread_that_owns_the_task(task: Task, sweep: Sweep) -> None:
    seen = Recorder()
    task.timer(0, seen)
    sweep("n[1-10]", "echo x", handler=seen)
    assert seen.threads == {threading.get_ident()}


def test_handlers_of_a_thread_task_run_in_its_thread(thread_task: Task) -> None:
    seen = Recorder()
    thread_task.timer(0, seen)
    thread_task.schedule(ExecWorker("n[1-10]", seen, command="echo x"))
    thread_task.resume()
    thread_task.join()
    assert seen.threads == {thread_task.thread.ident}
    assert seen.count("hup") == 10 and seen.count("timer") == 1


def test_nodes_that_timed_out_have_no_ev_hup(sweep: Sweep) -> None:
    seen = Recorder()
    sweep("n[1-4]", "case %h in n2|n3) sleep 60;; esac", handler=seen, timeout=3)
    assert seen.rcs() == {"n1": 0, "n4": 0}
    assert sorted(seen.nodes("pickup")) == ["n1", "n2", "n3", "n4"]
    assert seen.closes() == [True] and seen.names()[-1] == "close"


def test_a_node_ends_when_its_output_ends_not_at_its_exit(solo_sweep: Sweep) -> None:
    seen = Recorder()
    solo_sweep("n[1-3]", "echo early; (sleep 0.3; echo late) & exit 4", handler=seen)
    for node in ("n1", "n2", "n3"):
        own = [event for event in seen.events if len(event) > 2 and event[1] == node]
        assert [event[-1] for event in own] == [b"early", b"late", 4]


def test_a_descendant_that_holds_the_output_open_is_waited_for_no_longer_than_drain(
    solo_task: Task, pid_file: Path
) -> None:
    solo_task.set_info("drain", 0.3)
    seen = Recorder()
    command = f"sleep 60 & echo $! >> {pid_file}; echo x; exit 5"
    solo_task.schedule(ExecWorker("n1", seen, command=command))
    solo_task.resume()
    assert seen.lines() == [b"x"] and seen.rcs() == {"n1": 5} and seen.closes() == [False]


@pytest.mark.parametrize("event", ["start", "pickup", "read", "hup", "close", "timer"])
def test_work_can_be_scheduled_from_any_handler(task: Task, event: str) -> None:
    later = Recorder()
    given: list[Any] = []

    def more(*args: Any) -> None:
        if not given:
            given.append(ExecWorker("m[1-5]", later, command="echo more"))
            task.schedule(given[0])
            given.append(task.shell("echo local", key="local"))

    first = Recorder(**{event: more})
    if event == "timer":
        task.timer(0.05, first)
    task.schedule(ExecWorker("n[1-3]", first, command="echo x"))
    task.resume()
    assert first.count("hup") == 3 and first.closes() == [False]
    assert later.names()[0] == "start" and later.closes() == [False]
    assert sorted(later.nodes("read")) == ["m1", "m2", "m3", "m4", "m5"]
    assert task.key_buffer("local") == b"local"


def test_scheduling_can_go_on_from_close_to_close(solo_task: Task) -> None:
    rounds: list[bytes] = []

    def again(worker: Any, timedout: bool) -> None:
        rounds.append(worker.read())
        if len(rounds) < 20:
            solo_task.shell(f"echo {len(rounds)}", handler=Recorder(close=again))

    solo_task.shell("echo 0", handler=Recorder(close=again))
    solo_task.resume()
    assert rounds == [b"%d" % i for i in range(20)]


def test_the_task_is_running_in_handlers_only(task: Task, sweep: Sweep) -> None:
    states: list[Any] = []

    def look(*args: Any) -> None:
        states.append(task.running())

    actions = dict.fromkeys(("start", "pickup", "read", "hup", "close"), look)
    assert not task.running()
    sweep("n1", "echo x", handler=Recorder(**actions))
    assert states == [True] * 5
    assert not task.running()


def test_current_attributes_are_set_before_each_event(sweep: Sweep) -> None:
    seen: list[Any] = []

    def read(worker: Any, node: str, sname: str, msg: bytes) -> None:
        text = worker.current_msg if sname == "stdout" else worker.current_errmsg
        seen.append((worker.current_node == node, worker.current_sname == sname, text == msg))

    def hup(worker: Any, node: str, rc: int) -> None:
        seen.append((worker.current_node == node, worker.current_rc == rc))

    def start(worker: Any) -> None:
        seen.append((worker.current_node in worker.nodes,))

    def pickup(worker: Any, node: str) -> None:
        seen.append((worker.current_node == node,))

    handler = Recorder(start=start, pickup=pickup, read=read, hup=hup)
    sweep("n[1-5]", "echo %h; echo e >&2; exit 2", handler=handler, stderr=True)
    assert len(seen) == 21 and all(map(all, seen))


def test_the_handler_of_a_worker_may_be_none_or_replaced_before_the_run(task: Task) -> None:
    seen = Recorder()
    worker = ExecWorker("n[1-3]", None, command="echo x")
    assert worker.eh is None
    worker.eh = seen
    silent = ExecWorker("m[1-3]", Recorder(), command="echo y")
    dropped, silent.eh = silent.eh, None
    task.schedule(worker)
    task.schedule(silent)
    task.resume()
    assert seen.count("read") == 3 and seen.closes() == [False]
    assert dropped.events == [] and silent.node_buffer("m2") == b"y"


def test_a_handler_may_be_given_to_a_running_worker(task: Task, tmp_path: Path) -> None:
    def give(timer: Any) -> None:
        worker.eh = seen
        (tmp_path / "go").touch()

    seen = Recorder()
    worker = ExecWorker("n[1-3]", None, command=f"{until(tmp_path / 'go')}; echo x; exit 4")
    task.schedule(worker)
    task.timer(0.1, Recorder(timer=give))
    task.resume()
    assert seen.rcs() == {"n1": 4, "n2": 4, "n3": 4} and seen.closes() == [False]
    assert seen.names()[-1] == "close" and worker.node_buffer("n2") == b"x"


def test_a_handler_may_be_replaced_or_taken_away_while_its_worker_runs(solo_task: Task) -> None:
    def swap(worker: Any, node: Any, sname: str, msg: bytes) -> None:
        worker.eh = second if msg == b"a" else None

    first = Recorder(read=swap)
    second = Recorder(read=swap)
    worker = solo_task.shell("echo a; sleep 0.3; echo b; sleep 0.3; echo c", handler=first)
    solo_task.resume()
    assert first.names() == ["start", "pickup", "read"] and second.lines() == [b"b"]
    assert second.names() == ["read"] and worker.read() == b"a\nb\nc"


def test_a_replaced_handler_gets_no_other_line_of_the_same_block(solo_task: Task) -> None:
    def swap(worker: Any, *rest: Any) -> None:
        worker.eh = second

    first, second = Recorder(read=swap), Recorder()
    worker = solo_task.shell("printf 'a\\nb\\nc\\n'", handler=first)
    solo_task.resume()
    assert first.lines() == [b"a"] and second.lines() == [b"b", b"c"]
    assert worker.read() == b"a\nb\nc"


def test_a_worker_is_started_when_its_run_starts_it(solo_task: Task) -> None:
    seen = Recorder(start=lambda worker: states.append(bool(worker.started)))
    states: list[bool] = []
    worker = ExecWorker("n1", seen, command="true")
    assert not worker.started
    solo_task.schedule(worker)
    assert not worker.started
    solo_task.resume()
    assert worker.started and len(states) == 1


def test_events_carry_the_worker_itself(task: Task) -> None:
    seen = Recorder()
    workers = {ExecWorker("n[1-3]", seen, command="true") for _ in range(3)}
    for worker in workers:
        task.schedule(worker)
    task.resume()
    assert seen.workers == workers


def test_info_set_in_a_handler_is_seen_at_once(solo_task: Task) -> None:
    values: list[Any] = []

    def change(*args: Any) -> None:
        solo_task.set_info("user_colour", "blue")
        values.append(solo_task.info("user_colour"))

    solo_task.shell("true", handler=Recorder(pickup=change))
    solo_task.resume()
    assert values == ["blue"] and solo_task.info("user_colour") == "blue"


def test_a_worker_without_nodes_has_no_event(solo_task: Task) -> None:
    seen = Recorder()
    solo_task.schedule(ExecWorker(None, seen, command="echo ok"))
    solo_task.resume()
    assert seen.events == [] and solo_task.max_retcode() is None


def test_hosts_placeholder_runs_one_process_with_the_events_of_every_node(
    task: Task, sweep: Sweep, tmp_path: Path
) -> None:
    seen = Recorder()
    worker = sweep("n[1-3]", f"echo x >> {tmp_path}/runs; echo %hosts; exit 3", handler=seen)
    assert (tmp_path / "runs").read_text() == "x\n"
    assert sorted(seen.nodes("pickup")) == ["n1", "n2", "n3"]
    assert seen.rcs() == {"n1": 3, "n2": 3, "n3": 3}
    assert sorted(seen.of("read")) == [("read", f"n{i}", "stdout", b"n[1-3]") for i in (1, 2, 3)]
    assert [(bytes(elem), str(nodes)) for elem, nodes in worker.iter_buffers()] == [
        (b"n[1-3]", "n[1-3]")
    ]
