"""The first run of a program: import the library, run `true`, leave.

    cold.py LIBRARY DIRECTORY...   one program; prints the seconds from before the import to the return code

`start_up` runs it again and again, in a process each, as `run.py` calls it. The program is started
without `site`, and told where its libraries are: the hooks of a development install would import on
their own what a library does.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def one(library: str) -> None:
    begin = time.monotonic()
    if library == "mpshell":
        import mpshell

        task: Any = mpshell.task_self()
    elif library == "ClusterShell":
        import ClusterShell.Task

        task = ClusterShell.Task.task_self()
    else:
        print(time.monotonic() - begin)
        return
    task.run("true")
    if task.max_retcode() != 0:
        raise RuntimeError(f"true returned {task.max_retcode()}")
    print(time.monotonic() - begin)


def start_up(library: str, times: int) -> dict[str, float]:
    """Run the program so often; whole milliseconds are from its start to its end, all CPU counted."""
    import statistics
    import subprocess
    import sysconfig
    from pathlib import Path

    root = str(Path(__file__).resolve().parents[3])
    argv = [sys.executable, "-S", __file__, library, root, sysconfig.get_path("purelib")]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    inside, whole, cpu = [], [], []
    for _ in range(times):
        begin = time.monotonic()
        # wait4 is asked for what this one has used, with all that it has waited for.
        program = subprocess.Popen(argv, stdout=subprocess.PIPE, env=environ)
        assert program.stdout is not None
        inside.append(float(program.stdout.read()))
        _, status, used = os.wait4(program.pid, 0)
        whole.append(time.monotonic() - begin)
        cpu.append(used.ru_utime + used.ru_stime)
        program.stdout.close()
        program.returncode = os.waitstatus_to_exitcode(status)
        if program.returncode != 0:
            raise RuntimeError(f"{library}: exit status {program.returncode}")
    middle = statistics.median
    return {
        "seconds": times * middle(inside),
        "first_ms": 1000 * middle(inside),
        "process_ms": 1000 * middle(whole),
        "all_cpu_ms": 1000 * middle(cpu),
    }


if __name__ == "__main__":
    sys.path += sys.argv[2:]
    one(sys.argv[1])
