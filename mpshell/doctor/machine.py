"""The limits of processes, descriptors, memory and network, as the kernel has them.

Sources: getrlimit(2), proc(5), the kernel's admin-guide on cgroup-v2 and cgroup-v1/pids, arp(7), ip(7).
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

from mpshell.doctor.finding import Finding, count
from mpshell.engine.limits import FDS_A_CLIENT, OWN_FDS
from mpshell.launch.cpus import directories, usable_cpus

#: Processes that a command takes: the one that is started, and one that it starts (sh(1) and its command).
PROCESSES = 2

#: Memory of one waiting ssh(1) in bytes, without the part that it shares with the others.
SSH_MEMORY = 2 << 20

#: Of memory, processes and descriptors that are free, the share that a sweep should take.
_SHARE = 0.8


def examine(processors: int | None = None) -> Iterator[Finding]:
    """Yield the limits of this machine for commands that engines start here."""
    engines = usable_cpus() if processors is None else processors
    yield _processors(engines)
    yield _descriptors(engines)
    yield from _processes()
    yield from _cgroup_pids()
    yield from _memory()
    yield from _neighbours()
    yield from _ports()


def _processors(engines: int) -> Finding:
    here = os.cpu_count() or engines
    figure = f"{engines}" if engines == here else f"{engines} of {here}"
    remedy = ""
    if engines < here:
        remedy = (
            "the affinity mask or the quota of the cgroup grants no more: ask for more processors"
        )
    return Finding("processors", figure, f"{engines} engines", remedy=remedy)


def _descriptors(engines: int) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # With a log, as a client of ssh has one.
    each = FDS_A_CLIENT + 1
    if hard == resource.RLIM_INFINITY:
        return Finding("open files", "unlimited", "any fanout")
    fanout = engines * max(1, (hard - OWN_FDS) // each)
    return Finding(
        "open files",
        f"{count(soft)} (soft), {count(hard)} (hard) a process",
        f"fanout {count(fanout)}: {each} a command, and engines raise the soft limit themselves",
        fanout=fanout,
        remedy="raise the hard limit: `nofile` in limits.conf(5), LimitNOFILE in systemd.exec(5)",
    )


def _processes() -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    # The kernel does not apply the limit to root, nor with CAP_SYS_RESOURCE or CAP_SYS_ADMIN (getrlimit(2)).
    if soft == resource.RLIM_INFINITY or os.geteuid() == 0:
        yield Finding("processes of the user", "unlimited", "any fanout")
    else:
        free = max(0, soft - _threads_of(os.getuid()))
        yield _by_processes(
            "processes of the user", f"{count(soft)}, of which {count(free)} are free", free,
            "raise `nproc` in limits.conf(5), or LimitNPROC in systemd.exec(5)",
        )  # fmt: skip
    for name, remedy in (("pid_max", "kernel.pid_max"), ("threads-max", "kernel.threads-max")):
        most = _number(f"/proc/sys/kernel/{name}")
        if most is not None:
            free = max(0, most - _threads())
            yield _by_processes(
                f"{remedy} (sysctl)", f"{count(most)}, of which {count(free)} are free", free,
                f"sysctl -w {remedy}=4194304" if name == "pid_max" else f"raise {remedy} by sysctl(8)",
            )  # fmt: skip


def _by_processes(subject: str, figure: str, free: int, remedy: str) -> Finding:
    fanout = int(free * _SHARE) // PROCESSES
    return Finding(
        subject, figure, f"fanout {count(fanout)}: {PROCESSES} processes a command",
        fanout=fanout, remedy=remedy,
    )  # fmt: skip


def _cgroup_pids() -> Iterator[Finding]:
    """Yield the tightest limit of processes among the cgroups that this process is in."""
    tightest: tuple[int, int, str] | None = None
    for directory in directories("pids"):
        most = _number(os.path.join(directory, "pids.max"))
        used = _number(os.path.join(directory, "pids.current"))
        if most is not None and used is not None:
            found = (most - used, most, directory)
            tightest = found if tightest is None else min(tightest, found)
    if tightest is not None:
        free, most, directory = tightest
        yield _by_processes(
            "processes of the cgroup", f"{count(most)}, of which {count(max(0, free))} are free", max(0, free),
            f"raise pids.max of {directory}: TasksMax (systemd.resource-control(5)), --pids-limit (containers)",
        )  # fmt: skip


def _memory() -> Iterator[Finding]:
    free = _meminfo("MemAvailable")
    for directory in directories("memory"):
        most = _number(os.path.join(directory, "memory.max"))
        used = _number(os.path.join(directory, "memory.current"))
        if most is not None and used is not None:
            free = most - used if free is None else min(free, most - used)
    if free is not None:
        fanout = int(max(0, free) * _SHARE) // SSH_MEMORY
        yield Finding(
            "memory", f"{max(0, free) >> 20:,} MB free",
            f"fanout {count(fanout)} over ssh: about {SSH_MEMORY >> 20} MB for each ssh(1)",
            fanout=fanout, remedy="a smaller fanout (-f), or -R asyncssh, which starts no program for a node",
        )  # fmt: skip


def _neighbours() -> Iterator[Finding]:
    """Yield the size of the table of neighbours, which nodes on networks of this machine take an entry of."""
    for family, name in (("ipv4", "IPv4"), ("ipv6", "IPv6")):
        most = _number(f"/proc/sys/net/{family}/neigh/default/gc_thresh3")
        if most is not None:
            yield Finding(
                f"neighbour table, {name}", f"{count(most)} entries",
                f"{count(most)} nodes on networks of this machine itself (beyond routers it does not count)",
                nodes=most,
                remedy=f"sysctl -w net.{family}.neigh.default.gc_thresh3=N, with gc_thresh2 below it",
            )  # fmt: skip


def _ports() -> Iterator[Finding]:
    text = _text("/proc/sys/net/ipv4/ip_local_port_range")
    if text is not None and len(bounds := text.split()) == 2:
        first, last = map(int, bounds)
        yield Finding(
            "local ports", f"{first} to {last}",
            f"{count(last - first + 1)} connections at once to one address, as to a jump host",
            remedy="sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
        )  # fmt: skip


def _threads_of(uid: int) -> int:
    """Return how many threads a user has: RLIMIT_NPROC counts these."""
    found = 0
    for status in _statuses():
        fields = dict(line.partition(":")[::2] for line in status.splitlines())
        ids = fields.get("Uid", "").split()
        if ids and int(ids[0]) == uid:
            found += int(fields.get("Threads", "1"))
    return found


def _threads() -> int:
    """Return how many threads the machine has, as /proc/loadavg counts them."""
    text = _text("/proc/loadavg")
    return 0 if text is None else int(text.split()[3].partition("/")[2])


def _statuses() -> Iterator[str]:
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if name.isdigit() and (text := _text(f"/proc/{name}/status")) is not None:
            yield text


def _meminfo(name: str) -> int | None:
    for line in (_text("/proc/meminfo") or "").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return None


def _number(path: str) -> int | None:
    """Return the number in a file, None for another word (max) or no such file."""
    text = _text(path)
    return int(text) if text is not None and text.strip().isdigit() else None


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None
