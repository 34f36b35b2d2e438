"""OpenSSH's programs from a task's info keys, with a log that shows whether they or the command failed.

    ssh_path ssh_options ─► the user's words ─► `ssh -G` (`ssh_probe`) ─► words with -E and LogVerbose

The user's own -E and -y are respected: mpshell then writes ssh's messages to that file, or to syslog(3).
Workers use it, in the thread of the task.
"""

from __future__ import annotations

import math
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mpshell.errors import WorkerError
from mpshell.wire.messages import LOG_PATH
from mpshell.worker.flags import SCP_WITH_ARGUMENT, SSH_WITH_ARGUMENT, Flag, flag_words, read_flags
from mpshell.worker.ssh_log import SshLog
from mpshell.worker.ssh_probe import ssh_log
from mpshell.worker.text import check_text
from mpshell.worker.transport import Word

if TYPE_CHECKING:
    from mpshell.wire.logformat import LogFormat
    from mpshell.worker.scheduler import PublicTask

#: Seconds: ssh stores it as milliseconds in 32 bits.
_LONGEST_CONNECT = 2_000_000

#: Options of scp that mean the same to its ssh.
_OF_SSH = "1246CqvFJciol"

#: Options for the connection alone, and options without an effect on the copy of one file by SFTP.
_SAME_IN_SSH, _IDLE_IN_SCP = "46CFJcioqv", "BTrs"

#: Executes ssh with a log for scp, which has no -E.
_WRAPPER = Path(__file__).with_name("scp-ssh")


class SshProgram(NamedTuple):
    """A program with its options, and how its log is read; None if it has no log."""

    words: list[Word]
    log: SshLog | None = None
    #: The user's own -E and -y, which decide where ssh's messages go.
    file: str | None = None
    syslog: bool = False

    def log_format(self) -> LogFormat | None:
        if self.log is None:
            return None
        return self.log.format()._replace(apart=self.syslog or self.file is not None)

    def write_messages(self, messages: bytes) -> None:
        """Write ssh's messages to the place that -E or -y name; OSError if that fails."""
        if self.syslog:
            # Late: it is rarely used.
            import syslog

            syslog.openlog("ssh")
            for line in messages.decode(errors="backslashreplace").splitlines():
                syslog.syslog(syslog.LOG_INFO, line)
        elif self.file is not None:
            fd = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)
            try:
                os.write(fd, messages)
            finally:
                os.close(fd)


def ssh_program(task: PublicTask, nodes: list[str]) -> SshProgram:
    """Return ssh(1) and its options; with a log if there are nodes to run it for.

    Raise WorkerError if ssh refuses its options.
    """
    program, own = ssh_words(task)
    given = [*own, *split_setting(task, "ssh_options", "")]
    ours = ["-oForwardAgent=no", "-oForwardX11=no"]
    if task.info("ssh_user"):
        ours += ["-l", str(task.info("ssh_user"))]
    ours += connection(task)
    flags = _read_flags(program, given, "ssh", SSH_WITH_ARGUMENT)
    plain = SshProgram([*program, *given, *ours])
    if not nodes or flags is None:
        return plain
    kept = [flag for flag in flags if flag.letter not in "Ey"]
    log = ssh_log(program, [*flag_words(kept), *ours], nodes)
    if log is None:
        return plain
    words: list[Word] = [*program, ("-E", LOG_PATH), *log.options()]
    return _with_messages(
        SshProgram([*words, *flag_words(_without_level(kept, log)), *ours], log), flags
    )


def _without_level(flags: list[Flag], log: SshLog) -> list[Flag]:
    """Return options without those that would change the log level that an old ssh needs."""
    return flags if log.forced else [flag for flag in flags if flag.letter not in "qv"]


def _with_messages(program: SshProgram, flags: list[Flag]) -> SshProgram:
    """Return a program whose messages go to -E or -y; WorkerError for a file that cannot be written."""
    files = [flag.argument for flag in flags if flag.letter == "E"]
    program = program._replace(
        file=files[-1] if files else None, syslog=any(flag.letter == "y" for flag in flags)
    )
    try:
        program.write_messages(b"")
    except OSError as error:
        raise WorkerError(f"ssh's option -E: {error}") from error
    return program


