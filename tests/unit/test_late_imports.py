"""A plain run, of commands on this host, loads no module that only other runs need: these would delay it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "mpshell"

#: Modules for copies, passwords, own stdins, connections that stay, transports with a log, and other hosts.
LATE = {
    "mpshell.coordinator.affinity",
    "mpshell.coordinator.claims",
    "mpshell.coordinator.clientinput",
    "mpshell.coordinator.passwords",
    "mpshell.engine.helpers",
    "mpshell.engine.kept",
    "mpshell.engine.log",
    "mpshell.engine.redial",
    "mpshell.runtime.secret",
    "mpshell.wire.connect",
    "mpshell.wire.files",
    "mpshell.wire.logformat",
    "mpshell.wire.notices",
    "mpshell.worker.atomic",
    "mpshell.worker.parts",
}

#: A run of one command by an engine, in an interpreter as the fork server has it; at its end the engine writes
#: the modules that it has loaded.
ENGINE = """
import sys; sys.path.append(sys.argv[1])
import mpshell.engine.forkserver
import os, select
from mpshell.engine.main import run_engine
from mpshell.engine.program import Program
from mpshell.wire import codec, messages as m
from mpshell.wire.channel import channel_pair
channel, theirs = channel_pair()
lifeline, its_end = os.pipe()
pid = os.fork()
if pid == 0:
    channel.close()
    leave = os._exit
    os._exit = lambda status: (os.write(1, " ".join(sys.modules).encode()), leave(status))
    run_engine(1, theirs, lifeline, Program(os.getppid(), ""))
os.close(theirs)
spec = m.JobSpec(("true",), (), None, False, False, m.GATHER, m.STREAM, False, 1.0, None, False, 0)
commands = [m.Configure(b"/", None, None), m.SetSlots(0, 1), m.Submit(1, spec, 0, ["n1"]), m.EndRun()]
channel.send(codec.encode(commands))
kinds = []
while m.RunEnded not in kinds:
    select.select([channel], [], [])
    kinds += [type(event) for frame in channel.receive() for event in codec.decode(frame)]
assert m.Finished in kinds, kinds
channel.close()
sys.exit(os.waitpid(pid, 0)[1])
"""


def loaded(*argv: str) -> set[str]:
    """Return the modules that a program names on its stdout."""
    done = subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_every_late_module_is_there() -> None:
    files = [PACKAGE.parent / f"{name.replace('.', '/')}.py" for name in LATE]
    assert not [path for path in files if not path.exists()]


def test_a_plain_run_loads_nothing_of_other_runs() -> None:
    modules = loaded(
        "-c",
        "import sys\nfrom mpshell import task_self\ntask = task_self()\n"
        "task.run('true', nodes='n1', remote=False)\nassert task.max_retcode() == 0\n"
        "print(*sys.modules)",
    )
    assert {"mpshell.coordinator.engines", "mpshell.worker.exec"} <= modules
    assert not LATE & modules


def test_an_engine_of_a_plain_run_loads_nothing_of_other_runs() -> None:
    modules = loaded("-I", "-S", "-c", ENGINE, str(PACKAGE.parent))
    assert "mpshell.engine.core" in modules
    assert not LATE & modules
