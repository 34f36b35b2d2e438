"""The fault table, third part: much data, odd data, and repetition."""

from __future__ import annotations

import gc
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from mpshell import EventHandler, ExecWorker, Task
from tests.faults.conftest import memory
from tests.support import descriptors, end_warm_engines, eventually

# Gigabytes that go through some processes take minutes on a machine that is busy.
pytestmark = pytest.mark.timeout(400)

MB = 1 << 20


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Watch the memory of this process and of its engines; the list holds the growth at its peak."""
    gc.collect()
    before = memory(psutil.Process())
    growth = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            growth[0] = max(growth[0], memory(psutil.Process()) - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield growth
    finally:
        done.set()
        thread.join()


class Counter(EventHandler):
    """Counts bytes, and takes its time twice: the commands could write a gigabyte meanwhile."""

    def __init__(self, total: int) -> None:
        self.bytes = 0
        self._pauses = [total // 2, total // 100]
        self._pause = threading.Event()

    def ev_read(self, worker: object, node: str, sname: str, msg: bytes) -> None:
        self.bytes += len(msg) + 1
        if self._pauses and self.bytes > self._pauses[-1]:
            self._pauses.pop()
            self._pause.wait(1)


@pytest.mark.parametrize(
    ("engines", "size"), [(1, 40_000_000), (2, 40_000_000), (4, 200_000_000)], indirect=["engines"]
)
def test_a_flood_with_a_slow_handler_stays_small(size: int, task: Task) -> None:
    """Of 16 nodes; the whole program with its engines and its fork server stays below 300 MB."""
    task.set_default("stdout_msgtree", False)
    counter = Counter(16 * size)
    command = f"yes {'x' * 9999} | head -c {size}"
    with peak_memory() as growth:
        task.schedule(ExecWorker("n[1-16]", handler=counter, command=command))
        task.resume()
    assert counter.bytes == 16 * size
    # The program is the test suite here, larger than a program needs to be: its memory before does not count.
    assert growth[0] < 250 * MB


def test_gathering_that_nobody_wants_takes_no_memory(task: Task) -> None:
    task.set_default("stdout_msgtree", False)
    with peak_memory() as growth:
        task.schedule(ExecWorker("n[1-16]", command="head -c 50000000 /dev/zero"))
        task.resume()
    assert growth[0] < 100 * MB


@pytest.mark.parametrize("engines", [2], indirect=True)
def test_one_long_line(task: Task) -> None:
    got: list[bytes] = []

    class Reader(EventHandler):
        def ev_read(self, worker: object, node: str, sname: str, msg: bytes) -> None:
            got.append(msg)

    task.set_default("stdout_msgtree", False)
    with peak_memory() as growth:
        task.schedule(
            ExecWorker("n1", handler=Reader(), command=f"head -c {64 * MB} /dev/zero | tr '\\0' y")
        )
        task.resume()
    assert [len(line) for line in got] == [64 * MB]
    assert got[0] == b"y" * (64 * MB)
    assert growth[0] < 300 * MB


@pytest.mark.parametrize("gathered", [True, False])
def test_odd_bytes_are_exact(gathered: bool, task: Task) -> None:
    data = bytes(range(256)) * 50 + b"\r\n\r\r\n\0\xff\r" + b"a" * 70_000 + b"\r\nlast"
    got: list[bytes] = []

    class Reader(EventHandler):
        def ev_read(self, worker: object, node: str, sname: str, msg: bytes) -> None:
            got.append(msg)

    worker = ExecWorker("n1", handler=None if gathered else Reader(), command="cat")
    worker.write(data)
    worker.set_write_eof()
    task.schedule(worker)
    task.resume()
    expected = data.replace(b"\r\n", b"\n")
    assert worker.node_buffer("n1") == expected
    assert gathered or got == expected.split(b"\n")


def test_much_for_nodes_that_do_not_read(task: Task) -> None:
    data = os.urandom(64 * MB)
    # Slowly: some pieces of more than a pipe holds, with a pause after each, a long one, and then the rest.
    slow = "i=0; while [ $i -lt 25 ]; do head -c 100000; i=$((i+1)); sleep 0.02; done; sleep 2; cat"
    commands = (
        "case %n in 0) exit 5;; 1) sleep 1;; 2) head -c 100 | wc -c;; "
        f"3) {{ {slow}; }} | sha256sum;; *) wc -c;; esac"
    )
    worker = ExecWorker("n[1-12]", command=commands)
    task.schedule(worker)
    with peak_memory() as growth:
        worker.write(data)
        worker.set_write_eof()
        task.resume()
    codes = dict(worker.iter_node_retcodes())
    assert codes == {"n1": 5, **{f"n{i}": 0 for i in range(2, 13)}}
    assert worker.node_buffer("n3") == b"100"
    assert worker.node_buffer("n4") == b"%s  -" % hashlib.sha256(data).hexdigest().encode()
    assert {worker.node_buffer(f"n{i}") for i in range(5, 13)} == {b"%d" % len(data)}
    engines = int(task.info("engines"))
    # One copy here, one an engine, and the data on its way.
    assert growth[0] < (2 + engines) * 64 * MB + 100 * MB


@pytest.mark.parametrize("engines", [1, 2], indirect=True)
def test_more_distinct_output_than_an_engine_remembers(task: Task) -> None:
    """Beside output that it has remembered, and that many more nodes print again."""
    task.set_info("fanout", 40)
    command = (
        "case %n in *0|*5) head -c 700000 /dev/urandom | base64;; *) sleep 0.0%n; echo ok;; esac"
    )
    worker = ExecWorker("n[1-300]", command=command)
    task.schedule(worker)
    task.resume()
    assert [(code, len(nodes)) for code, nodes in worker.iter_retcodes()] == [(0, 300)]
    sizes = sorted((len(nodes), len(bytes(text))) for text, nodes in worker.iter_buffers())
    assert sizes[-1] == (240, 2)
    assert sizes[:-1] == [(1, sizes[0][1])] * 60 and sizes[0][1] > 900_000


def test_what_is_flushed_takes_no_memory(task: Task) -> None:
    """570 MB of distinct output in one run, flushed at the end of each node."""

    class Flusher(EventHandler):
        size = 0

        def ev_hup(self, worker: Any, node: str, rc: int | None) -> None:
            self.size += len(worker.node_buffer(node) or b"")
            worker.flush_buffers()

    flusher = Flusher()
    with peak_memory() as growth:
        task.schedule(
            ExecWorker("n[1-600]", handler=flusher, command="head -c 700000 /dev/urandom | base64")
        )
        task.resume()
    assert flusher.size > 250_000_000
    # An engine holds 32 MB of those that run, and 16 MB of bodies, which the coordinator does as well.
    assert growth[0] < (100 + 75 * int(task.info("engines"))) * MB


def test_both_directions_full_at_once(task: Task) -> None:
    text = b"".join(b"%0100d\n" % i for i in range(50_000))
    workers = [ExecWorker(f"{name}[1-4]", command="cat") for name in "ab"]
    for worker in workers:
        worker.write(text)
        worker.set_write_eof()
        task.schedule(worker)
    task.resume()
    for worker in workers:
        assert [(bytes(body), len(nodes)) for body, nodes in worker.iter_buffers()] == [
            (text[:-1], 4)
        ]


def used_memory() -> int:
    gc.collect()
    return memory(psutil.Process())


def processes() -> int:
    return len(psutil.Process().children(recursive=True))


@pytest.mark.parametrize("engines", [2], indirect=True)
def test_a_thousand_runs_leave_nothing(task: Task) -> None:
    def run(n: int) -> None:
        worker = task.run(f"echo {n}", nodes="n[1-2]", remote=False)
        assert dict(worker.iter_node_retcodes()) == {"n1": 0, "n2": 0}

    for n in range(100):
        run(n)
    before, warm, children = descriptors(), used_memory(), processes()
    threads = threading.active_count()
    for n in range(1000):
        run(n)
    assert descriptors().keys() == before.keys()
    assert threading.active_count() == threads
    assert eventually(lambda: processes() <= children)
    assert used_memory() - warm < 10 * MB


@pytest.mark.parametrize(("rounds", "at_once"), [(10, 20), (4, 200)])
def test_two_hundred_tasks_in_threads(rounds: int, at_once: int) -> None:
    """One after the other, twenty a time, and all at once; started, run, and terminated."""
    end_warm_engines()
    before = descriptors().keys()
    warm = 0
    for n in range(rounds):
        if n == 2:
            warm = used_memory()
        tasks = [Task() for _ in range(at_once)]
        workers = []
        for task in tasks:
            workers.append(task.shell("echo x"))
            task.resume()
        for task, worker in zip(tasks, workers, strict=True):
            task.join()
            assert worker.read() == b"x"
            task.abort()
        for task in tasks:
            task.thread.join(20)
            assert not task.thread.is_alive()
    tasks, workers = [], []
    assert used_memory() - warm < 10 * MB
    end_warm_engines()
    assert processes() == 0
    assert eventually(lambda: descriptors().keys() <= before)
