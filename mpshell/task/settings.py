"""The two tables of a Task: *info* (how commands run) and *default* (how they are made), checked.

Both may be used from any thread: when a call that sets a value has returned, every thread sees the value.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable

from mpshell.defaults import DEFAULTS, TASK_DEFAULT, Defaults, print_debug
from mpshell.errors import TaskSettingError
from mpshell.kept import KEEPS
from mpshell.launch.fork import ForkLauncher
from mpshell.pollers import IDENTIFIERS
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.worker.loading import is_worker_class, load_worker_class

if TYPE_CHECKING:
    from typing import Any


def _number(key: str, value: Any, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
        raise TaskSettingError(f"{key} is a number of at least {least}, not {value!r}")


def _count(key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TaskSettingError(f"{key} is a whole number of at least 1, not {value!r}")


def _check_fanout(value: Any) -> None:
    if value != -1 or isinstance(value, bool):
        _count("fanout", value)


def _check_engines(value: Any) -> None:
    if value is not None:
        _count("engines", value)


def _check_drain(value: Any) -> None:
    if value is not None:
        _number("drain", value, 0)


def _check_rate(key: str, value: Any) -> None:
    if value is not None:
        _number(key, value, 0)
        if not 0 < value < math.inf:
            raise TaskSettingError(f"{key} is None or more than 0 starts a second, not {value!r}")


def _check_heartbeat(value: Any) -> None:
    if value is not None:
        _number("heartbeat", value, 0.1)


def _check_kex(value: Any) -> None:
    if value not in ("prefer", "require"):
        raise TaskSettingError(f"ssh_kex is 'prefer' or 'require', not {value!r}")


def _check_keep(value: Any) -> None:
    _number("ssh_keep", value, 0)
    if math.isinf(value):
        raise TaskSettingError(f"ssh_keep is a finite number of seconds, not {value!r}")


def _check_keep_password(value: Any) -> None:
    if not isinstance(value, bool):
        raise TaskSettingError(f"ssh_keep_password is True or False, not {value!r}")


def _check_password(value: Any) -> None:
    if value is None or callable(value):
        return
    # Late: most tasks have none.
    from mpshell.runtime.secret import Secret

    # The message must not contain the value.
    if not isinstance(value, (str, Secret)):
        raise TaskSettingError(
            "ssh_password is a text, a function that returns one, or None, "
            f"not of type {type(value).__name__}"
        )
    if value == "":
        raise TaskSettingError("ssh_password is empty")


def _check_limit(key: str, value: Any) -> None:
    if value is not None:
        _count(key, value)


def _check_retry(value: Any) -> None:
    if value is None:
        return
    from mpshell.coordinator.retry import RetryPolicy

    if not isinstance(value, RetryPolicy):
        raise TaskSettingError(f"retry is a mpshell.RetryPolicy or None, not {value!r}")


def _check_grace(value: Any) -> None:
    _number("grace", value, 0)
    if math.isinf(value):
        raise TaskSettingError("grace is a finite number of seconds")


def _check_launcher(value: Any) -> None:
    if value is not None and not isinstance(value, ForkLauncher):
        raise TaskSettingError(
            f"launcher is the value of ssh_hosts(), srun() or dask(), or None, not {value!r}"
        )


def _check_remote_env(value: Any) -> None:
    if not isinstance(value, str) or "=" in value or "\0" in value:
        raise TaskSettingError(f"remote_env is names of variables in one text, not {value!r}")


def _check_journal(value: Any) -> None:
    if value is None or (isinstance(value, (str, bytes, os.PathLike)) and os.fsencode(value)):
        return
    from mpshell.journal.recorder import Continuation

    if not isinstance(value, Continuation):
        raise TaskSettingError(f"journal is the path of a file, or None, not {value!r}")


def _check_journal_output(value: Any) -> None:
    if value not in KEEPS:
        raise TaskSettingError(f"journal_output is one of {', '.join(KEEPS)}, not {value!r}")


def _check_journal_limit(value: Any) -> None:
    _number("journal_limit", value, 0)
    if not isinstance(value, int):
        raise TaskSettingError(f"journal_limit is a whole number of bytes, not {value!r}")


def _check_relay_least(value: Any) -> None:
    _number("relay_least", value, 0)
    if not isinstance(value, int):
        raise TaskSettingError(f"relay_least is a whole number of bytes, not {value!r}")


def _check_relay_ports(value: Any) -> None:
    if value is None:
        return
    low, dash, high = str(value).partition("-")
    # int() would also accept signs, spaces and other digits.
    plain = (
        isinstance(value, str)
        and dash
        and all(
            number.isascii() and number.isdigit() and len(number) <= 5 for number in (low, high)
        )
    )
    if plain and 0 < int(low) <= int(high) < 1 << 16:
        return
    raise TaskSettingError(f"relay_ports is LOW-HIGH, numbers of ports, or None, not {value!r}")


def _check_print_debug(value: Any) -> None:
    if value is not None and not callable(value):
        raise TaskSettingError(f"print_debug is a function of a task and a string, not {value!r}")


def _check_words(key: str, value: Any) -> None:
    """A path, options or a user: a text of words, quoted as in a shell, or None."""
    if value is None:
        return
    if not isinstance(value, str):
        raise TaskSettingError(f"{key} is a text, not {value!r}")
    # Late: it brings regular expressions along, which a plain run does without.
    import shlex

    try:
        shlex.split(value)
    except ValueError as error:
        raise TaskSettingError(f"{key} {value!r}: {error}") from error


#: The programs that are called, and their options.
WORDS_KEYS = (
    *(f"{program}_{what}" for program in ("ssh", "scp", "rsh", "rcp") for what in ("path", "options", "user")),
    "pdsh_path", "pdcp_path", "rpdcp_path", "relay_options",
)  # fmt: skip

_INFO_CHECKS: dict[str, Callable[[Any], None]] = {
    **{key: functools.partial(_check_words, key) for key in WORDS_KEYS},
    "fanout": _check_fanout,
    "engines": _check_engines,
    "connect_timeout": lambda value: _number("connect_timeout", value, 0),
    "command_timeout": lambda value: _number("command_timeout", value, 0),
    "grace": _check_grace,
    "drain": _check_drain,
    "rate": functools.partial(_check_rate, "rate"),
    "heartbeat": _check_heartbeat,
    "ssh_kex": _check_kex,
    "ssh_keep": _check_keep,
    "ssh_keep_password": _check_keep_password,
    "ssh_password": _check_password,
    "connect_fanout": functools.partial(_count, "connect_fanout"),
    "connect_rate": functools.partial(_check_rate, "connect_rate"),
    "relay_least": _check_relay_least,
    "relay_ports": _check_relay_ports,
    "retry": _check_retry,
    **{key: functools.partial(_check_limit, key) for key in ("canary", "batch", "max_fail")},
    "print_debug": _check_print_debug,
    "launcher": _check_launcher,
    "remote_env": _check_remote_env,
    "journal": _check_journal,
    "journal_output": _check_journal_output,
    "journal_limit": _check_journal_limit,
}


class Settings:
    """A Task's two tables."""

    def __init__(self, defaults: Defaults | None) -> None:
        source = DEFAULTS if defaults is None else defaults
        if not isinstance(source, Defaults):
            raise TypeError(f"defaults are a mpshell.Defaults, not {defaults!r}")
        self._lock = threading.Lock()
        self._default: dict[str, Any] = source.task_default()
        self._info: dict[str, Any] = source.task_info()
        if self._info.get("print_debug") is None:
            self._info["print_debug"] = print_debug
        engine = self._default["engine"]
        if engine not in IDENTIFIERS:
            raise KeyError(engine)
        self._info["engine"] = "epoll" if engine == "auto" else engine
        for key, value in self._info.items():
            _check_info(key, value)
            self._info[key] = _hidden(key, value)
        for key in ("local_workername", "distant_workername"):
            # Transports that come with mpshell are loaded when they are needed: a local run needs no ssh.
            if self._default[key] != TASK_DEFAULT[key]:
                self._default[key.removesuffix("name")] = load_worker_class(self._default[key])

    def default(self, default_key: str, def_val: Any = None) -> Any:
        # Without the lock, like `info`; no key is ever removed.
        if default_key in self._default:
            return self._default[default_key]
        if default_key in ("local_worker", "distant_worker"):
            with self._lock:
                name = self._default[f"{default_key}name"]
            worker_class = load_worker_class(name)
            with self._lock:
                return self._default.setdefault(default_key, worker_class)
        return def_val

    def set_default(self, key: str, value: Any) -> None:
        loaded: dict[str, Any] = {}
        if key in ("local_workername", "distant_workername"):
            loaded[key.removesuffix("name")] = load_worker_class(value)
        elif key in ("local_worker", "distant_worker") and not is_worker_class(value):
            raise TaskSettingError(f"{key} is a class of workers over nodes, not {value!r}")
        elif key == "port_qlimit":
            _count(key, value)
        with self._lock:
            self._default[key] = value
            self._default.update(loaded)

    def info(self, key: str, default_value: Any = None) -> Any:
        # Without the lock: a look-up by text is one step for other threads, and a run makes two dozen.
        return self._info.get(key, default_value)

    def set_info(self, key: str, value: Any) -> None:
        _check_info(key, value)
        with self._lock:
            self._info[key] = _hidden(key, value)


def _hidden(key: str, value: Any) -> Any:
    """Return the value to keep: a password is a Secret, which nothing shows."""
    if key != "ssh_password" or not isinstance(value, str):
        return value
    from mpshell.runtime.secret import Secret

    return Secret(value)


def _check_info(key: str, value: Any) -> None:
    check = _INFO_CHECKS.get(key)
    if check is not None and not (key == "print_debug" and value is None):
        check(value)
