"""What a measured process does with a Task: each function is one kind of run.

Each takes the name of the library and returns what it measured, by name (`meter.Meter`).
"""

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from libraries import load
from meter import Meter


def new_task(api: Any, fanout: int, **info: Any) -> Any:
    """Return the Task of this thread with its settings."""
    task = api.task_self()
    task.set_info("fanout", fanout)
    for key, value in info.items():
        task.set_info(key, value)
    return task


def node_text(count: int) -> str:
    return f"node[1-{count}]"


def check_codes(task: Any, count: int) -> None:
    """Raise RuntimeError unless every node has returned 0: nobody is fast at failing."""
    codes = {code: len(nodes) for code, nodes in task.iter_retcodes()}
    if codes != {0: count}:
        raise RuntimeError(f"return codes of {count} nodes: {codes}")


def sweep(
    library: str,
    nodes: int,
    command: str,
    fanout: int = 64,
    engines: int | None = None,
    size: int | None = None,
    ballast: int = 0,
    warm: int = 0,
    ssh_options: str | None = None,
    ssh_path: str | None = None,
    transport: str | None = None,
    ideal: float | None = None,
    journal: str | None = None,
) -> dict[str, float]:
    """Run a command on the nodes and read the results.

    `size` is that of all distinct output, checked. `ballast` is memory that the process holds
    meanwhile, in bytes; `warm` nodes are gone over before the clock starts; `ideal` is the time that
    it takes who is infinitely fast. `transport` is one of mpshell's in place of ssh(1).
    """
    api = load(library)
    held = bytearray(ballast)
    for page in range(0, ballast, 4096):
        held[page] = 1
    settings: dict[str, Any] = {}
    if engines is not None and library == "mpshell":
        keep_all_engines()
        settings["engines"] = engines
    if journal is not None:
        # A new file for each run: one of before is checked first.
        Path(journal).unlink(missing_ok=True)
        settings["journal"] = journal
    worker_class = api.ExecWorker
    if ssh_options is not None:
        worker_class = api.WorkerSsh
        settings["ssh_options"] = ssh_options
    if ssh_path is not None:
        settings["ssh_path"] = ssh_path
    if transport == "asyncssh":
        from mpshell import WorkerAsyncSsh

        worker_class = WorkerAsyncSsh
    task = new_task(api, fanout, **settings)

    def run(count: int) -> int:
        worker = worker_class(node_text(count), handler=None, timeout=None, command=command)
        task.schedule(worker)
        task.resume()
        return sum(len(bytes(text)) for text, _ in task.iter_buffers())

    if warm:
        run(warm)
    meter = Meter()
    said = run(nodes)
    result = meter.stop()
    check_codes(task, nodes)
    if size is not None and said != size:
        raise RuntimeError(f"{said} bytes of distinct output, {size} expected")
    if ideal is not None:
        result["efficiency"] = ideal / result["seconds"]
    return result | {"ballast": len(held)}


def sweep_beside(
    library: str, nodes: int, command: str, others: list[list[str]], fanout: int = 64
) -> dict[str, float]:
    """Do the same while other programs keep the processors busy; engines are warm."""
    with contextlib.ExitStack() as stack:
        busy = []
        for argv in others:
            busy.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, start_new_session=True))
            stack.callback(busy[-1].wait)
            stack.callback(os.killpg, busy[-1].pid, signal.SIGKILL)
        result = sweep(library, nodes, command, fanout, warm=fanout)
        if any(other.poll() is not None for other in busy):
            raise RuntimeError(f"{others[0]} has ended before its time")
        return result


def keep_all_engines() -> None:
    """Let engines stay for their CPU time to be read, be they more than there are processors."""
    from mpshell.launch import fork

    vars(fork)["usable_cpus"] = lambda: 64


def handler_of(api: Any, methods: type) -> Any:
    """Return a handler of a library with these methods."""
    return type(methods.__name__, (methods, api.EventHandler), {})()


