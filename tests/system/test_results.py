"""Results: buffers, errors, return codes, timeouts, on the Task and on the Worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell import EventHandler, ExecWorker, MsgTreeElem, NodeSet, Task, WorkerPopen
from tests.support import engines_rest, eventually
from tests.system.recorder import Recorder, folded, until

Sweep = Callable[..., ExecWorker]
PARITY = "echo $((%n % 2)); echo e$((%n % 3)) >&2; exit $((%n % 4))".replace(" % ", " %% ")


def test_node_buffers_errors_and_retcodes(task: Task, sweep: Sweep) -> None:
    worker = sweep("n[1-12]", "echo out %h; echo err %h >&2; exit %n", stderr=True)
    for rank, node in enumerate(NodeSet("n[1-12]")):
        out, err = b"out " + node.encode(), b"err " + node.encode()
        assert worker.node_buffer(node) == out == task.node_buffer(node) == task.key_buffer(node)
        assert worker.node_error(node) == err == worker.node_error_buffer(node)
        assert task.node_error(node) == err == task.key_error(node)
        assert worker.read(node) == out and worker.read(node, sname="stderr") == err
        assert worker.node_retcode(node) == rank == worker.node_rc(node)
        assert task.node_retcode(node) == rank == task.key_retcode(node)
    assert task.max_retcode() == 11


def test_a_silent_node_reads_none_on_the_worker_and_empty_on_the_task(
    task: Task, sweep: Sweep
) -> None:
    worker = sweep("n[1-3]", "true")
    assert worker.node_buffer("n1") is None and worker.node_error("n1") is None
    assert worker.read("n1") is None and worker.node_buffer("unknown") is None
    assert task.node_buffer("n1") == b"" and task.node_error("n1") == b""
    assert task.key_buffer("unknown") == b"" and task.key_error("unknown") == b""
    assert list(task.iter_buffers()) == [] == list(task.iter_errors())
    assert list(worker.iter_buffers()) == [] == list(worker.iter_errors())


def test_retcode_of_an_unknown_or_unfinished_node_is_a_key_error(task: Task, sweep: Sweep) -> None:
    found: list[Any] = []

    def look(worker: Any, node: str, *rest: Any) -> None:
        with pytest.raises(KeyError):
            worker.node_retcode(node)
        with pytest.raises(KeyError):
            task.node_retcode(node)
        found.append(node)

    worker = sweep("n[1-4]", "echo x", handler=Recorder(read=look))
    assert len(found) == 4
    for read in (worker.node_retcode, worker.node_rc, task.key_retcode, task.node_retcode):
        with pytest.raises(KeyError):
            read("nobody")


def test_same_output_of_many_nodes_is_one_message(task: Task, sweep: Sweep) -> None:
    worker = sweep("n[1-60]", PARITY, stderr=True)
    even = NodeSet.fromlist([f"n{i}" for i in range(1, 61, 2)])
    odd = NodeSet("n[1-60]") - even
    by_worker = {bytes(elem): nodes for elem, nodes in worker.iter_buffers()}
    assert by_worker == {b"0": even, b"1": odd}
    assert all(isinstance(nodes, NodeSet) for nodes in by_worker.values())
    by_task = list(task.iter_buffers())
    assert folded(by_task) == {b"0": sorted(even), b"1": sorted(odd)}
    assert all(type(keys) is list for _, keys in by_task)
    errors = {bytes(elem): len(nodes) for elem, nodes in worker.iter_errors()}
    assert errors == {b"e0": 20, b"e1": 20, b"e2": 20}
    assert folded(task.iter_errors()) == folded(worker.iter_errors())


def test_retcodes_are_grouped(task: Task, sweep: Sweep) -> None:
    worker = sweep("n[1-8]", PARITY)
    groups = {rc: nodes for rc, nodes in worker.iter_retcodes()}
    assert {rc: str(nodes) for rc, nodes in groups.items()} == {
        0: "n[1,5]",
        1: "n[2,6]",
        2: "n[3,7]",
        3: "n[4,8]",
    }
    assert all(isinstance(nodes, NodeSet) for nodes in groups.values())
    by_task = {rc: keys for rc, keys in task.iter_retcodes()}
    assert all(type(keys) is list for keys in by_task.values())
    assert {rc: sorted(keys) for rc, keys in by_task.items()} == {
        rc: sorted(nodes) for rc, nodes in groups.items()
    }
    assert sorted(worker.iter_node_retcodes()) == [(f"n{i + 1}", i % 4) for i in range(8)]


class OneByOne(EventHandler):
    """Lets the command of a node go on when the end of the one before was reported: one end in a turn."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ended = 0
        path.with_suffix(".0").touch()

    def command(self, codes: str) -> str:
        return f"{until(self.path.with_suffix('.%n'))}; set -- {codes}; shift %n; exit $1"

    def ev_hup(self, worker: Any, node: Any, rc: int | None) -> None:
        self.ended += 1
        self.path.with_suffix(f".{self.ended}").touch()


