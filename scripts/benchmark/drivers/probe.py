"""What the library's own processes have used so far: CPU time and memory, those of commands not counted.

In a measured process. Its own processes are itself and, of its offspring, fork servers and engines.
"""

import os
import resource
from pathlib import Path
from typing import NamedTuple

_ENGINE_MARK = b"mpshell.engine.forkserver"
_TICKS = os.sysconf("SC_CLK_TCK")


class CpuTime(NamedTuple):
    """CPU seconds: of the library's processes, of the coordinator's alone, of reaped commands."""

    own: float
    coordinator: float
    commands: float


def cpu_time() -> CpuTime:
    """Return what has been used up to now."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    coordinator = own.ru_utime + own.ru_stime
    # Without engines the commands are this process's children. The fork server is not reaped yet.
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    commands = reaped.ru_utime + reaped.ru_stime
    engines = 0.0
    for pid in helpers():
        engines += _cpu_of(pid)
        commands += _reaped_cpu_of(pid)
    return CpuTime(coordinator + engines, coordinator, commands)


def memory() -> dict[str, float]:
    """Return bytes: the coordinator's peak, all peaks added, and all as it is now, shared pages once."""
    pids = [os.getpid(), *helpers()]
    peaks = [_field(f"/proc/{pid}/status", "VmHWM:") for pid in pids]
    shared_once = [_field(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in pids]
    return {
        "coordinator_memory": peaks[0],
        "peak_memory": sum(peaks),
        "memory": sum(shared_once),
    }


def helpers() -> list[int]:
    """Return this process's fork servers and their engines; an engine's children are commands."""
    servers = [pid for pid in _children(os.getpid()) if _is_helper(pid)]
    engines = [pid for server in servers for pid in _children(server) if _is_helper(pid)]
    return servers + engines


def _is_helper(pid: int) -> bool:
    try:
        return _ENGINE_MARK in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _children(pid: int) -> list[int]:
    children: list[int] = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        text = Path(f"/proc/{pid}/task/{thread}/children").read_text()
        children += [int(word) for word in text.split()]
    return children


def _cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process of one thread, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _reaped_cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / _TICKS


def _field(path: str, name: str) -> int:
    """Return a field of a file of /proc that is given in kB, in bytes."""
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{path} has no {name}")
