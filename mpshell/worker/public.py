"""The methods of a Task that its workers and their handlers use (`worker.task`).

They return workers, and a worker has its Task: `TaskOf` is a protocol of a worker's type, so that neither
module imports the other. `mpshell.Task` documents each method, and a test compares the two.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar, Unpack, overload

if TYPE_CHECKING:
    from mpshell.coordinator.results import Key
    from mpshell.msgtree import MsgTreeElem
    from mpshell.nodeset import Nodes
    from mpshell.outcome import NodeOutcome

#: A path of a file, as `open` takes it.
Path = str | bytes | os.PathLike[str]

W_contra = TypeVar("W_contra", contravariant=True)
P_co = TypeVar("P_co", covariant=True)
D_co = TypeVar("D_co", covariant=True)


class IterationOptions(TypedDict, total=False):
    """The keywords of `iter_outcomes`, except the command and its nodes."""

    timeout: float | None
    stderr: bool | None
    stdin: bool | None
    tree: bool | None
    remote: bool


class CommandOptions(IterationOptions, total=False):
    """The keywords of `shell` and `run`, except the command and its nodes."""

    handler: Any
    autoclose: bool


class PublicTimer(Protocol):
    """A timer of a Task (`mpshell.EngineTimer`)."""

    eh: Any

    def is_valid(self) -> bool: ...
    def invalidate(self) -> None: ...
    def set_nextfire(self, fire_delay: float, interval: float = -1) -> None: ...


class PublicPort(Protocol):
    """A port of a Task (`mpshell.EnginePort`)."""

    eh: Any

    def msg(self, send_msg: Any, send_once: bool = False) -> bool: ...
    def msg_send(self, send_msg: Any) -> bool: ...


class TaskSettings(Protocol):
    """The settings of a Task."""

    def default(self, default_key: str, def_val: Any = None) -> Any: ...
    def set_default(self, default_key: str, value: Any) -> None: ...
    def info(self, info_key: str, def_val: Any = None) -> Any: ...
    def set_info(self, info_key: str, value: Any) -> None: ...
    def engines_for(self, commands: int) -> int: ...


class TaskResults(Protocol):
    """The results of a Task's last run."""

    def key_buffer(self, key: Key) -> bytes: ...
    def node_buffer(self, key: Key) -> bytes: ...
    def key_error(self, key: Key) -> bytes: ...
    def node_error(self, key: Key) -> bytes: ...
    def key_retcode(self, key: Key) -> int: ...
    def node_retcode(self, key: Key) -> int: ...
    def max_retcode(self) -> int | None: ...
    def iter_buffers(
        self, match_keys: Iterable[Key] | None = None
    ) -> Iterator[tuple[MsgTreeElem, list[Any]]]: ...
    def iter_errors(
        self, match_keys: Iterable[Key] | None = None
    ) -> Iterator[tuple[MsgTreeElem, list[Any]]]: ...
    def iter_retcodes(
        self, match_keys: Iterable[Key] | None = None
    ) -> Iterator[tuple[int, list[Any]]]: ...
    def outcomes(self) -> Iterator[NodeOutcome]: ...
    def num_timeout(self) -> int: ...
    def iter_keys_timeout(self) -> Iterator[Any]: ...
    def flush_buffers(self) -> None: ...
    def flush_errors(self) -> None: ...


class TaskOf(TaskSettings, TaskResults, Protocol[W_contra, P_co, D_co]):
    """A Task, with the types of its workers: of all, of commands here, of those over nodes."""

    thread: threading.Thread

    @property
    def timeout(self) -> float | None: ...
    @property
    def journal_failure(self) -> str | None: ...
    @overload
    def shell(
        self, command: str, nodes: None = None, key: Any = None, **options: Unpack[CommandOptions]
    ) -> P_co: ...
    @overload
    def shell(
        self, command: str, nodes: Nodes, key: None = None, **options: Unpack[CommandOptions]
    ) -> D_co: ...
    @overload
    def shell(
        self, command: str, nodes: Nodes | None, key: None = None, **options: Unpack[CommandOptions]
    ) -> P_co | D_co: ...
    @overload
    def run(
        self,
        command: float | None = None,
        *,
        nodes: Nodes | None = None,
        key: Any = None,
        **options: Unpack[CommandOptions],
    ) -> None: ...
    @overload
    def run(
        self,
        command: str,
        *,
        nodes: None = None,
        key: Any = None,
        **options: Unpack[CommandOptions],
    ) -> P_co: ...
    @overload
    def run(
        self, command: str, *, nodes: Nodes, key: None = None, **options: Unpack[CommandOptions]
    ) -> D_co: ...
    @overload
    def run(
        self,
        command: str,
        *,
        nodes: Nodes | None,
        key: None = None,
        **options: Unpack[CommandOptions],
    ) -> P_co | D_co: ...
    def copy(
        self,
        source: Path,
        dest: Path,
        nodes: Nodes,
        handler: Any = None,
        timeout: float | None = None,
        stderr: bool | None = None,
        preserve: bool = False,
        reverse: bool = False,
        atomic: bool = False,
        tree: bool | None = None,
        relay: bool | str = False,
    ) -> D_co: ...
    def rcopy(
        self,
        source: Path,
        dest: Path,
        nodes: Nodes,
        handler: Any = None,
        timeout: float | None = None,
        stderr: bool | None = None,
        preserve: bool = False,
        atomic: bool = False,
        tree: bool | None = None,
    ) -> D_co: ...
    def schedule(self, worker: W_contra) -> None: ...
    def timer(
        self, fire: float, handler: Any, interval: float = -1.0, autoclose: bool = False
    ) -> PublicTimer: ...
    def port(self, handler: Any = None, autoclose: bool = False) -> PublicPort: ...
    def remove_port(self, port: Any) -> None: ...
    def resume(self, timeout: float | None = None) -> None: ...
    def suspend(self) -> bool: ...
    def join(self) -> None: ...
    def running(self) -> bool | None: ...
    def abort(self, kill: bool = False) -> None: ...
