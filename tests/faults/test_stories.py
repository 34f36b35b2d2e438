"""The fault table: known faults of other tools of this kind that have no better place among the tests."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import resource
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import mpshell
from mpshell import ExecWorker, NodeSet, Task
from tests.cli.program import started
from tests.faults.conftest import Observer, Sweep, engines, engines_under, fork_servers, hurt
from tests.faults.test_data import MB, peak_memory
from tests.support import end_warm_engines, eventually

ROOT = str(Path(mpshell.__path__[0]).parent)


def run_program(source: str, **options: Any) -> str:
    """Run a program that finds the library; return its output."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path.insert(0, {ROOT!r})\n{source}"],
        capture_output=True, text=True, timeout=90, **options,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout).strip()


@pytest.mark.parametrize("engines", [4], indirect=True)
def test_who_waits_neither_polls_nor_works(task: Task) -> None:
    """A small run is not slowed down by a sleep between looks; a hundred sleepers cost no processor.

    By the number of times that each process went to sleep and was woken: a poll of a tenth of a second
    would make dozens of each in the time of the commands, a busy wait would use all of it.
    """
    processes: list[psutil.Process] = []
    before: list[tuple[int, float]] = []
    looked: list[bool] = []

    def usage() -> list[tuple[int, float]]:
        return [(p.num_ctx_switches().voluntary, sum(p.cpu_times()[:2])) for p in processes]

    def look(handler: mpshell.EventHandler, timer: object) -> None:
        if not processes:
            processes.extend([*fork_servers(), *engines()])
            before.extend(usage())
            task.timer(2, handler=handler)
        else:
            worker.abort()
            looked.append(True)
            for (switches, spent), (old_switches, old_spent) in zip(usage(), before, strict=True):
                assert switches - old_switches < 20
                assert spent - old_spent < 0.3

    class Handler(mpshell.EventHandler):
        begun = 0

        def ev_read(self, *args: object) -> None:
            self.begun += 1
            if self.begun == 100:
                task.timer(0.3, handler=self)

        ev_timer = look

    task.set_info("fanout", 100)
    worker = ExecWorker("n[1-100]", handler=Handler(), command="echo up; exec sleep 60")
    task.schedule(worker)
    spent = sum(psutil.Process().cpu_times()[:2])
    task.resume()
    assert len(processes) >= 2 and looked
    # Of this process: two looks of psutil are most of it.
    assert sum(psutil.Process().cpu_times()[:2]) - spent < 1.5


@pytest.mark.parametrize("engines", [4], indirect=True)
def test_equal_output_of_many_nodes_is_held_once(task: Task) -> None:
    """400 times a megabyte; scaled down from 10,000, as it costs one body an engine for any number of nodes."""
    with peak_memory() as growth:
        worker = ExecWorker("n[1-400]", command="head -c 1000000 /dev/zero | tr '\\0' a")
        task.schedule(worker)
        task.resume()
    assert [(len(bytes(text)), len(nodes)) for text, nodes in worker.iter_buffers()] == [
        (1_000_000, 400)
    ]
    assert growth[0] < 150 * MB


@pytest.mark.parametrize("engines", [2], indirect=True)
def test_names_that_do_not_fold(task: Task) -> None:
    """20,000 of them fold in bounded time, and 300 run."""
    names = [
        f"aa-bb{i * 7919 % 20011}-X{i % 7:02}Y{i % 31:02}Z{i}-{i % 3}-x" for i in range(20_000)
    ]
    nodes = NodeSet.fromlist(names)
    assert len(nodes) == 20_000
    assert sorted(NodeSet(str(nodes))) == sorted(names)
    few = names[:300]
    worker = task.run("echo x", nodes=NodeSet.fromlist(few), remote=False)
    assert [(code, sorted(nodes)) for code, nodes in worker.iter_retcodes()] == [(0, sorted(few))]


