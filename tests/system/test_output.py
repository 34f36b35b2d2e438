"""Output: lines, bytes, sizes; nothing lost, nothing changed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mpshell import EventHandler, ExecWorker, Task
from tests.system.recorder import Recorder

Sweep = Callable[..., ExecWorker]

# the output of a command -> its lines
LINES: dict[str, list[bytes]] = {
    r"a\nb\n": [b"a", b"b"],
    r"\n": [b""],
    r"\n\na\n\n": [b"", b"", b"a", b""],
    r"no newline": [b"no newline"],
    r"a\nb": [b"a", b"b"],
    r"a\r\nb\r\n": [b"a", b"b"],
    r"\r\n": [b""],
    r"a\0b\0\n\0\n": [b"a\0b\0", b"\0"],
    r"\377\376\303(\n\200": [b"\xff\xfe\xc3(", b"\x80"],
    r"  blanks \t\n": [b"  blanks \t"],
    r"a\vb\fc\034d\n": [b"a\x0bb\x0cc\x1cd"],
    r"a\302\205b\342\200\250c\n": [b"a\xc2\x85b\xe2\x80\xa8c"],
}


def test_lines_of_every_kind(task: Task) -> None:
    pairs = []
    for text, lines in LINES.items():
        seen = Recorder()
        command = f"printf '{text}'".replace("%", "%%")
        worker = ExecWorker("n[1-2]", seen, command=command)
        task.schedule(worker)
        pairs.append((lines, seen, worker))
    task.resume()
    for lines, seen, worker in pairs:
        for node in ("n1", "n2"):
            assert seen.lines(node) == lines
            assert worker.node_buffer(node) == b"\n".join(lines)


def test_an_empty_line_is_a_line(task: Task, sweep: Sweep) -> None:
    seen = Recorder()
    worker = sweep("n[1-2]", "echo", handler=seen)
    assert seen.lines() == [b"", b""]
    assert [(bytes(elem), str(nodes)) for elem, nodes in worker.iter_buffers()] == [(b"", "n[1-2]")]


def test_crlf_over_two_reads_is_one_end_of_line(solo_sweep: Sweep) -> None:
    seen = Recorder()
    worker = solo_sweep("n[1-2]", r"printf 'a\r'; sleep 0.3; printf '\nb\r\n'", handler=seen)
    assert seen.lines("n1") == [b"a", b"b"] == seen.lines("n2")
    assert worker.node_buffer("n1") == b"a\nb"


@pytest.mark.parametrize(
    "text", [r"10%%\r20%%\r30%%\n", r"a\rb\nc\n", r"\rx\n", r"x\ry", r"x\r\ry\r\n", r"a\r"]
)
def test_a_lone_carriage_return_loses_no_text(solo_sweep: Sweep, text: str) -> None:
    expected = text.replace(r"\r", "").replace(r"\n", "").replace("%%", "%").encode()
    seen = Recorder()
    doubled = text.replace("%%", "%%%%")
    worker = solo_sweep("n[1-2]", f"printf '{doubled}'", handler=seen)
    for got in (b"".join(seen.lines("n1")), worker.node_buffer("n2")):
        assert got is not None and got.replace(b"\r", b"").replace(b"\n", b"") == expected


def test_a_line_written_in_pieces_is_one_line(solo_sweep: Sweep) -> None:
    seen = Recorder()
    solo_sweep("n[1-3]", "printf on; sleep 0.1; printf e; sleep 0.1; echo ' line'", handler=seen)
    assert seen.lines() == [b"one line"] * 3


def test_lines_arrive_while_the_command_runs(solo_task: Task, tmp_path: Path) -> None:
    go = tmp_path / "go"
    seen = Recorder(read=lambda worker, node, sname, msg: go.touch())
    wait = f"i=0; while [ ! -e {go} ] && [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); done"
    solo_task.shell(f"echo first; {wait}; [ -e {go} ] && echo second", handler=seen)
    solo_task.resume()
    assert seen.lines() == [b"first", b"second"]


def test_random_bytes_of_many_nodes(task: Task, sweep: Sweep, tmp_path: Path) -> None:
    dice = random.Random(7)
    alphabet = bytes(set(range(256)) - {13})
    data = {}
    for i in range(30):
        size = dice.choice([0, 1, 100, 5000, 70000, 200000])
        body = bytes(dice.choices(alphabet, k=size))
        if i % 3 == 0:
            body = body.replace(b"\n", b"_")
        data[f"n{i}"] = body
        (tmp_path / f"n{i}").write_bytes(body)
    seen = Recorder()
    worker = sweep("n[0-29]", f"cat {tmp_path}/%h", handler=seen)
    for node, body in data.items():
        lines = body.split(b"\n")
        lines = lines if lines[-1] else lines[:-1]
        assert seen.lines(node) == lines
        assert worker.node_buffer(node) == (b"\n".join(lines) if lines else None)


BIG = (
    "yes '%h 0123456789012345678901234567890123456789012345678901234567890' 2> /dev/null"
    " | head -c 5000000"
)


def expected_big(node: str) -> bytes:
    line = f"{node} 0123456789012345678901234567890123456789012345678901234567890\n".encode()
    return (line * (5_000_000 // len(line) + 1))[:5_000_000].removesuffix(b"\n")


def test_five_megabytes_of_each_node(sweep: Sweep) -> None:
    worker = sweep("n[1-4]", BIG)
    for node in ("n1", "n2", "n3", "n4"):
        assert worker.node_buffer(node) == expected_big(node)


def test_five_megabytes_of_each_node_to_a_handler(sweep: Sweep) -> None:
    class Sizes(EventHandler):
        got: ClassVar[dict[str, int]] = {}

        def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:
            self.got[node] = self.got.get(node, 0) + len(msg) + 1

    sweep("n[1-2]", BIG, handler=Sizes())
    assert Sizes.got == {node: len(expected_big(node)) + 1 for node in ("n1", "n2")}


def test_one_line_of_five_megabytes(solo_sweep: Sweep) -> None:
    seen = Recorder()
    worker = solo_sweep("n[1-2]", "head -c 5000000 /dev/zero | tr '\\0' x", handler=seen)
    assert [len(line) for line in seen.lines()] == [5_000_000, 5_000_000]
    assert worker.node_buffer("n2") == b"x" * 5_000_000


def test_both_streams_full_at_once(sweep: Sweep) -> None:
    half = "yes '%h {} 0123456789012345678901234567890123456789' 2> /dev/null | head -c 1000000"
    command = f"({half.format('out')}) & ({half.format('err')}) >&2; wait"
    worker = sweep("n[1-3]", command, stderr=True)
    for node in ("n1", "n2", "n3"):
        out, err = worker.node_buffer(node) or b"", worker.node_error(node) or b""
        assert set(out.split(b"\n")[:-1]) == {
            node.encode() + b" out 0123456789012345678901234567890123456789"
        }
        assert set(err.split(b"\n")[:-1]) == {
            node.encode() + b" err 0123456789012345678901234567890123456789"
        }
        assert len(out) >= 999_999 and len(err) >= 999_999


def test_output_written_just_before_the_exit_is_whole(sweep: Sweep) -> None:
    worker = sweep("n[1-8]", "head -c 1000000 /dev/zero | tr '\\0' x; exit 3")
    assert {node: len(elem) for node, elem in worker.iter_node_buffers()} == {
        f"n{i}": 1_000_000 for i in range(1, 9)
    }
    assert set(rc for _, rc in worker.iter_node_retcodes()) == {3}


def test_a_command_killed_in_the_middle_keeps_its_output(solo_sweep: Sweep) -> None:
    seen = Recorder()
    worker = solo_sweep("n[1-2]", "echo whole; printf part; kill -9 $$", handler=seen)
    assert seen.lines("n1") == [b"whole", b"part"] == seen.lines("n2")
    assert dict(worker.iter_node_retcodes()) == {"n1": 137, "n2": 137}


def test_many_short_lines_of_many_nodes_stay_in_order(sweep: Sweep) -> None:
    seen = Recorder()
    sweep("n[1-20]", "seq 1 500", handler=seen)
    numbers = [b"%d" % i for i in range(1, 501)]
    by_node: dict[str, list[bytes]] = {}
    for _, node, _, msg in seen.of("read"):
        by_node.setdefault(node, []).append(msg)
    assert by_node == {f"n{i}": numbers for i in range(1, 21)}


def test_a_slow_handler_loses_nothing(solo_task: Task) -> None:
    total = 0

    class Slow(EventHandler):
        def ev_read(self, worker: Any, node: Any, sname: str, msg: bytes) -> None:
            nonlocal total
            total += sum(msg[i] == 120 for i in range(len(msg)))

    command = "head -c 2000000 /dev/zero | tr '\\0' x | fold -w 1000"
    solo_task.schedule(ExecWorker("n[1-3]", Slow(), command=command))
    solo_task.resume()
    assert total == 6_000_000
