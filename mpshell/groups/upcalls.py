"""Runs the upcalls of ClusterShell's group sources within bounds: a time, a size, no stdin, no shell syntax
in what the caller names.

Everything else about a source (its cache, its queries, the lines of an answer) is ClusterShell's.
"""

from __future__ import annotations

import functools
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from string import Template
from typing import Any

from mpshell.defaults import DEFAULTS
from mpshell.groups.installed import node_utils

#: The most bytes of an answer: a longer one is not a list of nodes (`yes` has no end).
_LONGEST = 1 << 26

#: A group's or node's name is put into the command unquoted, and a shell reads that.
_SHELL_SYNTAX = re.compile(r"[;|&$`<>(){}\\'\"\n\r\0]")

_utils: Any = node_utils()


class UpcallError(_utils.GroupSourceQueryFailed):
    """An upcall has failed; `upcall` is its kind, as "map"."""

    def __init__(self, message: str, source: Any, upcall: str) -> None:
        super().__init__(message, source)
        self.upcall = upcall


def bound(resolver: Any) -> None:
    """Let each source of a resolver run its upcalls within bounds, unless it has a reader of its own."""
    # When its default source is read, a resolver reads its configuration.
    _ = getattr(resolver, "default_source_name", None)
    plain = _utils.UpcallGroupSource._upcall_read
    for source in getattr(resolver, "_sources", {}).values():
        # A source that has a reader of its own has it on the class or, bound already, on itself.
        if getattr(type(source), "_upcall_read", None) is plain and "_upcall_read" not in vars(
            source
        ):
            source._upcall_read = functools.partial(_read, source)


def _read(source: Any, kind: str, values: Mapping[str, Any] | None = None) -> str:
    """Return the answer of an upcall of a source; UpcallError."""
    values = values or {}
    for key in ("GROUP", "NODE"):
        found = _SHELL_SYNTAX.search(str(values.get(key, "")))
        if found is not None:
            raise UpcallError(
                f"{values[key]!r} holds {found.group()!r}, which a shell would interpret",
                source,
                kind,
            )
    command = Template(source.upcalls[kind]).safe_substitute(values)
    try:
        answer, status = _run(command, source.cfgdir, float(DEFAULTS.upcall_timeout))
    except OSError as error:
        reason = f"its upcall {kind} cannot be started: {error}: {command}"
    except _OutOfBoundsError as error:
        reason = f"its upcall {kind} {error}, and was killed: {command}"
    else:
        if status == 0:
            return os.fsdecode(answer).strip()
        how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
        reason = f"its upcall {kind} {how}: {command}"
    raise UpcallError(reason, source, kind)


class _OutOfBoundsError(Exception):
    """A command takes too long or writes too much."""


def _run(command: str, directory: str | None, timeout: float) -> tuple[bytes, int]:
    """Return the output of a shell's command and its exit status; OSError, _OutOfBoundsError."""
    deadline = time.monotonic() + timeout
    # In a session of its own all of it can be ended, and nothing of it can ask at the terminal.
    process = subprocess.Popen(
        command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=directory,
        start_new_session=True,
    )  # fmt: skip
    late = f"did not end within {timeout:g} s"
    try:
        answer = _output_of(process, deadline, late)
        return answer, process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _OutOfBoundsError(late) from None
    finally:
        if process.returncode is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                # Gone, or another user's by now: that one is not waited for.
                process.poll()
            else:
                process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _output_of(process: subprocess.Popen[bytes], deadline: float, late: str) -> bytes:
    fd = process.stdout.fileno() if process.stdout is not None else -1
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    parts: list[bytes] = []
    size = 0
    while poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        part = os.read(fd, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
        if size > _LONGEST:
            raise _OutOfBoundsError(f"wrote more than {_LONGEST >> 20} MiB")
    raise _OutOfBoundsError(late)
