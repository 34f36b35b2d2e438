"""The properties of an ssh, before a run: whether it accepts its options, its log level, how to get its log.

`ssh -G` reads options and configuration, and connects to nothing. It runs once for each set of options in a
process, and takes some milliseconds. In the thread of the task.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import NamedTuple

from mpshell.errors import WorkerError
from mpshell.worker.ssh_log import LEVELS, SshLog, diagnose_words

#: Seconds that it may take: it may look up a name, or execute a command (`Match exec`).
_LONGEST = 2.0

#: The answers, by the options and everything else that affects ssh; so many are kept.
_known: dict[tuple[str, ...], SshLog | None] = {}
_KEPT = 256

#: A node that every ssh accepts: options that are refused for this one too are wrong for all nodes.
_PLAIN_NODE = "localhost"

#: Status of a program that could not be started, or had to be stopped.
_NOT_STARTED, _STOPPED = -1, -2

#: OpenSSH's status for any failure of its own.
_FAILED = 255


class _Answer(NamedTuple):
    status: int
    output: str


def ssh_log(program: list[str], options: list[str], nodes: list[str]) -> SshLog | None:
    """Return how to get the log of an ssh, None if there is no way: it is not OpenSSH's, or runs elsewhere.

    Raise WorkerError if ssh refuses its options or its configuration for any node.
    """
    if not os.path.isdir("/proc/self/fd"):
        return None
    key = (*program, "", *options, "", os.environ.get("PATH", ""), os.environ.get("HOME", ""))
    if key not in _known:
        found, sure = _probe(program, options, nodes)
        if not sure:
            return found
        if len(_known) >= _KEPT:
            _known.clear()
        _known[key] = found
    return _known[key]


def _probe(program: list[str], options: list[str], nodes: list[str]) -> tuple[SshLog | None, bool]:
    """Return how to get the log, and whether that is certain."""
    limit = _asked_timeout(options)
    guess = SshLog("INFO", True, limit)
    answer = _try(program, guess, options, nodes[0])
    if answer.status == _FAILED and "logverbose" in answer.output.lower():
        guess = SshLog("INFO", False, limit)
        answer = _try(program, guess, options, nodes[0])
    if answer.status == 0:
        level, limit = _level(answer.output), _connect_timeout(answer.output)
        return (None if level is None else guess._replace(level=level, limit=limit)), True
    if answer.status == _STOPPED:
        # Too slow to wait for, and very likely an ordinary ssh.
        return guess, False
    if answer.status != _FAILED or "OpenSSH" not in _ask([*program, "-V"]).output:
        return None, False
    if diagnose_words(answer.output) is None:
        for node in (nodes[-1], _PLAIN_NODE):
            if node != nodes[0] and _try(program, guess, options, node) != answer:
                # The error is about that node: its name, or its part of the configuration.
                return guess, False
        raise WorkerError(f"{' '.join([*program, *options])}: {_complaint(answer.output)}")
    return guess, False


def _level(output: str) -> str | None:
    """Return the LogLevel in the output of `ssh -G`, None for any other output."""
    for line in output.splitlines():
        name, _, value = line.partition(" ")
        # SILENT is QUIET's other name.
        if name == "loglevel" and (level := value.upper().replace("SILENT", "QUIET")) in LEVELS:
            return level
    return None


def _connect_timeout(output: str) -> float:
    """Return the ConnectTimeout in the output of `ssh -G`, in seconds; 0 for none."""
    for line in output.splitlines():
        name, _, value = line.partition(" ")
        if name == "connecttimeout" and value.isdigit():
            return float(value)
    return 0


def _asked_timeout(options: list[str]) -> float:
    """Return the ConnectTimeout that options set, as far as they show it."""
    begin = "-oConnectTimeout="
    values = [word.removeprefix(begin) for word in options if word.startswith(begin)]
    return float(values[0]) if values and values[0].isdigit() else 0


def _complaint(output: str) -> str:
    lines = output.partition("\nusage:")[0].strip().splitlines()
    return "; ".join(lines) or f"ended with {_FAILED}"


def _try(program: list[str], log: SshLog, options: list[str], node: str) -> _Answer:
    """Run ssh -G with its options for a node, with a log like that from an engine."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    try:
        path = f"/proc/{os.getpid()}/fd/{write_end}"
        if not os.access(path, os.W_OK):
            # This process has changed its user, so no process can read its /proc (proc(5)); an engine's it can.
            path = "/dev/stderr"
        # Without the level for an old ssh: find out the user's own.
        forced = log.options() if log.forced else []
        answer = _ask([*program, "-G", "-E", path, *forced, *options, node, "true"])
        logged = _rest_of(read_end).decode(errors="replace")
    finally:
        os.close(read_end)
        os.close(write_end)
    return answer._replace(output=answer.output + logged)


def _ask(argv: list[str]) -> _Answer:
    """Execute a program, and return its status and its whole output."""
    read_end, write_end = os.pipe()
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, write_end, 1),
            (os.POSIX_SPAWN_DUP2, write_end, 2),
        ]
        defaults = [signal.SIGPIPE, signal.SIGINT, signal.SIGTERM]
        pid = os.posix_spawnp(
            argv[0], argv, os.environ, file_actions=actions, setsid=True, setsigdef=defaults
        )
    except OSError:
        os.close(read_end)
        return _Answer(_NOT_STARTED, "")
    finally:
        os.close(write_end)
    pidfd = os.pidfd_open(pid)
    try:
        output, whole = _read_all(read_end, pidfd, time.monotonic() + _LONGEST)
        if not whole:
            os.killpg(pid, signal.SIGKILL)
    finally:
        os.close(read_end)
        os.close(pidfd)
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        # The program ignores SIGCHLD.
        status = 0 if _level(output) is not None else _STOPPED
    return _Answer(status if whole else _STOPPED, output)


def _read_all(fd: int, pidfd: int, deadline: float) -> tuple[str, bool]:
    """Return the output of a process until its end, and whether that came in time.

    The end of the pipe is no sign of it: a process that another thread has forked meanwhile may hold it open.
    """
    os.set_blocking(fd, False)
    poll = select.poll()
    for each in (fd, pidfd):
        poll.register(each, select.POLLIN)
    output = b""
    while (left := deadline - time.monotonic()) > 0:
        ready = {each for each, _ in poll.poll(left * 1000)}
        piece = _rest_of(fd)
        output += piece
        if pidfd in ready:
            return output.decode(errors="replace"), True
        if fd in ready and not piece:
            # Closed before the end of the process.
            poll.unregister(fd)
    return output.decode(errors="replace"), False


def _rest_of(fd: int) -> bytes:
    """Return all that is in a pipe now."""
    pieces: list[bytes] = []
    # It is empty, and open still.
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(fd, 1 << 16):
            pieces.append(piece)
    return b"".join(pieces)
