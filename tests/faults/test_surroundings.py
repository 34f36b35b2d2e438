"""The fault table: changes of the program itself: its user, its interpreter, its encoding."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import mpshell
from mpshell import ExecWorker, Task
from mpshell.launch import fork as launcher
from mpshell.launch import pool
from tests.faults.conftest import Observer, Sweep, fork_servers
from tests.support import eventually, run_script

ROOT = str(Path(mpshell.__path__[0]).parent)


def test_commands_run_as_who_the_program_is_now() -> None:
    """An engine of before does not keep dropped privileges (which takes root)."""
    done = run_script(f"""
import os, sys
sys.path.insert(0, {ROOT!r})
from mpshell import task_self
ids = "echo $(id -u) $(id -g) $(id -G)"
def run():
    task = task_self()
    task.run(ids, nodes="n[1-20]", remote=False)
    assert task.max_retcode() == 0
    return {{bytes(body).decode() for body, nodes in task.iter_buffers()}}
first = run()
groups = " ".join(map(str, sorted({{os.getgid(), *os.getgroups()}})))
assert first == {{f"{{os.getuid()}} {{os.getgid()}} {{groups}}"}}
os.setgroups([54321])
os.setresgid(54322, 54322, 54322)
print(run(), len(first))
""")
    assert (done.stdout, done.stderr) == (f"{{'{os.getuid()} 54322 54322 54321'}} 1\n", "")


def test_engines_that_ran_for_another_task_do_not_come_back(tmp_path: Path) -> None:
    """They are the old user's, and end with the run that had them; so does their fork server."""
    done = run_script(
        f"""
import os, sys, threading
sys.path.insert(0, {ROOT!r})
import psutil
from mpshell import EventHandler, ExecWorker, Task, task_self
[go] = sys.argv[1:]
begun = threading.Semaphore(0)
class Begun(EventHandler):
    def ev_read(self, *args):
        begun.release()
def run():
    task = task_self()
    task.run("id -g", nodes="n[1-2]", remote=False)
    return {{bytes(body).decode() for body, nodes in task.iter_buffers()}}
other = Task()
until = f"echo begun; while [ ! -e {{go}} ]; do sleep 0.05; done"
other.schedule(ExecWorker("m[1-4]", handler=Begun(), command=until))
other.resume()
for _ in range(4):
    begun.acquire()
os.setresgid(54322, 54322, 54322)
ran = [run()]
open(go, "w").close()
other.join()
ran += [run(), run()]
other.abort(kill=True)
# The last engine of a user may also end while that is still the program's.
task_self().run("kill -9 $PPID", nodes="n[1-2]", remote=False)
os.setresgid(54323, 54323, 54323)
print(ran, run(), len(psutil.Process().children()))
""",
        args=[str(tmp_path / "go")],
    )
    assert (done.stdout, done.stderr) == (f"{[{'54322'}] * 3} {{'54323'}} 1\n", "")


