"""Whole programs that use the library: how they are started, and that they end."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

import mpshell
from tests.support import eventually

SWEEP = """
from mpshell import task_self, ExecWorker
print("program")
task = task_self()
task.set_info("engines", 2)
worker = ExecWorker("n[1-20]", None, command="echo %h")
task.schedule(worker)
task.resume()
print(worker.node_buffer("n20"), len(list(worker.iter_node_retcodes())), task.max_retcode())
"""
EXPECTED = "program\nb'n20' 20 0\n"


def environment(mark: str) -> dict[str, str]:
    """Return an environment with the library on the path and a mark to find processes by."""
    root = str(Path(mpshell.__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path, "MPSHELL_TEST_MARK": mark, "PYTHONWARNINGS": "error"}


def python(
    *args: str, stdin: str | None = None, mark: str = "", **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run this interpreter to its end with the library on its path."""
    env = environment(mark)
    if stdin is None:
        options.setdefault("stdin", subprocess.DEVNULL)
    else:
        options["input"] = stdin
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, timeout=50, env=env, **options
    )


def marked(mark: str) -> list[int]:
    """Return the processes that have that mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MPSHELL_TEST_MARK") == mark:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def written(folder: Path, source: str) -> str:
    path = folder / "program.py"
    path.write_text(source)
    return str(path)


def check(done: subprocess.CompletedProcess[str], out: str = EXPECTED) -> None:
    assert (done.stdout, done.stderr, done.returncode) == (out, "", 0)


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    check(python(written(tmp_path, SWEEP)))


def test_a_program_of_the_command_line() -> None:
    check(python("-c", SWEEP))


@pytest.mark.parametrize("args", [(), ("-",)])
def test_a_program_on_standard_input(args: tuple[str, ...]) -> None:
    check(python(*args, stdin=SWEEP))


def test_an_interactive_session(tmp_path: Path) -> None:
    done = python("-i", "-q", stdin=SWEEP.strip().replace("\n", "\n\n") + "\n")
    assert "program\n" in done.stdout and "b'n20' 20 0\n" in done.stdout
    assert done.returncode == 0 and "Traceback" not in done.stderr


def test_a_program_as_a_module(tmp_path: Path) -> None:
    written(tmp_path, SWEEP)
    check(python("-m", "program", cwd=tmp_path))


def test_a_program_without_standard_streams(tmp_path: Path) -> None:
    source = f"""
from mpshell import task_self, ExecWorker
task = task_self()
worker = ExecWorker("n[1-20]", None, command="echo %h; echo e%h >&2", stderr=True)
task.schedule(worker)
local = task.shell("echo x")
task.resume()
results = worker.node_buffer("n20"), worker.node_error("n20"), local.read(), task.max_retcode()
with open({str(tmp_path / "out")!r}, "w") as out:
    out.write(repr(results))
"""
    bare = (
        "import os, sys\nfor fd in (0, 1, 2): os.close(fd)\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    assert python("-c", bare, written(tmp_path, source)).returncode == 0
    assert (tmp_path / "out").read_text() == "(b'n20', b'en20', b'x', 0)"


@pytest.mark.parametrize("processors", [1, 2])
def test_as_many_engines_as_the_affinity_mask_grants(processors: int) -> None:
    mask = sorted(os.sched_getaffinity(0))[:processors]
    source = f"""
import os
os.sched_setaffinity(0, {mask})
from mpshell import task_self, ExecWorker
task = task_self()
task.schedule(ExecWorker("n[1-100]", None, command="true"))
task.resume()
print(len({{outcome.engine for outcome in task.outcomes()}}))
"""
    check(python("-c", source), f"{len(mask)}\n")


def test_a_run_without_commands_starts_no_process() -> None:
    source = """
import os, psutil
from mpshell import task_self, EventHandler, ExecWorker, WorkerSimple
class Timer(EventHandler):
    def ev_timer(self, timer):
        print("timer", len(psutil.Process().children(recursive=True)))
