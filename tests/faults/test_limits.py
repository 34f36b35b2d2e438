"""The fault table, second part: limits of the machine, Ctrl-C, and children that misbehave."""

from __future__ import annotations

import os
import pty
import resource
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

import mpshell
from mpshell import EngineTimer, EventHandler, ExecWorker, Task
from tests.faults.conftest import all_gone, engines, marked
from tests.support import commands, eventually
from tests.system.recorder import within

ROOT = str(Path(mpshell.__path__[0]).parent)
SWEEP = f"""
import sys, warnings, os
sys.path.insert(0, {ROOT!r})
from mpshell import ExecWorker, task_self
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    task = task_self()
    task.set_info("engines", int(sys.argv[1]))
    worker = ExecWorker("n[1-150]", command="sleep 0.02; echo %h", stderr=True)
    task.schedule(worker)
    task.resume()
codes = [(code, len(nodes)) for code, nodes in worker.iter_retcodes()]
print(codes, len(list(worker.iter_buffers())), sum(w.category is RuntimeWarning for w in caught))
"""


def run_limited(source: str, *args: str, **limits: tuple[int, int]) -> str:
    def apply() -> None:
        for name, values in limits.items():
            resource.setrlimit(getattr(resource, name), values)

    done = subprocess.run(
        [sys.executable, "-c", source, *args],
        preexec_fn=apply, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize(("soft", "hard", "warned"), [(64, 64, 1), (256, 256, 0), (64, 4096, 0)])
def test_few_descriptors_shrink_the_fanout(count: int, soft: int, hard: int, warned: int) -> None:
    """One warning a run where it has to shrink; a limit with room for all, or that can be raised, is none."""
    out = run_limited(SWEEP, str(count), RLIMIT_NOFILE=(soft, hard))
    assert out == f"[(0, 150)] 150 {warned}"


def test_descriptors_above_1024() -> None:
    source = (
        "import os\nkept = [os.open('/dev/null', os.O_RDONLY) for _ in range(1500)]\n"
        "os.set_inheritable(kept[-1], True)\n" + SWEEP
    )
    assert run_limited(source, "2", RLIMIT_NOFILE=(4096, 4096)) == "[(0, 150)] 150 0"


@pytest.mark.parametrize("engines", [1], indirect=True)
@pytest.mark.parametrize("loop", ["epoll", "poll"])
def test_an_engine_with_descriptors_above_1024(loop: str, task: Task) -> None:
    """Three for each of 400 commands at once."""
    task.set_default("engine", loop)
    task.set_info("fanout", 400)
    worker = ExecWorker("n[1-400]", command="cat", stderr=True)
    most: list[int] = []

    def look(handler: object, timer: EngineTimer) -> None:
        [engine] = engines()
        most.append(engine.num_fds())
        if most[-1] > 1200 or len(most) > 300:
            timer.invalidate()
            worker.set_write_eof()

    task.schedule(worker)
    task.timer(0.1, handler=type("H", (EventHandler,), {"ev_timer": look})(), interval=0.1)
    task.resume()
    assert most[-1] > 1200
    assert [(code, len(nodes)) for code, nodes in worker.iter_retcodes()] == [(0, 400)]


#: Become a user without processes, as root. The interpreter may stand where another user cannot read,
#: so the fork server is forked here and not exec'ed.
DROP = """
import mpshell.worker.exec, mpshell.task.task, mpshell.coordinator.coordinator
import mpshell.coordinator.handle, mpshell.coordinator.launcher as launcher, psutil
import mpshell.engine.forkserver as forkserver, signal, resource, ctypes, traceback
if os.getuid() == 0:
    def spawn(control):
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.dup2(control, 3)
            os.closerange(4, 4096)
            try:
                forkserver.main(3, "x")
            finally:
                os._exit(0)
        return pid
    launcher._ForkServerProcess._spawn = staticmethod(spawn)
    os.chdir("/")
    os.setresgid(54321, 54321, 54321)
    os.setresuid(54321, 54321, 54321)
used = sum(process.info["uids"].real == os.getuid() for process in psutil.process_iter(["uids"]))
resource.setrlimit(resource.RLIMIT_NPROC, (used + 16, used + 16))
"""


def test_too_few_processes_are_waited_for() -> None:
    head, tail = SWEEP.split("with warnings", 1)
    source = head.replace("from mpshell", DROP + "from mpshell", 1) + "with warnings" + tail
    # A command that forks would meet the limit itself.
    source = source.replace("sleep 0.02; echo %h", "echo %h")
    codes, bodies, warned = run_limited(source, "2").rsplit(" ", 2)
    assert (codes, bodies) == ("[(0, 150)]", "150")
    assert int(warned) == 1


# -- Ctrl-C and SIGTERM ------------------------------------------------------------------------------

INTERRUPTED = f"""
import sys
sys.path.insert(0, {ROOT!r})
from mpshell import ExecWorker, task_self
task = task_self()
task.set_info("engines", int(sys.argv[1]))
worker = ExecWorker("n[1-12]", command="echo got %h; test %n -lt 6 || sleep 76; exit 3")
task.schedule(worker)
task.timer(1.0, handler=type("H", (), {{"ev_timer": lambda s, t: print("ready", flush=True)}})())
try:
    task.resume()
except KeyboardInterrupt:
    print("interrupted", [(c, len(n)) for c, n in worker.iter_retcodes()],
          len(list(worker.iter_buffers())))
print(task.run("echo again").read().decode(), len(list(task.iter_buffers())), flush=True)
"""


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ctrl_c_on_a_terminal(count: int) -> None:
    mark = uuid.uuid4().hex
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["MPSHELL_TEST_MARK"] = mark
        os.execv(sys.executable, [sys.executable, "-c", INTERRUPTED, str(count)])
    text = b""
    pressed = False
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        text += data
        # Not before its newline: a terminal throws away what waits to be read when Ctrl-C is typed.
        if b"ready\r\n" in text and not pressed:
            pressed = True
            os.write(terminal, b"\x03")
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, text
    lines = text.decode().replace("^C", "").splitlines()
    assert lines == ["ready", "interrupted [(3, 6)] 12", "again 1"]
    assert all_gone(mark), marked(mark)


def test_sigterm_with_the_default_action() -> None:
    mark = uuid.uuid4().hex
    program = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, "2"],
        env={**os.environ, "MPSHELL_TEST_MARK": mark}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert program.stdout is not None
    with program, program.stdout:
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGTERM)
        assert program.wait(20) == -signal.SIGTERM
    assert all_gone(mark), marked(mark)