def test_codes_come_as_the_run_saw_them_first(
    solo_task: Task, solo_sweep: Sweep, tmp_path: Path
) -> None:
    turns = OneByOne(tmp_path / "go")
    worker = solo_sweep("n[1-6]", turns.command("3 0 1 0 3 2"), handler=turns)
    assert [(rc, str(nodes)) for rc, nodes in worker.iter_retcodes()] == [
        (3, "n[1,5]"),
        (0, "n[2,4]"),
        (1, "n3"),
        (2, "n6"),
    ]
    assert [rc for rc, _ in solo_task.iter_retcodes()] == [3, 0, 1, 2]
    assert [rc for rc, _ in worker.iter_retcodes(["n6", "n3", "n2"])] == [0, 1, 2]
    assert [rc for rc, _ in solo_task.iter_retcodes(["n6"])] == [3, 0, 1, 2]


def test_codes_of_a_worker_come_as_the_run_of_all_saw_them_first(solo_task: Task) -> None:
    later: list[Any] = []

    def go_on(worker: Any, timedout: bool) -> None:
        later.append(solo_task.shell("exit $((3 * %n))", nodes="n[2-3]", remote=False))
        later.append(solo_task.shell("exit 7", key="k"))

    first = solo_task.run("exit 3", nodes="n1", remote=False, handler=Recorder(close=go_on))
    assert [rc for rc, _ in first.iter_retcodes()] == [3]
    assert [rc for rc, _ in later[0].iter_retcodes()] == [3, 0]
    assert later[1].retcode() == 7
    assert [rc for rc, _ in solo_task.iter_retcodes()] in ([3, 0, 7], [3, 7, 0])
    # The next run begins anew.
    solo_task.set_info("fanout", 1)
    solo_task.run("exit $((3 * %n))", nodes="n[2-3]", remote=False)
    assert [rc for rc, _ in solo_task.iter_retcodes()] == [0, 3]


def test_codes_seen_in_one_turn_come_in_ascending_order(solo_task: Task, tmp_path: Path) -> None:
    solo_task.set_info("engines", 1)

    def wait_for_all(worker: Any) -> None:
        """All have ended, and are in the frames of one turn, when this returns."""
        go.touch()
        assert eventually(lambda: len(list(tmp_path.iterdir())) == 5 and engines_rest())

    # None ends before it is waited for, in the turn of its start.
    go = tmp_path / "go"
    worker = solo_task.run(
        f"{until(go)}; set -- 3 0 2 1; shift %n; touch {tmp_path}/%n; exit $1",
        nodes="n[1-4]",
        remote=False,
        handler=Recorder(start=wait_for_all),
    )
    assert [rc for rc, _ in worker.iter_retcodes()] == [0, 1, 2, 3]
    assert [rc for rc, _ in solo_task.iter_retcodes()] == [0, 1, 2, 3]


def test_iteration_over_nodes(task: Task, sweep: Sweep) -> None:
    worker = sweep("n[1-5]", "echo %h; echo e%n >&2", stderr=True)
    assert {node: bytes(elem) for node, elem in worker.iter_node_buffers()} == {
        f"n{i}": b"n%d" % i for i in range(1, 6)
    }
    assert {node: bytes(elem) for node, elem in worker.iter_node_errors()} == {
        f"n{i}": b"e%d" % (i - 1) for i in range(1, 6)
    }


