"""A request checked in the user's process, before anything starts: a mistake in it is one error at the call.

Commands of `Match exec` are executed here too, as ssh(1) would for each node, and the answers cross with the
request: an engine starts no process for its configuration.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping

from mpshell.errors import WorkerError
from mpshell.ssh.reading import Reading, local_account
from mpshell.ssh.request import Request
from mpshell.ssh.resolver import Undecided
from mpshell.ssh.words import with_whole_paths

#: Seconds that a command of `Match exec` may take; the nodes of a slower one go to ssh(1).
_LONGEST = 2.0

#: The most different commands that are executed; nodes that need others go to ssh(1).
_MOST = 16


def check_request(
    request: Request, nodes: Iterable[str], environ: Mapping[bytes, bytes], home: str | None = None
) -> Request:
    """Return a request with whole file names, and the answers of the `Match exec` commands of its nodes.

    Raise WorkerError for options and lines that cannot be read, with the word or with file and line, and for a
    file of a key that is named and cannot be read.
    """
    request = request._replace(options=with_whole_paths(request.options, os.getcwd()))
    home = home or local_account().pw_dir
    answers: dict[str, bool | None] = {}

    def ask(command: str) -> bool | None:
        if command not in answers and len(answers) < _MOST:
            answers[command] = _succeeds(command, environ)
        return answers.get(command)

    reading = Reading.of(request, environ, home, ask)
    for path in reading.command_line.identities:
        _check_readable(path, f"option -i {path}")
    for number, node in enumerate(nodes):
        if number and not reading.has_exec:
            break
        try:
            named = reading.settings(node)[0].all("identityfile")
            paths = [path for path, _ in reading.profile(node).identities] if named else []
        except Undecided:
            continue
        for path in paths:
            if os.path.exists(path):
                _check_readable(path, f"IdentityFile {path}")
    known = tuple((command, answer) for command, answer in answers.items() if answer is not None)
    return request._replace(execs=known)


def _check_readable(path: str, name: str) -> None:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise WorkerError(f"{name}: {error.strerror}") from error


def _succeeds(command: str, environ: Mapping[bytes, bytes]) -> bool | None:
    """Return whether a command ends with success, None when it takes too long or cannot be started."""
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        # The program ignores SIGCHLD, and so the status of the child is lost.
        return None
    shell = os.fsdecode(environ.get(b"SHELL", b"")) or "/bin/sh"
    try:
        running = subprocess.Popen(
            [shell, "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            env=dict(environ), start_new_session=True,
        )  # fmt: skip
    except OSError:
        return None
    try:
        return running.wait(_LONGEST) == 0
    except subprocess.TimeoutExpired:
        # With all that it has started: it is not reaped yet, so its group is its own.
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        return None
