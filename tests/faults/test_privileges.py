"""The fault table: a program drops privileges, and its own processes of before are attacked from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import attacks

#: A program of root's that has run something; `attack` has an idle engine of it run a command.
PROGRAM = f"""
import os, signal, socket, sys, time
sys.path.insert(0, {attacks.ROOT!r})
import psutil
from mpshell import ExecWorker, task_cleanup, task_self
from mpshell.launch import pool
from mpshell.wire import control, messages as m
from tests.attacks import alive, drop, fork, framed, write
from tests.engine.conftest import job
from tests.support import eventually

def frame(path):
    spec = job(f"id -u > {{path}}")
    return framed([m.Configure(b"/", None, {{b"PATH": b"/usr/bin:/bin"}}), m.SetSlots(0, 8),
                   m.Submit(1, spec, 0, ["n1"])])

def start(fd, path):
    # A new engine on a channel of the attacker's own.
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    ours.sendall(frame(path))
    sentinel = os.pipe()
    with socket.socket(fileno=os.dup(fd)) as packets:
        try:
            socket.send_fds(packets, [control.PACKET.pack(control.FORK, 77)],
                            [theirs.fileno(), sentinel[1]])
        except BrokenPipeError:
            pass
    return ours, theirs, sentinel

me = psutil.Process()
where, way, when = sys.argv[1:]
task = task_self()
task.run("true", nodes="n[1-4]", remote=False)
engines = pool.engine_pool()
# Copies, as a library with a descriptor leak has them: a fork of Python's closes the others.
[handle] = engines._idle
channel = os.dup(handle.channel.fileno())
[server] = engines._launcher._servers.values()
packets = os.dup(server.outbox._descriptor.fd)
before = alive()
assert len(before) == 2, before
path = os.path.join(where, "ran")
"""


def attack(script: str, where: Path, way: str = "", when: str = "", program: str = PROGRAM) -> str:
    """Run a script behind a program of the kind above; return its output."""
    return attacks.attack(program + script, where, way, when)


ATTACK = """
if when == "dropped":
    drop()
if when == "later":
    drop()
    assert eventually(lambda: not alive(), 10), alive()
if way == "frame":
    write(channel, frame(path))
elif way == "frame from a fork":
    fork(write, channel, frame(path))
elif way == "engine":
    kept = start(packets, path)
elif way == "engine from a fork":
    fork(start, packets, path)
elif way == "passed on":
    near, far = socket.socketpair()
    pid = os.fork()
    if not pid:
        data, fds, _, _ = socket.recv_fds(far, 1, 1)
        write(fds[0], frame(path))
        os._exit(0)
    socket.send_fds(near, [b"x"], [channel])
    os.waitpid(pid, 0)
if when in ("dropped", "later"):
    print(eventually(lambda: not alive(), 10), os.path.exists(path))
else:
    # Long enough for an engine that obeys.
    eventually(lambda: os.path.exists(path) and open(path).read(), 30 if when == "root" else 2)
    print(os.path.exists(path) and open(path).read())
"""


@pytest.mark.parametrize("way", ["frame", "engine"])
def test_the_attack_is_a_real_one(way: str, tmp_path: Path) -> None:
    """While the program is root, its frames are obeyed: those of the tests below are no garbage."""
    assert attack(ATTACK, tmp_path, way, "root") == "0\n\n"


@pytest.mark.parametrize("when", ["dropped", "later"])
@pytest.mark.parametrize(
    "way", ["frame", "frame from a fork", "passed on", "engine", "engine from a fork"]
)
def test_a_program_that_has_dropped_root_has_no_root_engine(
    way: str, when: str, tmp_path: Path
) -> None:
    assert attack(ATTACK, tmp_path, way, when) == "True False\n"


@pytest.mark.parametrize("way", ["frame from a fork", "passed on", "engine from a fork"])
def test_an_engine_obeys_its_program_alone(way: str, tmp_path: Path) -> None:
    """Another process is not obeyed, under any user; the program's next run is an ordinary one."""
    printed = attack(
        f"""
{ATTACK}
print(os.path.exists(path), task.run("id -u").read())
""",
        tmp_path, way, "same user",
    )  # fmt: skip
    assert printed == "False\nFalse b'0'\n"