def test_match_keys_restrict_buffers_and_errors(task: Task, sweep: Sweep) -> None:
    worker = sweep("n[1-6]", PARITY, stderr=True)
    for match in (["n1", "n2"], NodeSet("n[1-2]"), ("n1", "n2")):
        assert folded(worker.iter_buffers(match)) == {b"0": ["n1"], b"1": ["n2"]}
        assert folded(worker.iter_errors(match)) == {b"e0": ["n1"], b"e1": ["n2"]}
        assert folded(task.iter_buffers(match)) == {b"0": ["n1"], b"1": ["n2"]}
        assert folded(task.iter_errors(match)) == {b"e0": ["n1"], b"e1": ["n2"]}
    assert [(n, bytes(e)) for n, e in worker.iter_node_buffers(["n3"])] == [("n3", b"0")]
    assert [(n, bytes(e)) for n, e in worker.iter_node_errors(["n3"])] == [("n3", b"e2")]


def test_empty_match_keys_of_a_worker_match_nothing(sweep: Sweep) -> None:
    worker = sweep("n[1-6]", PARITY, stderr=True)
    assert list(worker.iter_buffers([])) == [] == list(worker.iter_errors([]))
    assert list(worker.iter_retcodes([])) == [] == list(worker.iter_node_buffers([]))


def test_empty_match_keys_of_a_task_match_nothing(task: Task, sweep: Sweep) -> None:
    sweep("n[1-6]", PARITY, stderr=True)
    assert list(task.iter_buffers([])) == [] == list(task.iter_errors([]))
    assert dict(task.iter_retcodes([])) == {0: [], 1: [], 2: [], 3: []}


def test_match_keys_given_as_text_are_a_type_error(task: Task, sweep: Sweep) -> None:
    worker = sweep("n[1-2]", "echo x; echo y >&2", stderr=True)
    by_node = worker.iter_node_buffers("n1"), worker.iter_node_errors("n1")
    for iterator in (worker.iter_buffers("n1"), worker.iter_errors("n1"), *by_node):
        with pytest.raises(TypeError, match="'n1'"):
            list(iterator)
    for method in (task.iter_buffers, task.iter_errors):
        with pytest.raises(TypeError):
            list(method("n1"))


def test_match_keys_of_a_workers_retcodes_may_be_text(sweep: Sweep) -> None:
    worker = sweep("n[1-6]", PARITY)
    assert [(rc, str(nodes)) for rc, nodes in worker.iter_retcodes("n3")] == [(2, "n3")]
    assert {rc: str(nodes) for rc, nodes in worker.iter_retcodes(["n1", "n5", "n2"])} == {
        0: "n[1,5]",
        1: "n2",
    }


def test_match_keys_of_a_tasks_retcodes_keep_the_codes_without_keys(
    task: Task, sweep: Sweep
) -> None:
    sweep("n[1-8]", PARITY)
    found = {rc: sorted(keys) for rc, keys in task.iter_retcodes(["n1", "n5", "n2"])}
    assert found == {0: ["n1", "n5"], 1: ["n2"], 2: [], 3: []}


def test_gathering_retcodes_then_buffers_and_back(solo_task: Task) -> None:
    table = [("a", "bar", 1), ("b", "bur", 1), ("c", "bar", 1)]
    table += [("d", "fuu", 5), ("e", "bar", 4), ("f", "fuu", 1)]
    for key, word, rc in table:
        solo_task.shell(f"printf 'foo\\n{word}\\n'; exit {rc}", key=key)
    solo_task.resume()
    pairs = [
        (rc, bytes(elem), sorted(keys))
        for rc, of_rc in solo_task.iter_retcodes()
        for elem, keys in solo_task.iter_buffers(of_rc)
    ]
    assert sorted(pairs) == [
        (1, b"foo\nbar", ["a", "c"]),
        (1, b"foo\nbur", ["b"]),
        (1, b"foo\nfuu", ["f"]),
        (4, b"foo\nbar", ["e"]),
        (5, b"foo\nfuu", ["d"]),
    ]
    back = [
        (bytes(elem), rc)
        for elem, of_elem in solo_task.iter_buffers()
        for rc, _ in solo_task.iter_retcodes(of_elem)
    ]
    assert len(back) == 9 and len(set(back)) == 9