# -- handlers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["ev_start", "ev_pickup", "ev_read", "ev_hup", "ev_close"])
def test_a_handler_that_raises(where: str, error: type[BaseException], task: Task) -> None:
    def fail(self: object, *args: object) -> None:
        raise error("in a handler")

    handler = type("Handler", (EventHandler,), {where: fail})()
    # One after the other, in node order: the first worker has ended before the second starts.
    task.set_info("fanout", 1)
    first = ExecWorker("a[1-4]", command="echo %h")
    task.schedule(first)
    task.schedule(ExecWorker("n[1-40]", handler=handler, command="echo %h"))
    with pytest.raises(error, match="in a handler"):
        task.resume()
    assert dict(first.iter_node_retcodes()) == {f"a{i}": 0 for i in (1, 2, 3, 4)}
    assert eventually(lambda: commands() == [])
    assert task.run("echo again").read() == b"again"


def test_verdicts_that_have_come_are_kept_when_a_handler_raises(task: Task, ledger: Path) -> None:
    """Whether they were in the same message or in the next ones."""

    def fail(self: object, worker: object, node: str, rc: int) -> None:
        assert eventually(lambda: len(ledger.read_text().split()) == 40 and not commands())
        raise RuntimeError("in a handler")

    handler = type("Handler", (EventHandler,), {"ev_hup": fail})()
    worker = ExecWorker("n[1-40]", handler=handler, command=f"echo %h >> {ledger}; exit %n")
    task.schedule(worker)
    with pytest.raises(RuntimeError, match="in a handler"):
        task.resume()
    assert dict(worker.iter_node_retcodes()) == {f"n{i}": i - 1 for i in range(1, 41)}


# -- children ----------------------------------------------------------------------------------------

#: command -> code or None for a timeout, output; each has one second.
CHILDREN = {
    "ignores TERM": ("trap '' TERM; echo a; sleep 50; sleep 50", None, b"a"),
    "closes its streams": ("echo a; exec >&- 2>&-; sleep 50", None, b"a"),
    "grandchild holds the pipe": ("echo a; sleep 51 & exit 4", 4, b"a"),
    "grandchild of another session holds it": ("echo a; setsid sleep 0.8 & exit 4", 4, b"a"),
    "stops itself": ("echo a; kill -STOP $$", None, b"a"),
    "is killed": ("echo a; kill -9 $$", 137, b"a"),
    "grandchild ignores TERM": ("(trap '' TERM; sleep 52) & echo a; sleep 50", None, b"a"),
    "unterminated": ("printf a; sleep 50", None, b"a"),
}


def kill_left(*expected: str) -> list[str]:
    """Kill the commands that are left, which have to be such; return them."""
    left = commands()
    for line in left:
        assert any(words in line for words in expected), line
        os.kill(int(line.split()[0]), signal.SIGKILL)
    return left


@pytest.mark.parametrize("name", CHILDREN)
def test_children_that_misbehave(name: str, task: Task) -> None:
    command, code, output = CHILDREN[name]
    task.set_info("grace", 0.3)
    task.set_info("drain", 0.4)
    worker = ExecWorker("n[1-3]", command=command, timeout=1)
    task.schedule(worker)
    with within(30):
        task.resume()
    codes = {node: code for node in ("n1", "n2", "n3")} if code is not None else {}
    assert dict(worker.iter_node_retcodes()) == codes
    assert worker.num_timeout() == (3 if code is None else 0)
    assert {bytes(text) for text, _ in worker.iter_buffers()} == {output}
    # What a command that ended by itself has left in the background is the user's.
    assert eventually(lambda: not kill_left("sleep 51", "sleep 0.8"))
