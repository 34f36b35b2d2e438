"""The base of transports: local programs that run a command on a node, or bring a copy there.

A transport returns an argument vector, with marks for a node's address; it does not handle the fanout,
deadlines, output and return codes. `docs/transports.md` shows how to write one.
Called in the thread of the task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mpshell.coordinator.job import Ended, Job, Reader, Said
from mpshell.errors import EngineClientNotSupportedError, WorkerBadArgumentError, WorkerError
from mpshell.wire.messages import (
    EXITED,
    LOG_PATH,
    LOST,
    NODE,
    RANK,
    SIGNALED,
    SPAWN_FAILED,
    STDERR,
    STDOUT,
    TIMED_OUT,
    Template,
)
from mpshell.worker.copy import NAME, Copy, kept_here, local_path
from mpshell.worker.distant import CommandWorker
from mpshell.worker.text import check_text

if TYPE_CHECKING:
    from mpshell.wire.logformat import LogFormat
    from mpshell.worker.scheduler import AnyTask, PublicTask

#: The names that a module with a transport needs.
__all__ = [
    "EXITED",
    "LOST",
    "NAME",
    "NODE",
    "RANK",
    "SIGNALED",
    "SPAWN_FAILED",
    "STDERR",
    "STDOUT",
    "TIMED_OUT",
    "Copy",
    "Ended",
    "Reader",
    "Said",
    "Transport",
    "Word",
    "kept_here",
    "local_path",
]

#: A word of an argument vector: text, or a tuple of text and the marks NODE, NAME and RANK in turn.
Word = str | Template


#: The marks that are replaced in a template.
_MARKS = (NODE, NAME, RANK, LOG_PATH)


class Transport(CommandWorker):
    """A worker whose commands and copies reach a node by a program that is executed here.

    Override `command_argv`, and `copy_argv` if it can copy; the other methods have a default. A transport
    without one of the two refuses such work at the call (EngineClientNotSupportedError).
    """

    def __init__(self, nodes: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(nodes, *args, **kwargs)
        needed = "command_argv" if self._copy is None else "copy_argv"
        if getattr(type(self), needed) is getattr(Transport, needed):
            raise self._cannot()

    def _cannot(self) -> EngineClientNotSupportedError:
        task = f"run {self.command!r}" if self._copy is None else f"copy {self.source!r}"
        return EngineClientNotSupportedError(f"{type(self).__name__} cannot {task}")

    def command_argv(self, task: AnyTask, command: str) -> Iterable[Word]:
        """Return the argument vector for `command` on a node; WorkerError if it is not possible."""
        raise self._cannot()

    def copy_argv(self, task: AnyTask, copy: Copy) -> Iterable[Word]:
        """Return the argument vector for a copy to (or from) a node; WorkerError if it is not possible."""
        raise self._cannot()

    def environment(self, task: AnyTask) -> Mapping[str, str]:
        """Return variables for the environment of the program, on top of that of this process."""
        return {}

    def address(self, node: str) -> str:
        """Return the text for a node in place of the mark NODE."""
        return node

    def reader(self, task: AnyTask, nodes: list[str]) -> Reader | None:
        """Return an object that processes the output before results and handlers get it, or None."""
        return None

    def _log(self) -> LogFormat | None:
        """Return how to read the log that its program writes to LOG_PATH; None for a program without one."""
        return None

    def _make_job(self, task: PublicTask) -> Job:
        nodes = list(self.nodes)
        if self._copy is not None:
            words = self.copy_argv(task, self._copy)
        else:
            words = self.command_argv(task, self.command or "")
        argv = self._templates(words)
        addresses = [self._text("address", self.address(node)) for node in nodes]
        parts: tuple[str, ...] = ()
        if addresses != nodes and any(NAME in word for word in argv):
            parts = tuple(nodes)
        else:
            argv = tuple(tuple(NODE if p == NAME else p for p in word) for word in argv)
        return self._new_job(
            task,
            addresses,
            list(nodes),
            argv=argv,
            parts=parts,
            env=tuple(
                (self._text("environment", name), self._text("environment", text))
                for name, text in self.environment(task).items()
            ),
            reader=self.reader(task, nodes),
            log=self._log(),
        )

    def _templates(self, words: Iterable[Word]) -> tuple[Template, ...]:
        """Return an argument vector in the form for engines; WorkerError for anything else."""
        name = "command_argv" if self._copy is None else "copy_argv"
        argv = [] if isinstance(words, str) else list(words)
        if not argv:
            raise WorkerError(
                f"{type(self).__name__}.{name} returns a list of words, not {words!r}"
            )
        return tuple(
            tuple(part if part in _MARKS else self._text(name, part) for part in word)
            if isinstance(word, (tuple, list))
            else (self._text(name, word),)
            for word in argv
        )

    def _text(self, name: str, value: Any) -> str:
        """Return a text that a method has returned; WorkerError if it cannot be an argument of a program."""
        if not isinstance(value, str):
            hint = "; a mark stands in a tuple" if value in _MARKS else ""
            raise WorkerError(
                f"{type(self).__name__}.{name} returns {value!r} instead of a text{hint}"
            )
        try:
            return check_text(f"{type(self).__name__}.{name}", value)
        except WorkerBadArgumentError as error:
            raise WorkerError(str(error)) from None
