"""The fault table, second part: limits of the machine, Ctrl-C, and children that misbehave."""

from __future__ import annotations

import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import mpshell
from mpshell import EngineTimer, EventHandler, ExecWorker, Task
from tests.faults.conftest import Observer, all_gone, engines, marked
from tests.support import commands, eventually
from tests.system.recorder import alive, within

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


def test_a_fork_server_without_room_for_a_descriptor_goes_on(tmp_path: Path) -> None:
    """It has the limit of the moment in which it began, the program may have raised its own."""
    source = f"""
import resource, sys, threading
sys.path.insert(0, {ROOT!r})
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (20, limits[1]))
from mpshell import EngineStartError, task_self
task_self().run("true")
resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
ends = []
def run():
    task = task_self()
    task.set_info("engines", 1)
    try:
        worker = task.run("until [ -e {tmp_path}/go ]; do sleep 0.1; done; exit 3")
        ends.append([(outcome.reason, outcome.returncode) for outcome in task.outcomes()][0])
    except EngineStartError:
        ends.append("no engine")
        full.set()
full = threading.Event()
threads = [threading.Thread(target=run) for _ in range(25)]
for thread in threads:
    thread.start()
# All that have an engine keep it until there is none for another.
full.wait(60)
open("{tmp_path}/go", "w").close()
for thread in threads:
    thread.join()
print(len(ends), sorted(map(str, set(ends))))
"""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.stdout == "25 [\"('exit', 3)\", 'no engine']\n", done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("room", range(1, 7))
def test_without_room_for_a_fork_server_there_is_one_clear_error(room: int) -> None:
    """It is reported once, and the fork server itself prints nothing."""
    source = f"""
import os, resource, sys
sys.path.insert(0, {ROOT!r})
from mpshell import EngineStartError, task_self
task = task_self()
limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3 + {room}, limit[1]))
try:
    task.run("true", key="a")
except (EngineStartError, OSError) as error:
    print("no room:", "Too many open files" in str(error))
else:
    print([outcome.reason for outcome in task.outcomes()])
resource.setrlimit(resource.RLIMIT_NOFILE, limit)
print(task.run("echo again", key="a").read())
"""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=90, check=False
    )
    assert (done.stdout, done.stderr) == ("no room: True\nb'again'\n", "")


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
BECOME = """
import mpshell.worker.exec, mpshell.task.task, mpshell.coordinator.coordinator
import mpshell.launch.local, mpshell.launch.fork as launcher, psutil
import mpshell.engine.forkserver as forkserver, signal, resource, ctypes, traceback
if os.getuid() == 0:
    def spawn(control):
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.dup2(control, 3)
            os.closerange(4, 4096)
            try:
                forkserver.main(3, os.getppid())
            finally:
                os._exit(0)
        return pid
    launcher.ServerProcess._spawn = staticmethod(spawn)
    os.chdir("/")
    # Capabilities stay permitted, none is in effect (prctl(2), PR_SET_KEEPCAPS).
    ctypes.CDLL(None).prctl(8, 1, 0, 0, 0)
    user = 100_000 + os.getpid()  # processes of other tests would count for the limit
    os.setresgid(user, user, user); os.setresuid(user, user, user)
"""
DROP = f"""{BECOME}
used = sum(process.info["uids"].real == os.getuid() for process in psutil.process_iter(["uids"]))
resource.setrlimit(resource.RLIMIT_NPROC, (used + 16, used + 16))
"""


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("heartbeat", [8.0, None])
def test_too_few_processes_are_waited_for(heartbeat: float | None, count: int) -> None:
    """Also where no sign of life that is asked for makes an engine look again."""
    head, tail = SWEEP.split("with warnings", 1)
    source = head.replace("from mpshell", DROP + "from mpshell", 1) + "with warnings" + tail
    # A command that forks would meet the limit itself.
    source = source.replace("sleep 0.02; echo %h", "echo %h")
    more = f'    task.set_info("heartbeat", {heartbeat})\n    worker ='
    source = source.replace("    worker =", more)
    codes, bodies, warned = run_limited(source, str(count)).rsplit(" ", 2)
    assert (codes, bodies) == ("[(0, 150)]", "150")
    assert int(warned) == 1


