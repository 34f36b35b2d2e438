"""The functions of the C library that an engine calls: posix_spawn(3) and prctl(2), by ctypes.

`os.posix_spawn` makes the C form of environment, signal set and file actions anew for each command, a sixth of
all that an engine does for one (docs/decisions.md); here they are made once. The sizes and flags are those of
glibc and musl, with room to spare. In an engine's only thread: the interpreter's lock is kept.
"""

import ctypes
import os
from collections.abc import Iterable

_libc = ctypes.PyDLL(None, use_errno=True)

#: Bytes for posix_spawnattr_t, posix_spawn_file_actions_t and sigset_t: 336, 80 and 128 in both libraries.
_OPAQUE = 1024

_POSIX_SPAWN_SETSIGDEF, _POSIX_SPAWN_SETSID = 0x04, 0x80
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

#: Sets of file actions that are kept: as many as there are combinations of descriptors in use at once.
_KEPT = 4096

_posix_spawn = _libc.posix_spawn
_posix_spawn.argtypes = (
    ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)  # fmt: skip


def _check(error: int, call: str) -> None:
    if error:
        raise OSError(error, f"{call}: {os.strerror(error)}")


class Environment:
    """An environment in the form of C."""

    __slots__ = ("block", "has_functions", "variables")

    def __init__(self, variables: dict[bytes, bytes]) -> None:
        self.variables = variables
        #: Whether a bash in place of sh takes functions from it, which go before programs.
        self.has_functions = any(name.startswith(b"BASH_FUNC_") for name in variables)
        entries = [name + b"=" + value for name, value in variables.items()]
        self.block = (ctypes.c_char_p * (len(entries) + 1))(*entries)


class Spawner:
    """Starts programs as leaders of a session of their own, with these signals at their default."""

    def __init__(self, default_signals: Iterable[int]) -> None:
        self._attributes = ctypes.create_string_buffer(_OPAQUE)
        signals = ctypes.create_string_buffer(_OPAQUE)
        _libc.sigemptyset(signals)
        for number in default_signals:
            _libc.sigaddset(signals, number)
        flags = ctypes.c_short(_POSIX_SPAWN_SETSIGDEF | _POSIX_SPAWN_SETSID)
        _check(_libc.posix_spawnattr_init(self._attributes), "posix_spawnattr_init")
        _libc.posix_spawnattr_setsigdefault(self._attributes, signals)
        _check(_libc.posix_spawnattr_setflags(self._attributes, flags), "posix_spawnattr_setflags")
        self._pid = ctypes.c_int()
        self._pid_at = ctypes.addressof(self._pid)
        self._actions: dict[tuple[int, int, int], ctypes.Array[ctypes.c_char]] = {}

    def spawn(
        self, path: bytes, argv: list[bytes], env: Environment, streams: tuple[int, int, int]
    ) -> int:
        """Start a program and return its pid; OSError, or ValueError for a NUL in a word.

        `streams` are descriptors for 0, 1 and 2; -1 for stdin is /dev/null.
        """
        if any(b"\0" in word for word in argv):
            raise ValueError(f"a NUL byte cannot be in a command's word: {argv!r}")
        words = (ctypes.c_char_p * (len(argv) + 1))(*argv)
        actions = self._actions.get(streams) or self._new_actions(streams)
        error = _posix_spawn(self._pid_at, path, actions, self._attributes, words, env.block)
        if error:
            raise OSError(error, os.strerror(error), os.fsdecode(path))
        return self._pid.value

    def _new_actions(self, streams: tuple[int, int, int]) -> "ctypes.Array[ctypes.c_char]":
        if len(self._actions) >= _KEPT:
            for kept in self._actions.values():
                _libc.posix_spawn_file_actions_destroy(kept)
            self._actions.clear()
        actions = ctypes.create_string_buffer(_OPAQUE)
        _check(_libc.posix_spawn_file_actions_init(actions), "posix_spawn_file_actions_init")
        for fd, source in enumerate(streams):
            if source >= 0:
                error = _libc.posix_spawn_file_actions_adddup2(actions, source, fd)
            else:
                null = os.fsencode(os.devnull)
                error = _libc.posix_spawn_file_actions_addopen(actions, fd, null, os.O_RDONLY, 0)
            _check(error, f"a file action for descriptor {fd}")
        self._actions[streams] = actions
        return actions


def become_subreaper() -> None:
    """Let orphans of this process's offspring become its children (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, "PR_SET_CHILD_SUBREAPER")


def signal_at_parent_end(number: int) -> None:
    """Be sent a signal when the parent ends, a process of one thread (prctl(2), PR_SET_PDEATHSIG)."""
    _prctl(_PR_SET_PDEATHSIG, number, "PR_SET_PDEATHSIG")


def _prctl(option: int, value: int, name: str) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        _check(ctypes.get_errno(), f"prctl({name})")