task = task_self()
task.timer(0.05, Timer())
task.timer(0.1, Timer())
task.resume()
task.port(Timer(), autoclose=True)
task.resume()
task.schedule(ExecWorker("", None, command="true"))
read, write = os.pipe()
os.close(write)
task.schedule(WorkerSimple(os.fdopen(read), None, None, "key", None))
task.resume()
print("end", len(psutil.Process().children(recursive=True)))
"""
    check(python("-c", source), "timer 0\ntimer 0\nend 0\n")


ENDINGS = {
    "normal": ("", 0),
    "exit": ("sys.exit(3)", 3),
    "exit in a handler": (
        "class H(EventHandler):\n"
        "    def ev_read(self, *args): sys.exit(4)\n"
        "task.shell('echo x; sleep 60', handler=H())\n"
        "task.shell('sleep 60')\n"
        "task.resume()",
        4,
    ),
    "error": ("raise SystemError('oops')", 1),
    "a thread task left running": ("t = Task()\nt.shell('sleep 0.5')\nt.resume()\nt.abort()", 0),
    "no further word": ("sys.stdout.flush()\nos._exit(5)", 5),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_left_behind_by_a_program_that_ends(ending: str, tmp_path: Path) -> None:
    code, expected = ENDINGS[ending]
    mark = f"{tmp_path}{ending}"
    header = "import os, sys\nfrom mpshell import Task, EventHandler\n"
    done = python("-c", header + SWEEP + code, mark=mark)
    assert done.returncode == expected
    assert done.stdout == EXPECTED
    assert eventually(lambda: marked(mark) == [], 20)


def test_tasks_in_threads_of_a_program() -> None:
    source = """
import threading
from mpshell import task_self, Task, task_wait, task_cleanup
out = []
def work(i):
    task = task_self()
    out.append(task.run("echo %d" % i).read())
    task.abort(kill=True)
threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
tasks = [Task() for _ in range(3)]
workers = [task.shell("echo %d" % i) for i, task in enumerate(tasks)]
for task in tasks: task.resume()
task_wait()
print(sorted(out), [worker.read() for worker in workers])
task_cleanup()
"""
    numbers = [b"%d" % i for i in range(6)]
    check(python("-c", source), f"{numbers} {numbers[:3]}\n")


def test_a_program_that_forks_can_use_the_library_on_both_sides() -> None:
    source = """
import os, sys
from mpshell import task_self, task_terminate
print(task_self().run("echo before").read(), flush=True)
pid = os.fork()
if pid == 0:
    task_terminate()
    print(task_self().run("echo child").read(), flush=True)
    sys.exit(0)
os.waitpid(pid, 0)
print(task_self().run("echo parent").read(), flush=True)
"""
    done = python("-W", "ignore::DeprecationWarning", "-c", source)
    assert done.stdout == "b'before'\nb'child'\nb'parent'\n" and done.returncode == 0


def test_few_descriptors_are_enough_for_many_commands() -> None:
    source = """
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
from mpshell import task_self, ExecWorker
task = task_self()
task.set_info("fanout", 10)
for stderr in (False, True):
    local = [task.shell("echo x", stderr=stderr) for _ in range(150)]
    worker = ExecWorker("n[1-300]", None, command="echo x", stderr=stderr)
    task.schedule(worker)
    task.resume()
    print(task.max_retcode(), {w.read() for w in local}, len(list(worker.iter_node_buffers())))
"""
    check(python("-c", source), "0 {b'x'} 300\n" * 2)


def test_the_fanout_may_exceed_the_limit_of_descriptors() -> None:
    source = """
import resource, warnings
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from mpshell import task_self, ExecWorker
task = task_self()
task.set_info("fanout", 200)
worker = ExecWorker("n[1-200]", None, command="sleep 0.2; echo x")
task.schedule(worker)
task.resume()
rcs = [rc for _, rc in worker.iter_node_retcodes()]
print(len(rcs), set(rcs) <= {0, 255}, rcs.count(0) >= 20)
"""
    done = python("-W", "default", "-c", source)
    assert (done.stdout, done.returncode) == ("200 True True\n", 0)


def test_output_printed_to_a_closed_pipe_ends_the_program(tmp_path: Path) -> None:
    source = """
from mpshell import task_self, ExecWorker, EventHandler
class Print(EventHandler):
    def ev_read(self, worker, node, sname, msg):
        print(msg.decode(), flush=True)
worker = ExecWorker("n[1-4]", Print(), command="i=0; while [ $i -lt 20000 ]; "
    "do echo $i; i=$((i+1)); done; sleep 60")
task_self().schedule(worker)
task_self().resume()
"""
    mark = str(tmp_path)
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} {written(tmp_path, source)} 2>/dev/null | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=50,
        env=environment(mark),
    )
    assert done.stdout == "0\n"
    assert eventually(lambda: marked(mark) == [], 20)