def test_a_large_program_forks_no_large_engines() -> None:
    """The cost of a start does not depend on the program: engines are not copies of it."""
    source = """
import psutil
from mpshell import task_self
ballast = bytearray(b"x") * (400 << 20)
task = task_self()
task.set_info("engines", 2)
assert len(dict(task.run("true", nodes="n[1-50]", remote=False).iter_node_retcodes())) == 50
print(max(p.memory_info().rss for p in psutil.Process().children(recursive=True)) < 60 << 20)
"""
    assert run_program(source) == "True"


@pytest.mark.parametrize("limit", [1024, 1 << 20])
def test_a_high_limit_of_descriptors(limit: int) -> None:
    """Nothing walks through a million numbers, and a soft limit at the hard one is no error."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    source = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
from mpshell import task_self
task = task_self()
task.set_info("engines", 2)
worker = task.run("true", nodes="n[1-300]", remote=False)
print(len(dict(worker.iter_node_retcodes())), task.max_retcode())
"""
    assert run_program(source) == "300 0"


def test_one_processor_is_one_engine() -> None:
    """The affinity mask of the program counts (taskset, a batch system), not the machine."""
    source = """
import os, psutil
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from mpshell import task_self
task_self().run("true", nodes="n[1-100]", remote=False)
[server] = psutil.Process().children()
print(len(server.children()))
"""
    assert run_program(source) == "1"


def test_a_full_disk_for_what_is_printed(tmp_path: Path) -> None:
    """Warnings and tracebacks that cannot be written are lost; the run is not."""
    source = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from mpshell import EventHandler, Task, task_self
task = task_self()
task.set_info("engines", 1)
worker = task.run("true", nodes="n[1-60]", remote=False, stderr=True)
class Handler(EventHandler):
    def ev_start(self, worker):
        raise RuntimeError
other = Task()
other.shell("true", handler=Handler())
other.resume()
other.thread.join()
print(len(dict(worker.iter_node_retcodes())), other.running())
"""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", f"import sys\nsys.path.insert(0, {ROOT!r})\n{source}"],
            stdout=subprocess.PIPE, stderr=full, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.stdout == "60 None\n"


def test_a_line_in_very_many_pieces(task: Task) -> None:
    """Written two bytes at a time, it is one line, and no heap of small objects."""
    source = "import os\nfor _ in range(100_000): os.write(1, b'ab')"
    command = f'{shlex.quote(sys.executable)} -I -S -c "{source}"'
    with peak_memory() as growth:
        worker = ExecWorker("n[1-2]", command=command)
        task.schedule(worker)
        task.resume()
    assert worker.node_buffer("n1") == b"ab" * 100_000
    assert growth[0] < 100 * MB


@pytest.mark.parametrize("engines", [2], indirect=True)
def test_a_million_nodes_can_be_given_up(task: Task) -> None:
    """Nodes that have not started cost little, and end at once."""
    started: list[str] = []

    def pickup(handler: object, worker: ExecWorker, node: str) -> None:
        started.append(node)
        if len(started) == 200:
            worker.abort()

    handler = type("Handler", (mpshell.EventHandler,), {"ev_pickup": pickup})()
    worker = ExecWorker("n[1-1000000]", handler=handler, command="true")
    task.schedule(worker)
    task.resume()
    outcomes = {outcome.node: outcome for outcome in worker.outcomes()}
    assert len(outcomes) == 1_000_000, "one verdict each"
    never = [outcome for outcome in outcomes.values() if outcome.started_at is None]
    assert len(never) > 999_000
    assert {outcome.reason for outcome in never} == {"cancelled"}
    assert task.run("echo again").read() == b"again"


def test_a_run_without_room_for_an_engine_is_a_clear_error(task: Task) -> None:
    end_warm_engines()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(os.listdir("/proc/self/fd"))
    ends = []
    errors: set[int | None] = set()
    for room in range(12):
        resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + room, limits[1]))
        try:
            worker = task.run("echo x", nodes="n[1-9]", remote=False)
            ends.append([(code, len(nodes)) for code, nodes in worker.iter_retcodes()])
        except mpshell.EngineStartError:
            ends.append([])
        except OSError as error:
            # For a descriptor of the run itself, before any engine.
            errors.add(error.errno)
            ends.append([])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        end_warm_engines()
        assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= in_use)
        assert not worker_lost(task)
    assert errors <= {errno.EMFILE}
    assert ends[0] == [] and ends[-1] == [(0, 9)]
    assert set(map(tuple, ends)) == {(), ((0, 9),)}
    assert task.run("echo again").read() == b"again"


def worker_lost(task: Task) -> list[object]:
    return [outcome.node for outcome in task.outcomes() if outcome.reason == "lost"]


def test_handlers_of_any_kind(task: Task, tmp_path: Path) -> None:
    """They never cross to an engine: attributes that cannot be pickled do not matter."""
    with open(tmp_path / "file", "w") as file:

        class Handler(mpshell.EventHandler):
            lock = threading.Lock()
            write = staticmethod(lambda text: file.write(text))

            def ev_hup(self, worker: Any, node: str, rc: int | None) -> None:
                with self.lock:
                    self.write(f"{node}\n")

        task.schedule(ExecWorker("n[1-9]", handler=Handler(), command="true"))
        task.resume()
    assert sorted((tmp_path / "file").read_text().split()) == [f"n{i}" for i in range(1, 10)]


def test_within_a_coroutine(task: Task) -> None:
    """A run in the thread of an event loop blocks that, and works."""

    async def main() -> bytes | None:
        return task.run("echo x").read()

    assert asyncio.run(main()) == b"x"


class Extra(Observer):
    """Gets the events of the work that a handler submits, timers included."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = 0
        #: Copies to one place at the same time are in each other's way.
        self.numbers = itertools.count()

    def ev_timer(self, timer: object) -> None:
        self.timers += 1