@pytest.mark.parametrize("way", ["frame", "engine"])
def test_the_real_ids_of_a_set_user_id_program_tell_nothing(way: str, tmp_path: Path) -> None:
    """It is an ordinary user's by these before and after; the kernel writes no others into a message."""
    disguised = PROGRAM.replace("me = psutil", "os.setresuid(54321, 0, 0)\nme = psutil")
    drop = ATTACK.replace("drop()", "os.setresuid(54321, 54321, 54321)")
    # A shell may drop what its real user has not, which a command of an attacker's would not.
    assert attack(ATTACK, tmp_path, way, "root", disguised) in ("0\n\n", "54321\n\n")
    (tmp_path / "ran").unlink()
    assert attack(drop, tmp_path, way, "dropped", disguised) == "True False\n"


@pytest.mark.parametrize(
    "change",
    [
        "os.setresgid(54322, 54322, 54322)",
        "os.setgroups([54321])",
        "os.setresuid(-1, 54321, -1)",
        "import ctypes; assert ctypes.CDLL(None).prctl(24, 21, 0, 0, 0) == 0",  # PR_CAPBSET_DROP
    ],
    ids=["group", "groups", "effective user", "bounding set"],
)
def test_whatever_is_dropped_no_idle_process_keeps_it(change: str, tmp_path: Path) -> None:
    """The processes end without any call, within two seconds; and none ends without a change."""
    assert (
        attack(
            f"""
time.sleep(2.5)  # two looks and more: that nothing ends in them has no sign to wait for
print(alive() == before)
{change}
print(eventually(lambda: not alive(), 10))
""",
            tmp_path,
        )
        == "True\nTrue\n"
    )


def test_a_public_call_ends_them_at_once(tmp_path: Path) -> None:
    assert attack("drop(); task_cleanup(); print(alive())", tmp_path) == "[]\n"
    assert attack("task_cleanup(); print(alive())", tmp_path) == "[]\n"


def test_a_stopped_engine_ends_too(tmp_path: Path) -> None:
    script = """
[engine] = [pid for pid in before if psutil.Process(pid).ppid() != os.getpid()]
os.kill(engine, signal.SIGSTOP)
drop()
print(eventually(lambda: not alive(), 10))
"""
    assert attack(script, tmp_path) == "True\n"


def test_a_change_in_the_middle_of_a_run_costs_no_node(tmp_path: Path) -> None:
    """An engine of before ends the clients that it has; all others run with the ids of now."""
    script = """
from mpshell import EventHandler
class Drop(EventHandler):
    def ev_hup(self, worker, node, rc):
        if os.getgid() == 0:
            os.setresgid(54322, 54322, 54322)
for engines in (1, 2):
    if engines == 2:
        os.setresgid(0, 0, 0)
    task.set_info("fanout", 6)
    task.set_default("engines", engines)
    log = f"{path}.{engines}"
    worker = ExecWorker("n[1-60]", handler=Drop(), command=f"echo %h >> {log}; sleep 0.02; id -g")
    task.schedule(worker)
    task.resume()
    outcomes = {o.reason for o in worker.outcomes()}
    ran = open(log).read().split()
    printed = {n: bytes(b).decode() for b, nodes in worker.iter_buffers() for n in nodes}
    print(outcomes, len(ran), len(set(ran)), sorted(set(printed.values())))
    old = sum(text == "0" for text in printed.values())
    assert 1 <= old < 30, old
print(eventually(lambda: not set(alive()) & set(before), 10))
"""
    line = "{'exit'} 60 60 ['0', '54322']\n"
    assert attack(script, tmp_path) == line * 2 + "True\n"


def test_a_command_that_still_needs_stdin_is_lost_by_the_change(tmp_path: Path) -> None:
    """Its engine takes nothing from another user; the detail of the outcome names the change."""
    script = """
from mpshell import EventHandler
class Drop(EventHandler):
    def ev_read(self, worker, node, sname, msg):
        os.setresgid(54322, 54322, 54322)
        worker.write(b"more")
        worker.set_write_eof()
worker = ExecWorker("n1", handler=Drop(), command=f"echo up; cat; id -g >> {path}")
task.schedule(worker)
task.resume()
print(*((o.reason, o.detail) for o in worker.outcomes()))
print(task.run("id -g").read().decode())
"""
    detail = "status 0, after the program changed its user to uid 0, gid 54322"
    assert attack(script, tmp_path) == f"('lost', '{detail}')\n54322\n"
