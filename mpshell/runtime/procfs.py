"""The children of processes, from /proc. Linux only; used by engines and by their coordinator."""

from __future__ import annotations

import os

#: Bytes of a read of a process's status: more than it has without many groups.
_STATUS_SIZE = 4096


def why_unusable() -> str:
    """Return why /proc does not show this process and its children; empty if it does.

    The numbers in a /proc of another PID namespace belong to other processes here.
    """
    try:
        shown = os.readlink("/proc/self")
    except OSError as error:
        return f"/proc is needed to end processes that commands leave, and is not mounted: {error}"
    if shown == str(os.getpid()):
        return ""
    return (
        "/proc is needed to end processes that commands leave, and is that of another PID namespace:"
        f" /proc/self is {shown}, this process is {os.getpid()}"
    )


def status_of(process: int | str) -> bytes:
    """Return the lines of a process's status (proc_pid_status(5)); "self" is this one. OSError when it is gone.

    By single system calls: a file object takes three times as long, and each run reads it.
    """
    fd = os.open(f"/proc/{process}/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = part = os.read(fd, _STATUS_SIZE)
        # It is one record for the kernel, which leaves room in a buffer only at the end.
        while len(part) == _STATUS_SIZE:
            part = os.read(fd, _STATUS_SIZE)
            status += part
        return status
    finally:
        os.close(fd)


def status_field(status: bytes, name: bytes) -> bytes:
    """Return the value of a line of a status; empty where there is no such line."""
    _, _, rest = status.partition(b"\n" + name + b":")
    return rest.partition(b"\n")[0].strip()


def children_of(pid: int) -> list[int]:
    """Return the children of a process with one thread; empty if it has ended."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return _children_by_scan(pid)
    except ProcessLookupError:
        return []


def _children_by_scan(parent: int) -> list[int]:
    """Return the same with a kernel that was built without the children file."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == parent:
                found.append(int(name))
    return found


def threads_children(pid: int) -> list[list[int]]:
    """Return the children of every thread of a process: each thread has its own list."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return []
    lists = []
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                lists.append([int(word) for word in file.read().split()])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return lists


def started(pid: int) -> int:
    """Return when a process started, in clock ticks since the boot; 0 if it is not known."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0