#: Work that a handler submits, three times.
ACTIONS: dict[str, Callable[[Task, Path, Extra], object]] = {
    "shell": lambda task, path, extra: task.shell(
        f"echo %h >> {path}.ran", nodes="x[1-3]", remote=False, handler=extra
    ),
    "copy": lambda task, path, extra: task.schedule(
        ExecWorker(
            "x[1-3]", source=str(path), dest=f"{path}.%h.{next(extra.numbers)}", handler=extra
        )
    ),
    "timer": lambda task, path, extra: task.timer(0, handler=extra),
    "fanout": lambda task, path, extra: task.set_info("fanout", 2),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_a_handler_that_gives_more_work(name: str, task: Task, tmp_path: Path) -> None:
    """It is done within the run."""
    source = tmp_path / "source"
    source.write_text("x")
    extra = Extra()
    act = dict.fromkeys((1, 7, 30), lambda: ACTIONS[name](task, source, extra))
    sweep = Sweep(task, tmp_path / "ledger", 30, Observer(act), "true")
    sweep.run()
    nodes = ["x1", "x2", "x3"]
    if name == "shell":
        assert sorted((tmp_path / "source.ran").read_text().split()) == sorted(nodes * 3)
    if name == "copy":
        copies = [tmp_path / f"source.{node}.{n}" for node in nodes for n in range(3)]
        assert [path.read_text() for path in copies] == ["x"] * 9
    assert extra.timers == (3 if name == "timer" else 0)
    works = name in ("shell", "copy")
    assert extra.hups == ({node: [0] * 3 for node in nodes} if works else {})
    assert (extra.starts, extra.closes) == ((3, [False] * 3) if works else (0, []))
    sweep.check(at_most_lost=0)


def test_the_program_tells_of_a_lost_engine(tmp_path: Path) -> None:
    """mpshell(1) names the nodes that were lost, and its exit status is not 0."""
    command = f"touch {tmp_path}/%h; sleep 30"
    with started("-w", "n[1-2]", "--engines", "1", command) as program:
        assert eventually(lambda: len(list(tmp_path.iterdir())) == 2, 30)
        [server] = psutil.Process(program.pid).children()
        hurt(engines_under(server))
        _, shown = program.communicate(timeout=60)
    assert program.returncode == 255
    assert b"n[1-2]" in shown and b"lost" in shown
