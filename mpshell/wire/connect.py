"""The work of an engine over its own connection: a command, or the copy of a file. Parts of a JobSpec."""

from __future__ import annotations

from mpshell.runtime.lean import TYPE_CHECKING, NamedTuple
from mpshell.wire import checks

if TYPE_CHECKING:
    from typing import TypeAlias

    #: Text and marks in turn, as in `mpshell.wire.messages`.
    _Template: TypeAlias = tuple[str | int, ...]


class FileCopy(NamedTuple):
    """The copy of a file to a node, or with `reverse` from it, over SFTP or as the input of a script there."""

    source: str  # a path here; with `reverse` one on the node
    target: _Template  # a path on the node; with `reverse` one here
    name: str  # of the file in a target that is a directory
    preserve: bool  # times, and the whole mode
    reverse: bool
    script: _Template  # a command that writes its input to the target; () for SFTP
    temporary: (
        _Template  # with `reverse`: its name until it is complete; () if it is written in place
    )
    first: int | None = None  # of a part for the script: its first byte, from 0 on; None: the whole


class Connect(NamedTuple):
    """The work over connections that the engine makes itself, and the way it makes them."""

    ssh_library: str
    command: str
    user: str  # "" for that of the configuration
    timeout: float  # seconds to connect; 0: no limit
    options: tuple[str, ...]  # the user's options, as for ssh(1)
    kex: str  # the rule if only ssh(1) has a quantum-safe key exchange
    execs: tuple[tuple[str, bool], ...]  # commands of `Match exec`, and whether they have succeeded
    copy: FileCopy | None = None  # in place of the command
    password: int = 0  # the number of the password for its nodes, 0 for none
    keep: float = 0.0  # seconds that the connection stays open afterwards
    keep_password: bool = False  # one that a password has opened too


_STR, _BOOL = checks.kind(str), checks.kind(bool)
_TEMPLATE = checks.series(tuple, checks.kind(str, int))
_FILE_COPY = checks.fields(
    _STR, _TEMPLATE, _STR, _BOOL, _BOOL, _TEMPLATE, _TEMPLATE, checks.maybe(checks.kind(int))
)

CHECK_CONNECT = checks.fields(
    _STR, _STR, _STR, checks.kind(int, float), checks.series(tuple, _STR), _STR,
    checks.pairs(_STR, _BOOL, tuple), checks.maybe_one(FileCopy, _FILE_COPY), checks.kind(int),
    checks.kind(int, float), _BOOL,
)  # fmt: skip
