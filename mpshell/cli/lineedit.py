"""How the prompt reads a line: with readline of the standard library, its history in a file, completion.

Without readline lines are read as the terminal has them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType

#: Characters between two words that are completed: blanks, and the operators of node sets.
_BETWEEN = " \t,&^"


def history_path() -> str:
    """Return the file of the history, in the directory of the user's state (XDG Base Directory)."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "mpshell", "history")


class LineEditor:
    """Reads lines from the terminal.

    `size` is how many lines the history keeps, less than 0 without a limit; `complete` takes the line before a
    word and the word, and returns its completions; `warn` is called once when the history cannot be kept.
    """

    def __init__(
        self,
        size: int,
        complete: Callable[[str, str], list[str]],
        warn: Callable[[str], object],
    ) -> None:
        self._size = size
        self._complete = complete
        self._warn = warn
        self._found: list[str] = []
        self._last = ""
        self._path: str | None = history_path() if size else None
        self._readline = _readline()
        if self._readline is not None:
            self._set_up(self._readline)

    def _set_up(self, readline: ModuleType) -> None:
        libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
        readline.set_completer_delims(_BETWEEN)
        readline.set_completer(self._candidate)
        readline.set_auto_history(False)
        readline.set_history_length(self._size)
        if self._path is None:
            return
        try:
            _make(self._path)
            readline.read_history_file(self._path)
        except OSError as error:
            self._give_up(error)

    def read(self, prompt: str) -> str:
        """Return a line; EOFError at the end, KeyboardInterrupt for Ctrl-C."""
        line = input(prompt)
        self._remember(line)
        return line

    def _remember(self, line: str) -> None:
        """Add a line to the history, unless it begins with a blank, or is there already."""
        if self._readline is None or not line.strip() or line[0] in " \t" or line == self._last:
            return
        self._last = line
        self._readline.add_history(line)
        if self._path is None:
            return
        try:
            # Not the whole list: another prompt may write to it, too.
            self._readline.append_history_file(1, self._path)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._warn(f"no history is kept in {self._path}: {error.strerror}")
        self._path = None

    def _candidate(self, text: str, state: int) -> str | None:
        """Return the completions of a word, one after the other; called by readline."""
        if self._readline is None:
            return None
        if state == 0:
            before = self._readline.get_line_buffer()[: self._readline.get_begidx()]
            self._found = self._complete(before, text)
        return self._found[state] if state < len(self._found) else None


def _readline() -> ModuleType | None:
    try:
        import readline
    except ImportError:
        return None
    return readline


def _make(path: str) -> None:
    """Make the file of the history where there is none, for its user alone: commands may hold secrets."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600))