def test_a_gathered_message_behaves_as_bytes(solo_sweep: Sweep) -> None:
    worker = solo_sweep("n[1-2]", "echo foo; echo bar; echo")
    [(elem, nodes)] = worker.iter_buffers()
    assert isinstance(elem, MsgTreeElem) and str(nodes) == "n[1-2]"
    assert elem == b"foo\nbar\n" and bytes(elem) == b"foo\nbar\n" == elem.message()
    assert len(elem) == 8 and elem != b"foo"
    assert [bytes(line) for line in elem][:2] == [b"foo", b"bar"]
    assert [bytes(line) for line in elem.lines()][:2] == [b"foo", b"bar"]
    assert elem[1] == b"bar"
    with pytest.raises(TypeError):
        str(elem)
    assert MsgTreeElem() == b"" and list(MsgTreeElem()) == [] and list(MsgTreeElem(b"")) == [b""]


def test_a_final_newline_is_never_part_of_a_message(solo_task: Task, solo_sweep: Sweep) -> None:
    worker = solo_sweep("n[1-2]", "echo foo; echo bar")
    [(elem, _)] = worker.iter_buffers()
    assert bytes(elem) == b"foo\nbar" == worker.node_buffer("n1") == solo_task.node_buffer("n2")
    assert elem == b"foo\nbar"


def test_key_retcode_and_key_buffer_span_the_workers_of_a_key(solo_task: Task) -> None:
    solo_task.shell("echo foo; exit 4", key="k")
    solo_task.shell("sleep 0.2; echo bar; exit 1", key="k")
    solo_task.shell("exit 2", key="other")
    solo_task.resume()
    assert solo_task.key_retcode("k") == 4 and solo_task.key_retcode("other") == 2
    assert solo_task.key_buffer("k") in (b"foobar", b"barfoo")
    assert solo_task.max_retcode() == 4
    assert {rc for rc, keys in solo_task.iter_retcodes() if "k" in keys} == {1, 4}


def test_what_commands_of_one_key_say_alike_is_there_as_often(solo_task: Task) -> None:
    for _ in range(2):
        solo_task.shell("echo foo", key="k")
    solo_task.shell("echo foo", nodes="k", remote=False)
    solo_task.resume()
    assert solo_task.key_buffer("k") == b"foofoofoo"
    assert [(bytes(elem), keys) for elem, keys in solo_task.iter_buffers()] == [(b"foo", ["k"] * 3)]


def test_nodes_of_two_workers_keep_apart_on_the_workers(task: Task) -> None:
    first = ExecWorker("n[1-9]", None, command="echo 1%h; exit 1")
    second = ExecWorker("n[1-9]", None, command="echo 2%h; exit 2")
    task.schedule(first)
    task.schedule(second)
    task.resume()
    assert first.node_buffer("n3") == b"1n3" and second.node_buffer("n3") == b"2n3"
    assert first.node_retcode("n3") == 1 and second.node_retcode("n3") == 2
    assert task.node_retcode("n3") == 2
    assert sorted(task.node_buffer("n3").split(b"n3")) == [b"", b"1", b"2"]


def test_max_retcode_is_none_without_any_code(solo_task: Task, solo_sweep: Sweep) -> None:
    assert solo_task.max_retcode() is None
    solo_sweep("n[1-2]", "sleep 60", timeout=0.2)
    assert solo_task.max_retcode() is None
    solo_sweep("n[1-2]", "true")
    assert solo_task.max_retcode() == 0