# -- Ctrl-C and SIGTERM ------------------------------------------------------------------------------

INTERRUPTED = f"""
import os, sys
sys.path.insert(0, {ROOT!r})
from mpshell import EventHandler, ExecWorker, task_self
class Watch(EventHandler):
    def ev_timer(self, timer):
        if len(list(worker.iter_node_retcodes())) == 6 and len(os.listdir(sys.argv[2])) == 12:
            timer.invalidate()
            print("ready", flush=True)
task = task_self()
task.set_info("engines", int(sys.argv[1]))
answer = f"echo got %h; touch {{sys.argv[2]}}/%h"
worker = ExecWorker("n[1-12]", command=answer + "; test %n -lt 6 || sleep 76; exit 3")
task.schedule(worker)
task.timer(0.1, Watch(), interval=0.1)
try:
    task.resume()
except KeyboardInterrupt:
    print("interrupted", [(c, len(n)) for c, n in worker.iter_retcodes()],
          len(list(worker.iter_buffers())), flush=True)
    sys.stdin.readline()
print(task.run("echo again").read().decode(), len(list(task.iter_buffers())), flush=True)
"""


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ctrl_c_on_a_terminal(count: int, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["MPSHELL_TEST_MARK"] = mark
        os.execv(sys.executable, [sys.executable, "-c", INTERRUPTED, str(count), str(tmp_path)])
    text = b""
    # The input for each output. Not before its newline: a terminal discards unread output
    # when Ctrl-C is typed.
    typed = [(rb"ready\r\n", b"\x03"), (rb"interrupted.*\r\n", b"go on\n")]
    running: list[list[str]] = []
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        text += data
        if typed and re.search(typed[0][0], text):
            # The program waits: the processes beside it and its engines are commands.
            running.append([line for line in marked(mark) if sys.executable not in line])
            os.write(terminal, typed.pop(0)[1])
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, text
    assert len(running[0]) >= 6 and running[1:] == [[]]
    lines = text.decode().replace("^C", "").splitlines()
    assert lines == ["ready", "interrupted [(3, 6)] 12", "go on", "again 1"]
    assert all_gone(mark), marked(mark)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_sigterm_with_the_default_action(count: int, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    program = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(count), str(tmp_path)],
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

    handler = type("Handler", (Observer,), {where: fail})()
    before, after = Observer(), Observer()
    # One after the other, in node order: the first worker has ended before the second starts.
    task.set_info("fanout", 1)
    first = ExecWorker("a[1-4]", handler=before, command="echo %h")
    task.schedule(first)
    task.schedule(ExecWorker("n[1-40]", handler=handler, command="echo %h"))
    with pytest.raises(error, match="in a handler"):
        task.resume()
    assert dict(first.iter_node_retcodes()) == {f"a{i}": 0 for i in (1, 2, 3, 4)}
    assert before.hups == {f"a{i}": [0] for i in (1, 2, 3, 4)}
    assert (before.starts, before.closes) == (1, [False])
    # The end of a worker is reported once, after an exception in any of its events.
    assert len(handler.closes) == (where != "ev_close")
    assert eventually(lambda: commands() == [])
    assert task.run("echo again", handler=after).read() == b"again"
    assert (after.starts, after.closes) == (1, [False])


def test_verdicts_that_have_come_are_kept_when_a_handler_raises(task: Task, ledger: Path) -> None:
    """Whether they were in the same message or in the next ones."""

    def children() -> list[psutil.Process]:
        # Those that an engine has not waited for too: their verdicts have not come.
        return [child for engine in engines() for child in engine.children()]

    def fail(self: object, worker: object, node: str, rc: int) -> None:
        assert eventually(lambda: len(ledger.read_text().split()) == 40 and not children())
        raise RuntimeError("in a handler")

    handler = type("Handler", (EventHandler,), {"ev_hup": fail})()
    worker = ExecWorker("n[1-40]", handler=handler, command=f"echo %h >> {ledger}; exit %n")
    task.schedule(worker)
    with pytest.raises(RuntimeError, match="in a handler"):
        task.resume()
    assert dict(worker.iter_node_retcodes()) == {f"n{i}": i - 1 for i in range(1, 41)}


# -- children ----------------------------------------------------------------------------------------


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Give a directory that other users can enter: every pytest that starts closes that of `tmp_path`."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    for folder in path.parents:
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_command_that_cannot_be_killed_holds_no_slot(count: int, open_path: Path) -> None:
    """Another user's by now: its timeout is reported, the node that waits for its slot runs, and it is left."""
    pids = open_path / "pids"
    pids.touch()
    pids.chmod(0o666)
    # The commands may change their user (CAP_SETUID, in the ambient set), and the engines may not kill others'.
    source = f"""
import sys
sys.path.insert(0, {ROOT!r})
import os
{BECOME}
caps = 1 << 7
libc = ctypes.CDLL(None)
assert libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(caps, caps, caps)) == 0
assert libc.prctl(47, 2, 7, 0, 0) == 0
from mpshell import ExecWorker, task_self
task = task_self()
task.set_info("engines", {count})
task.set_info("fanout", {count})
task.set_info("grace", 0.2)
escape = "echo $$ >> {pids}; exec setpriv --reuid 54322 --inh-caps=-all --ambient-caps=-all sleep 83"
worker = ExecWorker("n[1-20]", command=f"case %n in 0) {{escape}};; *) echo %h;; esac", timeout=5)
task.schedule(worker)
task.resume()
print([(code, len(nodes)) for code, nodes in worker.iter_retcodes()], list(worker.iter_keys_timeout()))
print(task.run("echo again").read())
"""
    try:
        out = run_limited(source)
        [pid] = map(int, pids.read_text().split())
        assert alive(pid)
    finally:
        for word in pids.read_text().split():
            os.kill(int(word), signal.SIGKILL)
    assert out == "[(0, 19)] ['n1']\nb'again'"


#: command -> code or None for a timeout, output; each has three seconds.
CHILDREN = {
    "ignores TERM": ("trap '' TERM; echo a; sleep 50; sleep 50", None, b"a"),
    "closes its streams": ("echo a; exec >&- 2>&-; sleep 50", None, b"a"),
    "grandchild holds the pipe": ("echo a; sleep 51 & exit 4", 4, b"a"),
    "grandchild of another session holds it": ("echo a; setsid sleep 0.8 & exit 4", 4, b"a"),
    "stops itself": ("echo a; kill -STOP $$", None, b"a"),
    "is killed": ("echo a; kill -9 $$", 137, b"a"),
    "grandchild ignores TERM": ("(trap '' TERM; sleep 52) & echo a; sleep 50", None, b"a"),
    "unterminated": ("printf a; sleep 50", None, b"a"),
    "daemonises": ("echo a; setsid sleep 53 </dev/null >/dev/null 2>&1 & exit 4", 4, b"a"),
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
    observer = Observer()
    worker = ExecWorker("n[1-3]", handler=observer, command=command, timeout=3)
    task.schedule(worker)
    with within(30):
        task.resume()
    assert observer.hups == ({} if code is None else {f"n{i}": [code] for i in (1, 2, 3)})
    assert (observer.starts, observer.closes) == (1, [code is None])
    codes = {node: code for node in ("n1", "n2", "n3")} if code is not None else {}
    assert dict(worker.iter_node_retcodes()) == codes
    assert worker.num_timeout() == (3 if code is None else 0)
    assert {bytes(text) for text, _ in worker.iter_buffers()} == {output}
    # Background processes of a command that ended by itself are the user's.
    assert eventually(lambda: not kill_left("sleep 51", "sleep 0.8", "sleep 53"))
    assert task.run("echo again").read() == b"again"
