"""Default settings of new Tasks and of node sets, and the files that change them.

A Task copies `DEFAULTS` when it is created; a change of it affects later Tasks.  It reads the
files `defaults.conf` of the machine and of the user when a value is first needed: an import reads
nothing.
"""

from __future__ import annotations

import os
import sys
from _thread import (
    allocate_lock,
)  # threading.Lock, without modules that `mpshell --help` does not need
from collections.abc import Iterable

from mpshell.errors import DefaultsError
from mpshell.kept import KEEPS_ALL
from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


def print_debug(task: Any, line: str) -> None:
    """Print a debug line: the default of the info key `print_debug`."""
    print(line)


#: task.default: how commands are made.
TASK_DEFAULT: dict[str, Any] = {
    "stderr": False,
    "stdin": True,
    "stdout_msgtree": True,
    "stderr_msgtree": True,
    "engine": "auto",
    "port_qlimit": 100,
    "auto_tree": True,
    "local_workername": "exec",
    "distant_workername": "ssh",
}

#: task.info: how they run. Seconds for times, bytes for sizes.
TASK_INFO: dict[str, Any] = {
    "debug": False,
    "print_debug": print_debug,
    "fanout": 64,
    "grooming_delay": 0.25,  # of ClusterShell's tree mode: without an effect
    "connect_timeout": 10,
    "ssh_kex": "prefer",
    "ssh_keep": 0,
    "ssh_keep_password": False,
    "ssh_password": None,
    "connect_fanout": 32,
    "connect_rate": None,
    "relay_least": 4_000_000,
    "relay_ports": None,
    "command_timeout": 0,
    "engines": None,
    "rate": None,
    "grace": 1.0,
    "drain": 5.0,
    "heartbeat": 8.0,
    "retry_lost": False,
    "retry": None,
    "canary": None,
    "batch": None,
    "max_fail": None,
    "launcher": None,
    "remote_env": "",
    "journal": None,
    "journal_output": KEEPS_ALL,
    "journal_limit": 1 << 28,
    "journal_sync": False,
}


#: Node sets. Seconds for an upcall of a group source; the numbers of names that are folded, () for all.
NODESET: dict[str, Any] = {"upcall_timeout": 60.0, "fold_axis": ()}

#: Messages that a port keeps; the place of the key since ClusterShell 1.8.
ENGINE: dict[str, Any] = {"port_qlimit": 100}

CFG_SECTION_TASK_DEFAULT = "task.default"
CFG_SECTION_TASK_INFO = "task.info"
CFG_SECTION_NODESET = "nodeset"
CFG_SECTION_ENGINE = "engine"

if TYPE_CHECKING:
    #: The values of each section.
    Tables = dict[str, dict[str, Any]]


def config_paths(config_name: str) -> list[str]:
    """Return the places of a configuration file, as in ClusterShell: later ones take precedence."""
    home = os.environ.get("XDG_CONFIG_HOME", os.path.expanduser("~/.config"))
    folders = [
        "/etc/clustershell",
        os.path.expanduser("~/.local/etc/clustershell"),
        os.path.join(sys.prefix, "etc", "clustershell"),
        os.path.join(home, "clustershell"),
    ]
    if "CLUSTERSHELL_CFGDIR" in os.environ:
        folders.append(os.environ["CLUSTERSHELL_CFGDIR"])
    return [os.path.join(folder, config_name) for folder in folders]


class Defaults:
    """The values of `TASK_DEFAULT`, `TASK_INFO` and `NODESET` as attributes; AttributeError for any other.

    `filenames` are files with sections of these names (defaults.conf(5) of ClusterShell); the last one takes
    precedence, and files that cannot be opened are skipped.  Raise DefaultsError for one that cannot be read.
    """

    #: The values; None: the files of `DEFAULTS` have not been read yet.
    _read: Tables | None

    def __init__(self, filenames: str | Iterable[str] = ()) -> None:
        paths = [filenames] if isinstance(filenames, str) else list(filenames)
        object.__setattr__(self, "_read", _tables(paths))

    def _tables(self) -> Tables:
        tables = self._read
        if tables is None:
            with _reading:
                tables = self._read
                if tables is None:
                    tables = _tables(config_paths("defaults.conf"))
                    object.__setattr__(self, "_read", tables)
        return tables

    def _table_of(self, name: str) -> dict[str, Any]:
        """Return the table that has a key; AttributeError."""
        tables = self._tables()
        if name == "port_qlimit" and tables[CFG_SECTION_ENGINE] == ENGINE:
            return tables[CFG_SECTION_TASK_DEFAULT]
        for section in (
            CFG_SECTION_ENGINE,
            CFG_SECTION_TASK_DEFAULT,
            CFG_SECTION_TASK_INFO,
            CFG_SECTION_NODESET,
        ):
            if name in tables[section]:
                return tables[section]
        raise AttributeError(f"there is no default {name!r}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Copies, pickles and debuggers look for such names: do not read the files for that.
            raise AttributeError(name)
        return self._table_of(name)[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self._table_of(name)[name] = value

    def __reduce__(self) -> tuple[type[Defaults], tuple[()], Tables]:
        """Return the parts of copies and pickles: their tables are their own."""
        return type(self), (), {section: dict(table) for section, table in self._tables().items()}

    def __setstate__(self, state: Tables) -> None:
        """Take the tables that `__reduce__` returned."""
        for section, values in state.items():
            self._tables()[section].update(values)

    def task_default(self) -> dict[str, Any]:
        """Return a copy of the task.default table."""
        return {**self._tables()[CFG_SECTION_TASK_DEFAULT], "port_qlimit": self.port_qlimit}

    def task_info(self) -> dict[str, Any]:
        """Return a copy of the task.info table."""
        return dict(self._tables()[CFG_SECTION_TASK_INFO])


#: Held while the files of `DEFAULTS` are read, so that a value set by another thread at that time is kept.
_reading = allocate_lock()


def _after_fork_in_child() -> None:
    global _reading
    _reading = allocate_lock()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _tables(paths: Iterable[str]) -> Tables:
    """Return the values of all sections, from the files if they have the key."""
    tables: Tables = {
        CFG_SECTION_TASK_DEFAULT: dict(TASK_DEFAULT),
        CFG_SECTION_TASK_INFO: dict(TASK_INFO),
        CFG_SECTION_NODESET: dict(NODESET),
        CFG_SECTION_ENGINE: dict(ENGINE),
    }
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except OSError:
            continue
        except UnicodeDecodeError as error:
            raise DefaultsError(path, f"is not UTF-8: {error}") from error
        # Late: most machines have no such file.
        from mpshell.defaultsfile import values_of

        for section, key, value in values_of(path, text, tables):
            tables[section][key] = value
    return tables


def _of_the_machine() -> Defaults:
    defaults = Defaults()
    object.__setattr__(defaults, "_read", None)
    return defaults


DEFAULTS = _of_the_machine()