def read_lines(library: str, nodes: int, command: str, lines: int) -> dict[str, float]:
    """Pass every line to an `ev_read` handler, and record it, as is the default."""
    api = load(library)

    class Counting:
        lines = 0

        def ev_read(self, worker: Any, node: str, sname: str, msg: bytes) -> None:
            self.lines += 1

    task = new_task(api, nodes)
    counter = handler_of(api, Counting)
    worker = api.ExecWorker(node_text(nodes), handler=counter, timeout=None, command=command)
    meter = Meter()
    task.schedule(worker)
    task.resume()
    result = meter.stop()
    check_codes(task, nodes)
    if counter.lines != lines:
        raise RuntimeError(f"{counter.lines} lines told, {lines} expected")
    return result


def broadcast(library: str, nodes: int, size: int) -> dict[str, float]:
    """Write the same bytes to the stdin of a command on every node, which counts them."""
    api = load(library)
    task = new_task(api, nodes)
    data = b"x" * size
    worker = api.ExecWorker(node_text(nodes), handler=None, timeout=None, command="wc -c")
    meter = Meter()
    task.schedule(worker)
    worker.write(data)
    worker.set_write_eof()
    task.resume()
    result = meter.stop()
    check_codes(task, nodes)
    counted = {int(bytes(text)): len(said_by) for text, said_by in task.iter_buffers()}
    if counted != {size: nodes}:
        raise RuntimeError(f"{counted} bytes counted, {size} expected from {nodes}")
    return result


def idle(library: str, nodes: int, seconds: float) -> dict[str, float]:
    """Have commands sleep, and measure a stretch in which nothing else happens."""
    api = load(library)
    task = new_task(api, nodes)

    class Watching:
        started = 0
        meter: Meter | None = None
        result: dict[str, float] = {}

        def ev_pickup(self, worker: Any, node: str) -> None:
            self.started += 1
            if self.started == nodes:
                # What is told is the beginning of the start: wait until all is calm.
                task.timer(2.0, handler=self)

        def ev_timer(self, timer: Any) -> None:
            if self.meter is None:
                self.meter = Meter()
                task.timer(seconds, handler=self)
                return
            self.result = self.meter.stop()
            task.abort()

    watch = handler_of(api, Watching)
    command = f"sleep {int(seconds) * 10 + 60}"
    task.schedule(api.ExecWorker(node_text(nodes), handler=watch, timeout=None, command=command))
    task.resume()
    if not watch.result:
        raise RuntimeError("the commands have ended before their time")
    result: dict[str, float] = watch.result
    result["cpu_percent"] = 100 * result["cpu"] / result["seconds"]
    return result


def warm(library: str, runs: int, nodes: int = 0) -> dict[str, float]:
    """Run `true` again and again, on as many nodes, or once here; engines are warm."""
    api = load(library)
    task = new_task(api, 64)

    def run() -> None:
        if nodes:
            worker = api.ExecWorker(node_text(nodes), handler=None, timeout=None, command="true")
            task.schedule(worker)
            task.resume()
        else:
            worker = task.run("true")
        if task.max_retcode() != 0:
            raise RuntimeError(f"true returned {task.max_retcode()}")

    run()
    meter = Meter()
    for _ in range(runs):
        run()
    return meter.stop()


def copy(
    library: str, nodes: int, source: str, dest: str, ssh_options: str, fanout: int = 64
) -> dict[str, float]:
    """Copy a file to every node over ssh, and check that it has come."""
    api = load(library)
    task = new_task(api, fanout, ssh_options=ssh_options)
    meter = Meter()
    task.copy(source, dest, node_text(nodes))
    task.resume()
    result = meter.stop()
    check_codes(task, nodes)
    if Path(dest).read_bytes() != Path(source).read_bytes():
        raise RuntimeError("the copy is not what was copied")
    return result
