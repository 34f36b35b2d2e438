"""Runs one process, bounded, and reports its use of resources; everything that it leaves behind is ended.

The benchmark's process is a subreaper: what a run leaves becomes its child, is found, and is killed.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

from scripts.benchmark.model import Invocation, Sample, derive

_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")

#: Seconds that what a run leaves behind has to end by itself: fork servers do.
_GRACE = 5.0


class RunFailed(RuntimeError):
    """A measured run ended with an error, or took too long."""


def prepare() -> None:
    """Make this process the one that inherits orphans, with room for many descriptors below."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def measure(invocation: Invocation, directory: Path) -> Sample:
    """Run it once; RunFailed with its last output if it fails or takes too long."""
    result, log = directory / "result", directory / "log"
    result.unlink(missing_ok=True)
    argv = [*invocation.argv, *([str(result)] if invocation.driver else [])]
    before = set(children())
    (directory / "stdin").write_bytes(invocation.stdin)
    with (directory / "stdin").open("rb") as stdin, log.open("wb") as out:
        begin, cpu_before = time.monotonic(), _cpu_of_children()
        process = subprocess.Popen(
            argv, stdin=stdin, stdout=subprocess.DEVNULL, stderr=out, start_new_session=True,
            env={**os.environ, **invocation.env},
        )  # fmt: skip
        try:
            own_cpu, commands_cpu = _wait(process, invocation.timeout)
            seconds = time.monotonic() - begin
        finally:
            _end(process, before)
    if process.returncode != 0:
        words = log.read_text(errors="replace")[-2000:]
        raise RunFailed(f"{' '.join(argv)[:300]}: exit status {process.returncode}\n{words}")
    sample: Sample = {"seconds": seconds, "cpu": own_cpu, "commands_cpu": commands_cpu}
    if invocation.driver:
        sample = {"process_seconds": seconds, **json.loads(result.read_text())}
    else:
        sample["process_seconds"] = seconds
    # All that has descended from it is reaped: its children by it, what it has left behind in `_end`.
    sample["tree_cpu"] = _cpu_of_children() - cpu_before
    sample["units"] = invocation.units
    return derive(sample)


def _wait(process: subprocess.Popen[bytes], timeout: float) -> tuple[float, float]:
    """Wait for the end; return the process's own CPU seconds, and those of its children."""
    pidfd = os.pidfd_open(process.pid)
    try:
        if not _readable(pidfd, timeout):
            raise RunFailed(f"not at its end after {timeout:g} s: {process.args!r:.300}")
    finally:
        os.close(pidfd)
    # A zombie, not reaped yet, still tells its own times apart from those of its children.
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    process.wait()
    own, reaped = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return own / _TICKS, reaped / _TICKS


def _cpu_of_children() -> float:
    """Return the CPU seconds of all processes below this one that have been reaped."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _readable(fd: int, timeout: float) -> bool:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def _end(process: subprocess.Popen[bytes], before: set[int]) -> None:
    """Kill the run if it still runs, and everything that it has left behind."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + _GRACE
    while left := set(children()) - before:
        for pid in left:
            try:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
            except (ProcessLookupError, ChildProcessError):
                continue
        time.sleep(0.01)


def children() -> list[int]:
    """Return the children of this process."""
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(word) for word in text.split()]