def test_engines_that_run_for_another_task_stay_when_the_user_changes(
    task: Task, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = f"while [ ! -e {ledger}.go ]; do sleep 0.05; done"
    other_task = Task()
    try:
        other = Sweep(other_task, ledger, 8, Observer(), body)
        other_task.schedule(other.worker)
        other_task.resume()
        assert eventually(lambda: len(other.ran()) == 8)
        [old] = fork_servers()
        monkeypatch.setattr(launcher, "credentials", lambda: "another one")
        worker = ExecWorker("m[1-6]", command="echo %h")
        task.schedule(worker)
        task.resume()
        assert dict(worker.iter_node_retcodes()) == {f"m{i}": 0 for i in range(1, 7)}
        assert old in fork_servers() and len(fork_servers()) == 2
        Path(f"{ledger}.go").touch()
        other_task.join()
        assert other.lost() == [] and len(list(other.worker.outcomes())) == 8
    finally:
        other_task.abort(kill=True)
        other_task.thread.join()
    pool.shutdown()
    assert fork_servers() == []


#: A program with a `sys.executable` that starts the program itself.
ITSELF = f"""
import os, sys
sys.path.insert(0, {ROOT!r})
from mpshell import EngineStartError, task_self
with open(sys.argv[1], "a") as log:
    log.write("started\\n")
sys.executable = os.environ["STARTER"]
%s
try:
    task_self().run("true")
except EngineStartError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize("marked", ["sys.frozen = True", ""])
def test_a_program_that_is_no_interpreter_is_not_started_for_ever(
    marked: str, tmp_path: Path
) -> None:
    script, starter, log = tmp_path / "itself.py", tmp_path / "starter", tmp_path / "log"
    script.write_text(ITSELF % marked)
    starter.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} {script} {log}\n")
    starter.chmod(0o755)
    done = subprocess.run(
        [starter], env={**os.environ, "STARTER": str(starter)}, timeout=60, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 3 and done.stderr == ""
    if marked:
        assert f"{str(starter)!r}, is not a Python interpreter" in done.stdout
        assert log.read_text() == "started\n"
    else:
        # As often as a fork server is tried, and none of these tries again.
        assert 2 <= len(log.read_text().splitlines()) < 30


@pytest.mark.parametrize("executable", ["", None])
def test_no_interpreter_is_a_clear_error(
    executable: str | None, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    task.shell("true")
    with pytest.raises(mpshell.EngineStartError, match=f"sys.executable is {executable!r}"):
        task.resume()


@pytest.mark.parametrize(
    "encoding",
    [{"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONUTF8": "1"}, {}],
    ids=["ascii", "utf8", "locale"],
)
def test_text_has_the_same_bytes_for_commands_as_for_the_program(encoding: dict[str, str]) -> None:
    """The bytes of an argument are those that the user typed, in any encoding of the program."""
    done = run_script(
        f"""
import sys
sys.path.insert(0, {ROOT!r})
from mpshell import task_self
read = task_self().run("printf %s " + sys.argv[1]).read()
assert read == b"x\\xc3\\xa9", read
try:
    read = task_self().run("printf %s \\u65e5").read()
except ValueError as error:
    assert "cannot be encoded" in str(error), error
    read = None
print(sys.getfilesystemencoding(), read == "\\u65e5".encode(), read is None)
""",
        args=["x\u00e9"],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", **encoding},
    )
    ascii_only = encoding.get("PYTHONUTF8") == "0"
    assert (done.stdout, done.stderr) == (
        "ascii False True\n" if ascii_only else "utf-8 True False\n",
        "",
    )


def test_a_package_that_is_replaced_under_a_running_program_is_a_clear_error(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine loads the files on the disk by then, and its messages may differ."""
    pool.shutdown()
    with monkeypatch.context() as older:
        older.setattr(mpshell, "__version__", "0.0.9")
        with pytest.raises(
            mpshell.EngineStartError, match=r"runs mpshell .*, this program 0\.0\.9"
        ):
            task.run("true", nodes="n[1-3]", remote=False)
    pool.shutdown()
    assert task.run("echo again").read() == b"again"


#: The effects of the patches of gevent and eventlet on a process, as far as Tasks see them.
PATCHES = {
    "threads": "import _thread; _real = _thread.start_new_thread; "
    "_thread.start_new_thread = threading._start_new_thread = lambda *args: _real(*args)",
    "waits": "import select; del select.epoll",
    "the class of the main thread": "import _thread; _thread.start_new_thread = lambda *args: 1; "
    "threading.current_thread = lambda: object()",
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("patch", PATCHES)
def test_patched_threads_are_a_clear_error(patch: str, late: bool) -> None:
    steps = ["import mpshell.task.task", PATCHES[patch]]
    done = run_script(
        f"""
import sys, threading
sys.path.insert(0, {ROOT!r})
{"; ".join(steps if late else steps[::-1])}
from mpshell import Task, TaskError, task_cleanup, task_self, task_wait
for use in (task_self, Task, task_wait):
    try:
        use()
    except TaskError as error:
        assert "monkey-patched" in str(error) and "thread=False" in str(error), error
    else:
        raise RuntimeError(use)
task_cleanup()
print("done", threading.active_count())
"""
    )
    assert (done.stdout, done.stderr) == ("done 1\n", "")


#: Ways to have no /proc of one's own; in a user's own namespaces, for which root is not needed.
PROC = {
    "not mounted": ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"],
    "of another PID namespace": ["unshare", "-Urpf"],
    # As in a container: under each number there is another process (which takes root).
    "of another PID namespace with low numbers": [
        "unshare", "-pf", "--mount-proc", "sh", "-c", 'for i in 1 2 3 4; do unshare -Urpf "$@"; done', "sh",
    ],
}  # fmt: skip


@pytest.mark.parametrize("proc", PROC)
def test_without_proc_no_command_starts(proc: str, tmp_path: Path) -> None:
    """Nothing could end leftover processes of a killed engine's commands, so no command is started."""
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import sys
sys.path.insert(0, {ROOT!r})
from mpshell import EngineStartError, task_self
try:
    task_self().run("touch {tmp_path}/ran", nodes="n[1-3]", remote=False)
except EngineStartError as error:
    print(error)
"""
    )
    done = subprocess.run(
        [*PROC[proc], sys.executable, str(program)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    reason = (
        "no engine process can run: /proc is needed to end processes that commands leave, and is "
    )
    assert lines and all(line.startswith(reason) for line in lines), (done.stdout, done.stderr)
    assert done.stderr == ""
    assert not (tmp_path / "ran").exists()
