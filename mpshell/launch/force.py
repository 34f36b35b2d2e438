"""Signals from the coordinator's process to an engine that its fork server cannot end, or that has none.

An engine is not a child of this process, so its number may belong to another process by now. The signal goes
to a pidfd that is opened while the number is in the session of the engine's fork server, which has no other
processes.
"""

from __future__ import annotations

import contextlib
import os

from mpshell.runtime.lean import signal
from mpshell.runtime.procfs import children_of


def wake(pid: int, session: int) -> None:
    """Continue an engine that was stopped: it then notices its end, and cleans up."""
    _signal_engine(pid, session, signal.SIGCONT)


def kill(pid: int, session: int) -> None:
    """Kill an engine. It leaves its commands behind."""
    _signal_engine(pid, session, signal.SIGKILL)


def kill_commands(pid: int, session: int) -> None:
    """Kill the commands of an engine.

    It may wait for one of them in the kernel, between vfork and exec: after the end of that one the engine
    notices its own end, and cleans up.
    """
    if not _is_engine(pid, session):
        return
    for child in children_of(pid):
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(child)
            try:
                # It is listed again, so it is still the process for which the pidfd was opened, or has died
                # since.
                if child in children_of(pid) and _is_engine(pid, session):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)


def _is_engine(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except OSError:
        return False


def _signal_engine(pid: int, session: int, number: int) -> None:
    with contextlib.suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            if _is_engine(pid, session):
                signal.pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)
