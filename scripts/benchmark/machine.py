"""The machine in words, and what is compared: no names of hosts or places."""

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata


def describe() -> dict[str, str]:
    """Return what a reader has to know of the machine and the programs, by name."""
    cores = len(os.sched_getaffinity(0))
    found = {
        "processors": f"{cores} x {_cpu_model()}",
        "memory": f"{_memory_gb()} GB",
        "kernel": f"Linux {'.'.join(platform.release().split('.')[:2])}",
        "Python": platform.python_version(),
        "load at the begin": f"{os.getloadavg()[0]:.1f}",
    }
    for package in ("mpshell", "ClusterShell", "parallel-ssh"):
        found[package] = metadata.version(package)
    for program, option in (("pdsh", "-V"), ("parallel", "--version"), ("xargs", "--version")):
        if version := _version(program, option):
            found[program] = version
    if version := _version("ssh", "-V"):
        found["OpenSSH"] = version
    return found


def _cpu_model() -> str:
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _memory_gb() -> int:
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9)


def _version(program: str, option: str) -> str | None:
    """Return the first number with a dot, or of a date, in the version text of a program."""
    if shutil.which(program) is None:
        return None
    answer = subprocess.run(
        [program, option], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL
    )
    number = re.search(r"\d+(?:\.\d+)+\w*|\d{8}", answer.stdout + answer.stderr)
    return number[0] if number else None
