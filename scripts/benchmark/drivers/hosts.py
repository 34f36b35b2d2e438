"""A sweep by engines of this host and of others, and what the head has used for it."""

import os
import time
from pathlib import Path
from typing import Any

from sweeps import check_codes, new_task, node_text


def sweep(
    library: str, nodes: int, command: str, where: str, how: dict[str, Any], fanout: int = 64
) -> dict[str, float]:
    """Run a command on the nodes, with warm engines `where` ("" for here) as `how` says.

    `cpu` is that of the head, which is there by its parts as well: of this process, of the switchboard, and of
    the programs of its lines (ssh, srun, the bridge to dask).
    """
    import mpshell

    if where == "ssh":
        launcher = mpshell.ssh_hosts(**how)
    elif where == "srun":
        launcher = mpshell.srun(**how)
    elif where == "dask":
        launcher = mpshell.dask(**how)
    else:
        launcher = None
    task = new_task(mpshell, fanout, launcher=launcher, engines=how["engines"] * 2)

    def run(count: int) -> None:
        task.shell(command, nodes=node_text(count), remote=False)
        task.resume()
        check_codes(task, count)

    # The second one finds all engines there.
    run(fanout)
    run(fanout * 4)
    before, begin = head_cpu(), time.monotonic()
    run(nodes)
    seconds = time.monotonic() - begin
    parts = {name: cpu - before[name] for name, cpu in head_cpu().items()}
    return {"seconds": seconds, "cpu": sum(parts.values()), **parts}


def head_cpu() -> dict[str, float]:
    """Return the CPU seconds of this process, and those of its switchboard and its lines where there is one."""
    boards = [pid for pid in _children(os.getpid()) if _is_switchboard(pid)]
    parts = {"coordinator_cpu": _cpu_of(os.getpid())}
    if boards:
        parts["switchboard_cpu"] = sum(map(_cpu_of, boards))
        parts["lines_cpu"] = sum(_cpu_of(pid) for board in boards for pid in _children(board))
    return parts


def _is_switchboard(pid: int) -> bool:
    return b"mpshell.hosts.switchboard" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(word) for task in tasks for word in (task / "children").read_text().split()]


def _cpu_of(pid: int) -> float:
    """Return the CPU seconds of all threads of a process, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
