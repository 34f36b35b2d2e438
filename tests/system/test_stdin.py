"""Standard input of commands: written before and during the run, to many nodes, to dead readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell import ExecWorker, Task
from tests.system.recorder import Recorder, until

Sweep = Callable[..., ExecWorker]


def start(task: Task, nodes: str, command: str, handler: Any = None, **options: Any) -> ExecWorker:
    """Schedule an ExecWorker that a test can write to."""
    worker = ExecWorker(nodes, handler, command=command, **options)
    task.schedule(worker)
    return worker


def buffers(worker: ExecWorker) -> dict[str, bytes]:
    return {node: bytes(elem) for node, elem in worker.iter_node_buffers()}


def test_writes_before_the_run_reach_every_node(task: Task) -> None:
    seen = Recorder()
    worker = start(task, "n[1-10]", "cat", seen)
    worker.write(b"foobar\n")
    worker.write(b"deadbeaf\n")
    worker.set_write_eof()
    task.resume()
    assert buffers(worker) == {f"n{i}": b"foobar\ndeadbeaf" for i in range(1, 11)}
    assert seen.names()[0] == "start" and seen.names()[-1] == "close"
    assert {event[2] for event in seen.of("written")} == {"stdin"}
    for i in range(1, 11):
        assert sum(event[3] for event in seen.of("written") if event[1] == f"n{i}") == 16


def test_a_small_write_is_one_event_and_eof_is_none(solo_task: Task) -> None:
    seen = Recorder()
    worker = start(solo_task, "n1", "cat", seen)
    worker.write(b"abcdefghijklmnopqrstuvwxyz\n")
    worker.set_write_eof()
    worker.set_write_eof()
    solo_task.resume()
    assert seen.of("written") == [("written", "n1", "stdin", 27)]
    assert seen.names()[:2] == ["start", "pickup"]


def test_eof_alone_ends_a_reader(task: Task) -> None:
    seen = Recorder()
    worker = start(task, "n[1-4]", "cat; exit 3", seen)
    worker.set_write_eof()
    task.resume()
    assert seen.rcs() == {f"n{i}": 3 for i in range(1, 5)} and not seen.of("written")


def test_eof_may_come_as_late_as_in_ev_start(solo_task: Task) -> None:
    handler = Recorder(start=lambda worker: worker.set_write_eof())
    worker = solo_task.shell("sleep 0.2; cat", handler=handler)
    worker.write(b"cracoucasse\n")
    solo_task.resume()
    assert worker.read() == b"cracoucasse"


@pytest.mark.parametrize("event", ["start", "pickup", "read"])
def test_writes_and_eof_from_handlers(task: Task, event: str) -> None:
    done: list[int] = []

    def write(worker: Any, *rest: Any) -> None:
        if not done:
            done.append(1)
            worker.write(b"from handler\n", worker.SNAME_STDIN)
            worker.set_write_eof(worker.SNAME_STDIN)

    worker = start(task, "n[1-3]", "echo hello; cat", Recorder(**{event: write}))
    task.resume()
    assert buffers(worker) == {f"n{i}": b"hello\nfrom handler" for i in range(1, 4)}


def test_write_in_ev_start_then_abort_in_ev_read(solo_task: Task) -> None:
    seen = Recorder(
        start=lambda worker: worker.write(b"foo bar\n"),
        read=lambda worker, *rest: worker.abort(),
    )
    solo_task.shell("cat", handler=seen)
    solo_task.resume()
    assert seen.lines() == [b"foo bar"] and seen.closes() == [False] and not seen.of("hup")


def test_a_handler_of_one_worker_writes_to_another(task: Task) -> None:
    reader = start(task, "r[1-2]", "cat")

    def forward(worker: Any, node: str, sname: str, msg: bytes) -> None:
        reader.write(node.encode() + b":" + msg + b"\n")
        reader.set_write_eof()

    start(task, "n1", "sleep 0.2; echo foobar", Recorder(read=forward))
    task.resume()
    assert buffers(reader) == {"r1": b"n1:foobar", "r2": b"n1:foobar"}


def test_a_dialogue_of_many_lines(solo_task: Task) -> None:
    count = 0

    def answer(worker: Any, *rest: Any) -> None:
        nonlocal count
        count += 1
        if count == 100:
            worker.write(b"another thing to read\n")
            worker.set_write_eof()

    worker = solo_task.shell("cat", handler=Recorder(read=answer))
    feed = Recorder(timer=lambda timer: worker.write(b"something to read\n" * 300))
    solo_task.timer(0.3, feed)
    solo_task.resume()
    assert count == 301 and (worker.read() or b"").endswith(b"another thing to read")


def test_writes_are_kept_for_nodes_that_have_not_started(task: Task) -> None:
    task.set_info("fanout", 1)
    worker = start(task, "n[1-4]", "cat")
    worker.write(b"early\n")
    worker.set_write_eof()
    task.resume()
    assert buffers(worker) == {f"n{i}": b"early" for i in range(1, 5)}


def test_writes_during_the_run_reach_later_nodes_and_skip_finished_ones(task: Task) -> None:
    task.set_info("fanout", 1)

    def more(worker: Any, node: str, rc: int) -> None:
        if node == "n1":
            worker.write(b"more\n")
            worker.set_write_eof()

    command = "case %h in n1) echo first;; *) cat;; esac"
    seen = Recorder(hup=more)
    worker = start(task, "n[1-4]", command, seen)
    task.resume()
    assert buffers(worker) == {"n1": b"first", "n2": b"more", "n3": b"more", "n4": b"more"}
    assert set(seen.nodes("written")) == {"n2", "n3", "n4"}


def test_without_eof_the_input_stays_open(solo_sweep: Sweep) -> None:
    worker = solo_sweep("n[1-2]", "cat", timeout=0.4)
    assert worker.num_timeout() == 2


def test_stdin_false_closes_the_input_at_once(solo_task: Task) -> None:
    solo_task.set_default("distant_worker", ExecWorker)
    local = solo_task.shell("cat; echo x", stdin=False)
    distant = solo_task.shell("cat; echo y", nodes="n[1-3]", stdin=False)
    solo_task.resume()
    assert local.read() == b"x" and distant.node_buffer("n2") == b"y"
    assert solo_task.run("cat; exit 4", stdin=False).retcode() == 4
    solo_task.set_default("stdin", False)
    assert solo_task.run("cat; exit 5").retcode() == 5


def test_more_than_a_pipe_holds_to_several_nodes(task: Task) -> None:
    seen = Recorder()
    worker = start(task, "n[1-5]", "wc -c", seen)
    for _ in range(16):
        worker.write(b"x" * 65536)
    worker.set_write_eof()
    task.resume()
    assert {int(text) for text in buffers(worker).values()} == {1 << 20}
    for i in range(1, 6):
        assert sum(event[3] for event in seen.of("written") if event[1] == f"n{i}") == 1 << 20


def test_input_and_output_both_full(task: Task) -> None:
    text = b"".join(b"line %d of the text\n" % i for i in range(120_000))
    worker = start(task, "n[1-2]", "cat")
    worker.write(text)
    worker.set_write_eof()
    task.resume()
    assert buffers(worker) == {"n1": text.rstrip(b"\n"), "n2": text.rstrip(b"\n")}


def test_a_reader_that_is_gone_harms_nobody(task: Task) -> None:
    command = "case %h in n2) exit 7;; n3) head -c 5; exit 8;; *) sleep 0.2; wc -c;; esac"
    seen = Recorder()
    worker = start(task, "n[1-5]", command, seen)
    for _ in range(20):
        worker.write(b"y" * 50_000)
    worker.set_write_eof()
    task.resume()
    assert seen.rcs() == {"n1": 0, "n2": 7, "n3": 8, "n4": 0, "n5": 0}
    assert [int(worker.node_buffer(node) or 0) for node in ("n1", "n4", "n5")] == [1_000_000] * 3
    assert worker.node_buffer("n3") == b"yyyyy" and seen.closes() == [False]


def test_a_slow_reader_holds_back_nobody(task: Task, tmp_path: Path) -> None:
    order: list[str] = []
    go = tmp_path / "go"

    def end(worker: Any, node: str, rc: int) -> None:
        order.append(node)
        if len(order) == 3:
            go.touch()

    command = f"case %h in n1) {until(go)};; esac; wc -c"
    worker = start(task, "n[1-4]", command, Recorder(hup=end))
    worker.write(b"z" * 500_000)
    worker.set_write_eof()
    task.resume()
    assert order[-1] == "n1" and {int(text) for text in buffers(worker).values()} == {500_000}


def test_a_command_that_closes_its_input_goes_on(solo_task: Task) -> None:
    handler = Recorder(read=lambda worker, *rest: worker.write(b"late\n" * 1000))
    worker = start(solo_task, "n[1-2]", "exec <&-; echo closed; sleep 0.3; exit 2", handler)
    solo_task.resume()
    assert dict(worker.iter_node_retcodes()) == {"n1": 2, "n2": 2}


def test_writes_after_the_eof_but_before_the_start_are_still_written(solo_task: Task) -> None:
    worker = start(solo_task, "n[1-2]", "cat")
    worker.write(b"early ")
    worker.set_write_eof()
    worker.write(b"late")
    solo_task.resume()
    assert set(buffers(worker).values()) == {b"early late"}


def test_writes_after_the_end_are_harmless(solo_task: Task) -> None:
    worker = solo_task.shell("head -c 3; exit 6")
    worker.write(b"abcdef")
    solo_task.resume()
    worker.write(b"too late")
    worker.set_write_eof()
    assert worker.read() == b"abc" and worker.retcode() == 6


def test_bytes_are_written_unchanged(solo_task: Task) -> None:
    data = bytes(range(256)) * 40
    worker = start(solo_task, "n[1-2]", "od -An -v -tx1")
    worker.write(data)
    worker.set_write_eof()
    solo_task.resume()
    for text in buffers(worker).values():
        assert bytes.fromhex(text.decode()) == data
