"""Default settings of new Tasks.

`DEFAULTS` is what a Task copies when it is created; changing it is for Tasks to come.
"""

from __future__ import annotations

from typing import Any

#: What of the output a journal keeps.
KEEPS = KEEPS_NONE, KEEPS_FAILED, KEEPS_ALL = "none", "failed", "all"

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
    "print_debug": None,
    "fanout": 64,
    "connect_timeout": 10,
    "ssh_kex": "prefer",
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
    "journal": None,
    "journal_output": KEEPS_ALL,
    "journal_limit": 1 << 28,
    "journal_sync": False,
}


#: Node sets. Seconds for an upcall of a group source; the numbers of names that are folded, () for all.
NODESET: dict[str, Any] = {"upcall_timeout": 60.0, "fold_axis": ()}


class Defaults:
    """The values of `TASK_DEFAULT`, `TASK_INFO` and `NODESET` as attributes; AttributeError for any other."""

    _task_default: dict[str, Any]
    _task_info: dict[str, Any]
    _nodeset: dict[str, Any]

    def __init__(self) -> None:
        object.__setattr__(self, "_task_default", dict(TASK_DEFAULT))
        object.__setattr__(self, "_task_info", dict(TASK_INFO))
        object.__setattr__(self, "_nodeset", dict(NODESET))

    def __getattr__(self, name: str) -> Any:
        for table in (self._task_default, self._task_info, self._nodeset):
            if name in table:
                return table[name]
        raise AttributeError(f"there is no default {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        for table in (self._task_default, self._task_info, self._nodeset):
            if name in table:
                table[name] = value
                return
        raise AttributeError(f"there is no default {name!r}")

    def __reduce__(self) -> tuple[type[Defaults], tuple[()], tuple[dict[str, Any], ...]]:
        """Return what copies and pickles are made of: their tables are their own."""
        return type(self), (), (self.task_default(), self.task_info(), dict(self._nodeset))

    def __setstate__(self, state: tuple[dict[str, Any], ...]) -> None:
        """Take the tables that `__reduce__` returned."""
        tables = (self._task_default, self._task_info, self._nodeset)
        for table, values in zip(tables, state, strict=False):
            table.update(values)

    def task_default(self) -> dict[str, Any]:
        """Return a copy of the task.default table."""
        return dict(self._task_default)

    def task_info(self) -> dict[str, Any]:
        """Return a copy of the task.info table."""
        return dict(self._task_info)


DEFAULTS = Defaults()
