"""What a Task has of its last run, over all its workers, by key. Part of `Task`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mpshell.coordinator.results import Key, WorkerResults, as_seen, key_matcher, matcher
from mpshell.errors import TaskMsgTreeError
from mpshell.msgtree import MsgTreeElem
from mpshell.outcome import NodeOutcome


class TaskResults:
    """Accessors over the results of the workers of a run; `_run_results` is the task's."""

    _run_results: list[WorkerResults]

    def default(self, default_key: str, def_val: Any = None) -> Any:
        raise LookupError(default_key)

    def _records(self, sname: str) -> bool:
        """Return whether what a stream says is recorded now."""
        return bool(self.default(f"{sname}_msgtree", False))

    def _check_recorded(self, sname: str) -> None:
        if not self._records(sname) and not any(sname in r.streams for r in self._run_results):
            raise TaskMsgTreeError(f"{sname} is not recorded: the default {sname}_msgtree is off")

    def _text_of(self, key: Key, sname: str) -> bytes:
        self._check_recorded(sname)
        texts = (results.text_of(key, sname) for results in self._run_results)
        return b"".join(said for said in texts if said)

    def key_buffer(self, key: Key) -> bytes:
        """Return what was recorded of a key's stdout, over all workers; b'' when nothing was.

        Raise TaskMsgTreeError when recording is off.
        """
        return self._text_of(key, "stdout")

    node_buffer = key_buffer

    def key_error(self, key: Key) -> bytes:
        """Return what was recorded of a key's stderr, over all workers; b'' when nothing was.

        Raise TaskMsgTreeError when recording is off.
        """
        return self._text_of(key, "stderr")

    node_error = key_error

    def key_retcode(self, key: Key) -> int:
        """Return the largest return code of a key; KeyError when it has none."""
        codes = [results.codes[key] for results in self._run_results if key in results.codes]
        if not codes:
            raise KeyError(key)
        return max(codes)

    node_retcode = key_retcode

    def max_retcode(self) -> int | None:
        """Return the largest return code of the run, None when there is none."""
        return max((code for r in self._run_results for code in r.codes.values()), default=None)

    def iter_buffers(
        self, match_keys: Iterable[Key] | None = None
    ) -> Iterator[tuple[MsgTreeElem, list[Any]]]:
        """Return an iterator of (text, keys) for each distinct stdout, of `match_keys` when given.

        Raise TaskMsgTreeError, at the call, when recording is off.
        """
        return self._iter_texts("stdout", match_keys)

    def iter_errors(
        self, match_keys: Iterable[Key] | None = None
    ) -> Iterator[tuple[MsgTreeElem, list[Any]]]:
        """Return an iterator of (text, keys) for each distinct stderr, of `match_keys` when given.

        Raise TaskMsgTreeError, at the call, when recording is off.
        """
        return self._iter_texts("stderr", match_keys)

    def _iter_texts(
        self, sname: str, match_keys: Iterable[Key] | None
    ) -> Iterator[tuple[MsgTreeElem, list[Any]]]:
        self._check_recorded(sname)
        match = key_matcher(match_keys)
        groups: dict[bytes, list[Any]] = {}
        for results in self._run_results:
            store = results.streams.get(sname)
            if store is not None:
                for body, keys in store.groups(match).items():
                    groups.setdefault(body, []).extend(keys)
        return iter([(MsgTreeElem(said), keys) for said, keys in groups.items()])

    def iter_retcodes(
        self, match_keys: Iterable[Key] | None = None
    ) -> Iterator[tuple[int, list[Any]]]:
        """Yield (return code, keys); with `match_keys` a code that none of them has comes too, empty.

        In the order in which the run saw the codes first, those of one turn in ascending order.
        """
        match = matcher(match_keys)
        groups: dict[int, list[Any]] = {}
        first_seen: dict[int, int] = {}
        for results in self._run_results:
            first_seen = results.first_seen
            for code, keys in results.by_code(match).items():
                groups.setdefault(code, []).extend(keys)
        yield from as_seen(groups, first_seen).items()

    def outcomes(self) -> Iterator[NodeOutcome]:
        """Yield a NodeOutcome for each command of the run that has ended, worker by worker."""
        for results in list(self._run_results):
            yield from results.iter_outcomes()

    def num_timeout(self) -> int:
        """Return the number of keys that timed out in this run."""
        return sum(len(results.timeouts) for results in self._run_results)

    def iter_keys_timeout(self) -> Iterator[Any]:
        """Yield the keys that timed out in this run."""
        for results in list(self._run_results):
            yield from list(results.timeouts)

    def flush_buffers(self) -> None:
        """Drop what was recorded of stdout."""
        self._flush("stdout")

    def flush_errors(self) -> None:
        """Drop what was recorded of stderr."""
        self._flush("stderr")

    def _flush(self, sname: str) -> None:
        for results in self._run_results:
            if (store := results.streams.get(sname)) is not None:
                store.clear()
