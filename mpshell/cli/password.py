"""Asks once for a password, on the terminal, for all nodes: without an echo, and only in memory.

It asks after all options have been checked, in the main thread, before anything runs. In any case the
terminal is restored at the end.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import select
import signal
import sys
import termios
from typing import TYPE_CHECKING, Any

from mpshell.cli.effective import origin
from mpshell.cli.run import Signals, stop_here
from mpshell.cli.terminal import write_all

if TYPE_CHECKING:
    from mpshell.task.task import Task

_PROMPT = b"Password: "

#: Signals that end the program, or stop it, in the middle of the question.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)

#: Bytes of a line; a terminal gives no longer one.
_LINE = 4096

_PR_SET_DUMPABLE = 4


class Asked:
    """The password that was given; no text shows it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def check_password(options: argparse.Namespace) -> None:
    """Raise ValueError if the nodes or their commands cannot get a password."""
    name = (
        "--password" if options.password else origin(options, "password_prompt", "password_prompt")
    )
    transport = options.worker.rpartition(".")[2].lower()
    if options.password and transport != "asyncssh":
        raise ValueError(
            f"--password is for -R asyncssh: -R {options.worker} cannot pass a password to nodes"
        )
    for other, given in (
        ("--hosts", options.hosts), ("--srun", options.srun), ("--dask", options.dask),
    ):  # fmt: skip
        if given:
            raise ValueError(f"{name} does not go with {other}")
    if options.password_prompt:
        _check_prompt(options, transport)


def _check_prompt(options: argparse.Namespace, transport: str) -> None:
    """Raise ValueError where a command gets no password, or one that is not for it."""
    name = origin(options, "password_prompt", "password_prompt")
    if transport == "pdsh":
        raise ValueError(f"{name} does not go with -R pdsh, whose commands read no input")
    if options.nostdin:
        raise ValueError(f"{name} does not go with -n: the password is for stdin")
    if options.copy or options.rcopy:
        raise ValueError(f"{name} does not go with copies, which read no input")
    program = options.configuration.found("ssh_path")
    if transport == "asyncssh" and program is not None and not options.command_prefix:
        # The password is for that program, and would be read by the command.
        raise ValueError(
            f"{program.where}: ssh_path is for -R ssh, and password_prompt for {program.value!r}"
        )


def give_password(
    task: Task, workers: list[Any], options: argparse.Namespace, *, more_input: bool
) -> None:
    """Ask for the password, once for all commands of a prompt, and set it where it is needed; ValueError.

    With `password_prompt` it is the first line of the stdin of each command, and the only one
    unless there is `more_input`.
    """
    asked = options.asked.get("password")
    if asked is None:
        asked = options.asked["password"] = Asked(ask())
    if options.password:
        task.set_info("ssh_password", asked.text)
    if options.password_prompt:
        for worker in workers:
            worker.write(asked.text.encode() + b"\n")
            if not more_input:
                worker.set_write_eof()


def ask() -> str:
    """Return a password that is typed at the terminal of this process.

    Raise ValueError if there is no terminal, nothing is typed, or the text is not UTF-8; a
    KeyboardInterrupt for Ctrl-C, a SystemExit for SIGTERM and SIGHUP.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise ValueError(
            f"there is no terminal to ask for the password on: {error.strerror}"
        ) from None
    _leave_no_core()
    try:
        with Signals(_SIGNALS) as signals:
            line = None
            while line is None:
                line = _ask(terminal, signals)
    finally:
        os.close(terminal)
    text = line.rstrip(b"\r\n")
    if not text:
        raise ValueError("no password was given")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise ValueError("the password is not text in UTF-8") from None


def _leave_no_core() -> None:
    """Have this process dump no core, and no other one of this user read its memory (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _ask(terminal: int, signals: Signals) -> bytes | None:
    """Ask once; None when the question is to be repeated, after a Ctrl-Z."""
    before = termios.tcgetattr(terminal)
    mode: list[Any] = termios.tcgetattr(terminal)
    mode[3] = mode[3] & ~termios.ECHO | termios.ICANON | termios.ISIG
    termios.tcsetattr(terminal, termios.TCSAFLUSH, mode)
    try:
        write_all(terminal, _PROMPT)
        line, number = _wait(terminal, signals)
    finally:
        # Input that was typed ahead stays.
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
    write_all(terminal, b"\n")
    if number == signal.SIGTSTP:
        stop_here()
        return None
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if number is not None:
        sys.exit(128 + number)
    return line


def _wait(terminal: int, signals: Signals) -> tuple[bytes, int | None]:
    """Return the line that was typed, or the number of the signal that came first."""
    poller = select.poll()
    poller.register(terminal, select.POLLIN)
    poller.register(signals.descriptor, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poller.poll()}
        for number in signals.taken() if signals.descriptor in ready else ():
            if number in _SIGNALS:
                return b"", number
        if terminal in ready:
            return os.read(terminal, _LINE), None
