"""The prompt: commands typed one by one, each run on the nodes of the moment.

Ctrl-C ends the command that runs, or the line that is typed; SIGTERM and SIGHUP end the session. Between two
waits these signals are noted, so that none comes in the middle of something.
"""

from __future__ import annotations

import argparse
import copy
import glob
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from mpshell.cli.lineedit import LineEditor
from mpshell.cli.nodes import NoNodesError, typed_nodes
from mpshell.cli.terminal import Terminal
from mpshell.nodeset import NodeSet, NodeSetException, grouplist, std_group_resolver

PROMPT = "mpshell> "

_HELP = (
    "@NODES sets the nodes, +NODES adds, -NODES removes, ? shows them; = gathers or not; !COMMAND runs here; "
    "quit or Ctrl-D ends"
)

#: The most names of nodes that are offered for a word.
_MOST_NAMES = 200

#: Forms of the output that `=` takes the place of.
_GATHERED = ("dshbak", "gather_all", "by_node", "diff")

#: Signals that end the session, unless they are ignored.
_ENDING = (signal.SIGTERM, signal.SIGHUP)

Runner = Callable[[argparse.Namespace, NodeSet, Terminal], int]
"""Runs one command, and returns its exit status; it reports errors by itself."""


class Session:
    """Reads lines from the terminal and carries them out, until the end."""

    def __init__(
        self, options: argparse.Namespace, nodes: NodeSet, terminal: Terminal, run: Runner
    ) -> None:
        self._options = options
        self._nodes = nodes
        #: The most nodes whose names are offered for completion.
        self._known = nodes.copy()
        self._terminal = terminal
        self._run = run
        self._status = 0
        #: The signal that ends the session, once it has come.
        self._ended_by: int | None = None
        self._groups: list[str] | None = None
        self._usual = {name: getattr(options, name) for name in _GATHERED}
        if not any(self._usual.values()):
            self._usual["dshbak"] = True
        self._editor = LineEditor(options.history_size, self._complete, terminal.message)

    def run(self) -> int:
        """Return the exit status: that of the last command, 128 + the signal that has ended the session."""
        if sys.stdin is not None and hasattr(sys.stdin, "reconfigure"):
            sys.stdin.reconfigure(errors="surrogateescape")
        self._show_nodes()
        self._terminal.message(_HELP)
        old = {
            number: signal.signal(number, self._note)
            for number in (signal.SIGINT, *_ENDING)
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            while self._ended_by is None:
                line = self._read()
                if line is None or line.strip().lower() == "quit":
                    return self._status
                self._do(line)
            return 128 + self._ended_by
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    # -- lines -------------------------------------------------------------------------------------

    def _read(self) -> str | None:
        """Return the next line, an empty one after Ctrl-C, None at the end."""
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
            **{
                number: signal.signal(number, self._leave)
                for number in _ENDING
                if signal.getsignal(number) is not signal.SIG_IGN
            },
        }
        try:
            return None if self._ended_by is not None else self._editor.read(PROMPT)
        except KeyboardInterrupt:
            self._end_line()
            return ""
        except (EOFError, OSError, _Ended):
            # An OSError is that of a terminal which has gone.
            self._end_line()
            return None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end_line(self) -> None:
        self._terminal.err(b"\n")

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            self._ended_by = number

    def _leave(self, number: int, frame: FrameType | None) -> None:
        self._ended_by, self._status = number, 128 + number
        raise _Ended

    def _do(self, line: str) -> None:
        """Carry out a line; an error of it is reported, and the session goes on."""
        # A blank keeps a line out of the history, and its meaning is the same: " ! rm x" is not for the nodes.
        line = line.lstrip()
        first, rest = line[:1], line[1:].strip()
        if not line:
            return
        if first == "?":
            self._show_nodes()
            self._terminal.message(_HELP)
        elif first == "=" and not rest:
            self._switch()
        elif first == "!":
            self._run_here(rest)
        elif first in "@+-":
            self._change(first, rest)
        elif not self._nodes:
            self._terminal.own("no nodes: set them with @NODES, or add some with +NODES")
        else:
            self._command(line)

    def _command(self, line: str) -> None:
        options = copy.copy(self._options)
        options.command = [line]
        self._status = self._run(options, self._nodes, self._terminal)
        self._options.launcher = options.launcher
        if options.ended_by is not None and options.ended_by != signal.SIGINT:
            self._ended_by = options.ended_by

    def _run_here(self, command: str) -> None:
        """Run a command on this machine, with the terminal; a Ctrl-C is for it."""
        if not command:
            self._terminal.own("!: a command must follow")
            return
        done = subprocess.run(["/bin/sh", "-c", command], check=False)
        self._status = done.returncode if done.returncode >= 0 else 128 - done.returncode
        if self._status:
            self._terminal.message(f"exited with code {self._status}: {command}")

    # -- nodes -------------------------------------------------------------------------------------

    def _change(self, sign: str, text: str) -> None:
        try:
            nodes = typed_nodes(sign, text, self._options.worker)
        except NoNodesError as error:
            self._terminal.own(f"{error}; the nodes stay as they are")
            return
        if sign == "@":
            self._nodes = nodes
        elif sign == "+":
            self._nodes = self._nodes | nodes
        else:
            self._nodes = self._nodes - nodes
        self._known = self._known | nodes
        self._show_nodes()

    def _show_nodes(self) -> None:
        self._terminal.own(
            f"nodes: {self._nodes} ({len(self._nodes)})" if self._nodes else "nodes: none"
        )

    def _switch(self) -> None:
        """Change between gathered output and lines as they come."""
        options = self._options
        if options.json or options.jsonl:
            self._terminal.own("=: the output is JSON")
            return
        gathered = any(getattr(options, name) for name in _GATHERED)
        for name, usual in self._usual.items():
            setattr(options, name, False if gathered else usual)
        self._terminal.message("lines are shown as they come" if gathered else "output is gathered")

    # -- completion --------------------------------------------------------------------------------

    def _complete(self, before: str, text: str) -> list[str]:
        """Return the completions of the last word of a line."""
        before = before.lstrip()
        line = before + text
        if line.startswith("!"):
            begin = text[:1] if not before else ""
            return [begin + path for path in sorted(glob.glob(f"{text.removeprefix('!')}*"))]
        if line[:1] and line[0] in "@+-":
            sign = "" if before else text[0]
            return [sign + name for name in self._names(text[len(sign) :])]
        return ["quit"] if not before and "quit".startswith(text) else []

    def _names(self, begin: str) -> list[str]:
        if not begin.startswith("@"):
            names = [node for node in self._known if node.startswith(begin)]
            return sorted(names)[:_MOST_NAMES]
        if self._groups is None:
            self._groups = _groups()
        return [group for group in self._groups if group.startswith(begin)]


class _Ended(BaseException):
    """A signal ends the session while a line is awaited."""


def _groups() -> list[str]:
    """Return the names of all groups: @name of the default source, @source:name of all."""
    names = []
    # An error cannot be reported in the middle of a line; running it will report it.
    with suppress(NodeSetException):
        for number, source in enumerate(std_group_resolver().sources()):
            with suppress(NodeSetException):
                for group in grouplist(source):
                    names += [f"@{group}"] if number == 0 else []
                    names.append(f"@{source}:{group}")
    return sorted(names)
