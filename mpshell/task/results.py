"""The results of a Task's last run, over all its workers, by key. A part of `Task`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mpshell.coordinator.results import Key, WorkerResults, as_seen, key_matcher, matcher
from mpshell.errors import TaskMsgTreeError
from mpshell.outcome import NodeOutcome
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.task.settings import Settings
from mpshell.worker.base import records

if TYPE_CHECKING:
    from typing import Any

    from mpshell.msgtree import MsgTreeElem


class RunResults:
    """The results of the workers of a run, in the order in which they entered it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers: list[WorkerResults] = []

    def __iter__(self) -> Iterator[WorkerResults]:
        return iter(list(self._workers))

    def add(self, results: WorkerResults) -> None:
        """Take in the results of a worker that enters the run."""
        self._workers.append(results)

    def reset(self) -> None:
        """Clear everything: a run begins, or is aborted."""
        for results in self._workers:
            results.clear()
        self._workers = []

    def record_live(self) -> None:
        """Record the lines that are on their way to a handler."""
        for results in self._workers:
            if results.live is not None:
                results.live.record()

    def records(self, sname: str) -> bool:
        """Return whether the output of a stream is recorded now."""
        return records(self._settings, sname)

    def check_recorded(self, sname: str) -> None:
        """Raise TaskMsgTreeError if a stream neither is nor was recorded in this run."""
        if not self.records(sname) and not any(sname in r.streams for r in self._workers):
            raise TaskMsgTreeError(f"{sname} is not recorded: the default {sname}_msgtree is off")

    def text_of(self, key: Key, sname: str) -> bytes:
        """Return the recorded output of a key's stream, over all workers."""
        self.check_recorded(sname)
        texts = (results.text_of(key, sname) for results in self._workers)
        return b"".join(text for text in texts if text)

    def texts(
        self, sname: str, match_keys: Iterable[Key] | None
    ) -> Iterator[tuple[MsgTreeElem, list[Any]]]:
        """Return an iterator of (text, keys) for each distinct text of a stream."""
        self.check_recorded(sname)
        match = key_matcher(match_keys)
        groups: dict[bytes, list[Any]] = {}
        for results in self._workers:
            store = results.streams.get(sname)
            if store is not None:
                for body, keys in store.groups(match).items():
                    groups.setdefault(body, []).extend(keys)
        # Late: few programs of one command ask for it.
        from mpshell.msgtree import MsgTreeElem

        return iter([(MsgTreeElem(said), keys) for said, keys in groups.items()])

    def flush(self, sname: str) -> None:
        """Drop the recorded output of a stream."""
        for results in self._workers:
            if (store := results.streams.get(sname)) is not None:
                store.clear()


class ResultsAccess:
    """The accessors of a Task to its part `RunResults`."""

    _results: RunResults

    def key_buffer(self, key: Key) -> bytes:
        """Return the recorded stdout of a key, over all workers; b'' when nothing was.

        Raise TaskMsgTreeError when recording is off.
        """
        return self._results.text_of(key, "stdout")

    node_buffer = key_buffer

    def key_error(self, key: Key) -> bytes:
        """Return the recorded stderr of a key, over all workers; b'' when nothing was.

        Raise TaskMsgTreeError when recording is off.
        """
        return self._results.text_of(key, "stderr")

    node_error = key_error

    def key_retcode(self, key: Key) -> int:
        """Return the largest return code of a key; KeyError when it has none."""
        codes = [results.codes[key] for results in self._results if key in results.codes]
        if not codes:
            raise KeyError(key)
        return max(codes)

    node_retcode = key_retcode

    def max_retcode(self) -> int | None:
        """Return the largest return code of the run, None when there is none."""
        return max((code for r in self._results for code in r.codes.values()), default=None)

    def iter_buffers(
        self, match_keys: Iterable[Key] | None = None
    ) -> Iterator[tuple[MsgTreeElem, list[Any]]]:
        """Return an iterator of (text, keys) for each distinct stdout, of `match_keys` when given.

        Raise TaskMsgTreeError, at the call, when recording is off.
        """
        return self._results.texts("stdout", match_keys)

    def iter_errors(
        self, match_keys: Iterable[Key] | None = None
    ) -> Iterator[tuple[MsgTreeElem, list[Any]]]:
        """Return an iterator of (text, keys) for each distinct stderr, of `match_keys` when given.

        Raise TaskMsgTreeError, at the call, when recording is off.
        """
        return self._results.texts("stderr", match_keys)

    def iter_retcodes(
        self, match_keys: Iterable[Key] | None = None
    ) -> Iterator[tuple[int, list[Any]]]:
        """Yield (return code, keys); with `match_keys`, codes that none of them has come with no keys.

        In the order in which the codes first arrived, those of one turn in ascending order.
        """
        match = matcher(match_keys)
        groups: dict[int, list[Any]] = {}
        first_seen: dict[int, int] = {}
        for results in self._results:
            first_seen = results.first_seen
            for code, keys in results.by_code(match).items():
                groups.setdefault(code, []).extend(keys)
        yield from as_seen(groups, first_seen).items()

    def outcomes(self) -> Iterator[NodeOutcome]:
        """Yield a NodeOutcome for each command of the run that has ended, worker by worker."""
        for results in self._results:
            yield from results.iter_outcomes()

    def num_timeout(self) -> int:
        """Return the number of keys that timed out in this run."""
        return sum(len(results.timeouts) for results in self._results)

    def iter_keys_timeout(self) -> Iterator[Any]:
        """Yield the keys that timed out in this run."""
        for results in self._results:
            yield from list(results.timeouts)

    def flush_buffers(self) -> None:
        """Drop the recorded stdout."""
        self._results.flush("stdout")

    def flush_errors(self) -> None:
        """Drop the recorded stderr."""
        self._results.flush("stderr")