def scp_program(task: PublicTask, nodes: list[str]) -> SshProgram:
    """Return scp(1) and its options except `connection`; with a log of its ssh if there are nodes for it.

    Raise WorkerError if that ssh refuses its options.
    """
    program, own = _split(task, "scp_path", "scp")
    given = [*own, *_scp_options(task)]
    flags = _read_flags(program, given, "scp", SCP_WITH_ARGUMENT)
    plain = SshProgram([*program, *given])
    if not nodes or flags is None or not os.access(_WRAPPER, os.X_OK):
        return plain
    ssh = next((f.argument for f in reversed(flags) if f.letter == "S" and f.argument), None)
    ssh = ssh or _beside(program[-1])
    below = [f"-p{f.argument}" for f in flags if f.letter == "P"]
    below += flag_words([flag for flag in flags if flag.letter in _OF_SSH])
    log = ssh_log([ssh], [*below, *connection(task)], nodes)
    if log is None:
        return plain
    kept = [flag for flag in flags if flag.letter != "S"]
    words: list[Word] = ["env", f"MPSHELL_SSH={ssh}", ("MPSHELL_SSH_LOG=", LOG_PATH), *program]
    words += ["-S", str(_WRAPPER), *log.options()]
    return SshProgram([*words, *flag_words(_without_level(kept, log))], log)


def scp_as_ssh(task: PublicTask) -> tuple[list[str], str | None]:
    """Return the options of scp(1) in the form of ssh(1), and one that only scp(1) has, None without such."""
    _, own = _split(task, "scp_path", "scp")
    given = [*own, *_scp_options(task)]
    flags, rest = read_flags(given, SCP_WITH_ARGUMENT)
    alone = [flag.letter for flag in flags if flag.letter not in _SAME_IN_SSH + _IDLE_IN_SCP + "P"]
    words = [
        word
        for flag in flags
        if flag.letter not in _IDLE_IN_SCP
        for word in (flag._replace(letter="p") if flag.letter == "P" else flag).words
    ]
    return [*words, *rest], f"option -{alone[0]} of scp" if alone else None


def _scp_options(task: PublicTask) -> list[str]:
    return split_setting(task, "scp_options" if task.info("scp_options") else "ssh_options", "")


def ssh_words(task: PublicTask) -> tuple[list[str], list[str]]:
    """Return the words of the info key `ssh_path` up to the program, and the options after it."""
    return _split(task, "ssh_path", "ssh")


def _split(task: PublicTask, key: str, name: str) -> tuple[list[str], list[str]]:
    """Return the words of an info key up to the program of that name, and the options after it.

    Another program may come first and execute it (sshpass); without that name there are no options.
    """
    words = split_setting(task, key, name)
    for at, word in enumerate(words):
        if os.path.basename(word) == name:
            return words[: at + 1], words[at + 1 :]
    return words, []


def _read_flags(
    program: list[str], given: list[str], name: str, with_argument: str
) -> list[Flag] | None:
    """Return the options in words for the program of that name, None if it is another one.

    Raise WorkerError for a word that is neither an option nor its value, since it would be taken for the node
    or a file; and for a last option without a value, since it would take the next word, which may be ours.
    """
    if os.path.basename(program[-1]) != name:
        return None
    flags, rest = read_flags(given, with_argument)
    if rest:
        hint = f"-o{rest[0]}" if "=" in rest[0] else "an option begins with '-'"
        raise WorkerError(f"{rest[0]!r} is not an option of {name} ({hint}): {shlex.join(given)}")
    if flags and flags[-1].argument is None and flags[-1].letter in with_argument:
        raise WorkerError(f"-{flags[-1].letter} of {name} needs a value: {shlex.join(given)}")
    return flags


def _beside(scp: str) -> str:
    """Return the ssh in the directory of a scp: the one that it would execute."""
    places = [os.path.dirname(scp)] if "/" in scp else os.get_exec_path()
    for place in places:
        if os.access(os.path.join(place, "scp"), os.X_OK):
            ssh = os.path.join(place, "ssh")
            return ssh if os.access(ssh, os.X_OK) else "ssh"
    return "ssh"


def connection(task: PublicTask) -> list[str]:
    """Return the options for the connection."""
    limit = connect_seconds(task)
    return [*([f"-oConnectTimeout={limit}"] if limit else []), "-oBatchMode=yes"]


def connect_seconds(task: PublicTask) -> int:
    """Return the time to connect in whole seconds, as ssh(1) and pdcp(1) take it, 0 for no limit.

    A fraction is rounded up: 0 would mean no limit to them. Their maximum is a few weeks.
    """
    return math.ceil(min(float(task.info("connect_timeout")), _LONGEST_CONNECT))


def split_setting(task: Any, key: str, default: str) -> list[str]:
    """Return the words of an info key, with quotes as a shell has them and `~` expanded."""
    value = str(task.info(key) or default)
    try:
        words = shlex.split(check_text(key, value))
    except ValueError as error:
        raise WorkerError(f"{key} {value!r}: {error}") from error
    return [os.path.expanduser(word) for word in words]