def test_a_new_run_forgets_the_results_of_the_last(task: Task, sweep: Sweep) -> None:
    old = sweep("n[1-3]", "echo x; echo y >&2; exit 1", stderr=True)
    late = sweep("n9", "sleep 60", timeout=0.2)
    assert old.node_buffer("n1") is None and task.node_buffer("n1") == b""
    assert late.num_timeout() == 1
    sweep("m1", "echo z")
    assert old.node_error("n1") is None and list(old.iter_buffers()) == []
    assert list(old.iter_retcodes()) == [] and late.num_timeout() == 0 == task.num_timeout()
    with pytest.raises(KeyError):
        old.node_retcode("n1")
    with pytest.raises(KeyError):
        task.node_retcode("n1")
    assert folded(task.iter_buffers()) == {b"z": ["m1"]}
    assert [(rc, keys) for rc, keys in task.iter_retcodes()] == [(0, ["m1"])]


def test_results_are_forgotten_when_the_next_run_starts_not_when_work_is_added(
    task: Task, sweep: Sweep
) -> None:
    sweep("n1", "echo x")
    task.shell("true")
    assert task.node_buffer("n1") == b"x"
    task.resume()
    assert task.node_buffer("n1") == b""


def test_retcode_of_a_local_command_survives_the_next_run(solo_task: Task) -> None:
    worker = solo_task.shell("echo x; exit 7")
    solo_task.resume()
    assert worker.read() == b"x"
    solo_task.run("true")
    assert worker.retcode() == 7 and worker.read() is None


def test_flush_drops_the_recorded_output(task: Task, sweep: Sweep) -> None:
    worker = sweep("n[1-3]", "echo x; echo y >&2; exit 1", stderr=True)
    task.flush_buffers()
    assert list(task.iter_buffers()) == [] == list(worker.iter_buffers())
    assert worker.node_buffer("n1") is None and worker.node_error("n1") == b"y"
    task.flush_errors()
    assert list(task.iter_errors()) == [] == list(worker.iter_errors())
    assert worker.node_retcode("n1") == 1


def test_flush_of_a_worker_leaves_the_others(task: Task) -> None:
    first = ExecWorker("n[1-3]", None, command="echo x; echo y >&2", stderr=True)
    second = ExecWorker("n[1-3]", None, command="echo x; echo y >&2", stderr=True)
    task.schedule(first)
    task.schedule(second)
    task.resume()
    first.flush_buffers()
    assert list(first.iter_buffers()) == [] and first.node_error("n1") == b"y"
    assert folded(second.iter_buffers()) == {b"x": ["n1", "n2", "n3"]}
    first.flush_errors()
    assert list(first.iter_errors()) == [] and second.node_error("n1") == b"y"


def test_flush_during_the_run_keeps_later_output(solo_task: Task, solo_sweep: Sweep) -> None:
    def flush(worker: Any, node: str, sname: str, msg: bytes) -> None:
        if msg == b"flush":
            worker.flush_buffers()

    worker = solo_sweep("n1", "echo a; echo flush; echo b", handler=Recorder(read=flush))
    kept = worker.node_buffer("n1") or b""
    assert kept.endswith(b"b") and b"a" not in kept


def test_results_of_nodes_that_timed_out(task: Task, sweep: Sweep) -> None:
    worker = sweep("n[1-4]", "echo x; case %h in n2|n4) sleep 60;; esac", timeout=3)
    assert worker.num_timeout() == 2 == task.num_timeout()
    assert sorted(worker.iter_keys_timeout()) == ["n2", "n4"] == sorted(task.iter_keys_timeout())
    assert worker.did_timeout()
    assert folded(worker.iter_buffers()) == {b"x": ["n1", "n2", "n3", "n4"]}
    assert sorted(worker.iter_node_retcodes()) == [("n1", 0), ("n3", 0)]


def test_local_worker_results_by_key_and_without(solo_task: Task) -> None:
    keyed = solo_task.shell("echo a; echo b >&2", key="k", stderr=True)
    plain = solo_task.shell("echo c")
    solo_task.resume()
    assert keyed.read() == b"a" and keyed.read(sname="stderr") == b"b" and plain.read() == b"c"
    assert solo_task.key_buffer("k") == b"a" and solo_task.key_error("k") == b"b"
    by_key = {bytes(elem): keys for elem, keys in solo_task.iter_buffers()}
    assert by_key == {b"a": ["k"], b"c": [plain]}
    assert isinstance(plain, WorkerPopen)
