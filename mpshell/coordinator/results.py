"""The output of a worker's clients and their outcomes, by key, until the next run.

A key is a node's name, or the key that the user gave a local command. Output that is still arriving is one
growing buffer; when it has ended, it is the text that a user reads, one object for equal texts of any number
of keys. A reader gets that object, and no copy: gathered output may fill most of the memory.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator

from mpshell.coordinator.growing import Growing
from mpshell.outcome import NodeOutcome, Outcome, node_outcome
from mpshell.runtime.lean import TYPE_CHECKING
from mpshell.wire.messages import (
    AUTH,
    CANCELLED,
    CUT,
    EXITED,
    HOSTKEY,
    LOST,
    SIGNALED,
    SPAWN_FAILED,
    TIMED_OUT,
    TRANSPORT,
    UNREACHABLE,
)

if TYPE_CHECKING:
    from typing import Any

Key = Hashable

#: Return code of a command that could not be started, or whose engine or connection was lost.
NOT_RUN = 255

_NOT_RUN_REASONS = (SPAWN_FAILED, LOST, CUT, UNREACHABLE, AUTH, HOSTKEY, TRANSPORT)


def returncode(reason: int, status: int) -> int | None:
    """Return the code of an outcome: the exit status, 128 + signal, 255; None after a timeout."""
    if reason == EXITED:
        return status
    if reason == SIGNALED:
        return 128 + status
    if reason in _NOT_RUN_REASONS:
        return NOT_RUN
    if reason in (TIMED_OUT, CANCELLED):
        return None
    raise ValueError(f"no such reason: {reason}")


class Interned:
    """One object for equal bodies of a run, over all its engines, as long as it is in some result.

    A sweep frees bodies that no result has any more (flushed, or of a dropped attempt), once
    the table exceeds twice its size after the last sweep plus `SWEEP` bytes.
    """

    SWEEP = 1 << 24

    __slots__ = ("_bodies", "_limit", "_size")

    def __init__(self) -> None:
        self._bodies: dict[bytes, bytes] = {}
        self._size = 0
        self._limit = self.SWEEP

    def __call__(self, body: bytes) -> bytes:
        known = self._bodies.setdefault(body, body)
        if known is body:
            self._size += len(body)
            if self._size > self._limit:
                self._sweep()
        return known

    def _sweep(self) -> None:
        """Forget the bodies that no result has any more."""
        counts = _references(self._bodies)
        self._bodies = {
            b: b for b, count in zip(self._bodies, counts, strict=True) if count > _ALONE
        }
        self._size = sum(map(len, self._bodies))
        self._limit = 2 * self._size + self.SWEEP


# A sweep keeps the bodies that have more references than one to which only the table refers: bytes support no
# weak references, and a wrapper for each would cost time for every node. It depends on CPython's reference
# counts, and fails safely if these change: an immortal object or an uncounted reference makes the table
# keep too much, or merge equal bodies no more. No result is ever wrong because of it.


def _references(bodies: dict[bytes, bytes]) -> list[int]:
    return [sys.getrefcount(body) for body in bodies]


#: The number of references to a body that only the table has.
_ALONE = _references({body: body for body in (bytes(bytearray(9)),)})[0]


class StreamStore:
    """The record of one stream: a text for each key, or a buffer while it is open."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: dict[Key, bytes | Growing] = {}

    def add_block(self, key: Key, block: bytes) -> None:
        """Record lines, each ended by a newline, or a piece of a long one."""
        buffer = self._texts.get(key)
        if not isinstance(buffer, Growing):
            before, buffer = buffer, Growing()
            if before is not None:
                buffer.add(before)
                buffer.add(b"\n")
            self._texts[key] = buffer
        buffer.add(block)

    def set_text(self, key: Key, said: bytes) -> None:
        """Record the whole output of a key, without its last newline."""
        if key in self._texts:
            self.add_block(key, said + b"\n")
        else:
            self._texts[key] = said

    def settle(self, key: Key, intern: Interned) -> None:
        """Make a text of a key's buffer: no more output will arrive."""
        buffer = self._texts.get(key)
        if isinstance(buffer, Growing):
            try:
                said = self._texts[key] = buffer.take(buffer.text_size())
                self._texts[key] = intern(said)
            except MemoryError:
                # The buffer can be read when there is room. Other keys may need less.
                return

    def get(self, key: Key) -> bytes | None:
        """Return a key's text without its last newline, or None if there is no output."""
        said = self._texts.get(key)
        return said.copy(0, said.text_size()) if isinstance(said, Growing) else said

    def last_line(self, key: Key) -> bytes | None:
        """Return the last line of a key, without its newline, or None if there is no output."""
        said = self._texts.get(key)
        if said is None:
            return None
        if isinstance(said, Growing):
            end = said.text_size()
            return said.copy(said.rfind(b"\n", end) + 1, end)
        return said[said.rfind(b"\n") + 1 :]

    def groups(self, match: Callable[[Key], bool] | None = None) -> dict[bytes, list[Key]]:
        """Return the keys by their output, without its last newline."""
        groups: dict[bytes, list[Key]] = {}
        for key, said in self.items():
            if match is None or match(key):
                groups.setdefault(said, []).append(key)
        return groups

    def items(self) -> Iterator[tuple[Key, bytes]]:
        """Yield (key, text without its last newline)."""
        for key, said in list(self._texts.items()):
            yield key, said.copy(0, said.text_size()) if isinstance(said, Growing) else said

    def drop(self, key: Key) -> None:
        self._texts.pop(key, None)

    def clear(self) -> None:
        self._texts.clear()


def text(body: bytes) -> bytes:
    """Return a body in the form for users: lines, the last one without its newline."""
    return body[:-1] if body.endswith(b"\n") else body


class WorkerResults:
    """Outcomes and output of one worker's clients in one run."""

    __slots__ = (
        "_streams", "codes", "diagnose", "earlier", "first_seen", "in_blocks", "live", "outcomes", "timeouts",
    )  # fmt: skip

    def __init__(self) -> None:
        self.codes: dict[Key, int] = {}
        #: The turn in which each return code first arrived: one dict for all workers of the run.
        self.first_seen: dict[int, int] = {}
        #: Recognizes a transport's own failure by the last lines of its command.
        self.diagnose: Callable[[str], str | None] | None = None
        #: How each key has ended: only `mpshell.coordinator.verdicts` writes it, and codes and timeouts.
        self.outcomes: dict[Key, Outcome] = {}
        #: The attempts of a key that were followed by another one, or should have been.
        self.earlier: dict[Key, list[Outcome]] = {}
        #: A dict for its order.
        self.timeouts: dict[Key, None] = {}
        self._streams: dict[str, StreamStore] = {}
        #: Whether anything was recorded in blocks.
        self.in_blocks = False
        #: The block whose lines a handler is getting.
        self.live: LiveBlock | None = None

    @property
    def streams(self) -> dict[str, StreamStore]:
        """The records by stream name: in a handler, up to the line that it has got."""
        if self.live is not None:
            self.live.record()
        return self._streams

    def record(self, sname: str, keys: list[Key], block: bytes) -> None:
        """Add lines to the record of a stream of the keys."""
        self.in_blocks = True
        store = self._streams.get(sname)
        if store is None:
            store = self._streams[sname] = StreamStore()
        for key in keys:
            store.add_block(key, block)

    def record_whole(self, sname: str, keys: list[Key], said: bytes) -> None:
        """Record the whole output of a stream of the keys, without its last newline."""
        store = self._streams.get(sname)
        if store is None:
            store = self._streams[sname] = StreamStore()
        for key in keys:
            store.set_text(key, said)

    def text_of(self, key: Key, sname: str) -> bytes | None:
        store = self.streams.get(sname)
        return None if store is None else store.get(key)

    def by_code(self, match: Callable[[Key], bool] | None = None) -> dict[int, list[Key]]:
        """Return the keys by return code; a code that no matching key has keeps an empty list.

        The codes are in the order in which they first arrived, those of one turn in ascending order.
        """
        groups: dict[int, list[Key]] = {}
        for key, code in self.codes.items():
            keys = groups.setdefault(code, [])
            if match is None or match(key):
                keys.append(key)
        return as_seen(groups, self.first_seen)

    def last_ended(self) -> tuple[Key, int | None] | None:
        """Return the key that ended last, and its return code; None if none has ended."""
        for key in reversed(self.outcomes):
            outcome = self.outcomes[key]
            # A client that was cancelled before it began has not ended.
            if outcome.reason != CANCELLED or outcome.started:
                return key, self.codes.get(key)
        return None

    def last_line(self, key: Key, sname: str) -> bytes | None:
        """Return the last line that is recorded of a key's stream, or None."""
        store = self.streams.get(sname)
        return None if store is None else store.last_line(key)

    def iter_outcomes(self) -> Iterator[NodeOutcome]:
        """Yield the outcome of each client, in the order in which they ended."""
        for key in list(self.outcomes):
            yield self.outcome_of(key)

    def outcome_of(self, key: Key) -> NodeOutcome:
        """Return the outcome of a client; KeyError for one that has not ended."""
        return node_outcome(key, self.outcomes[key], self.codes.get(key), self.diagnose)

    def attempt(self, key: Key, outcome: Outcome) -> NodeOutcome:
        """Return the outcome of an attempt of a client."""
        return node_outcome(key, outcome, returncode(outcome.reason, outcome.status), self.diagnose)

    def attempts_of(self, key: Key) -> list[NodeOutcome]:
        """Return all ended attempts of a client in order; KeyError for an unknown one."""
        ended = list(self.earlier.get(key, ()))
        # If a client was cancelled before another attempt, its verdict is that of its last one.
        if not ended or ended[-1] is not self.outcomes.get(key, ended[-1]):
            ended.append(self.outcomes[key])
        return [self.attempt(key, outcome) for outcome in ended if outcome.attempt]

    def settle(self, keys: Iterable[Key], intern: Interned) -> None:
        """Make one body of the output of each key's streams, which are at their end. Only with `in_blocks`."""
        for store in self._streams.values():
            for key in keys:
                store.settle(key, intern)

    def drop_output(self, keys: list[Key]) -> None:
        """Drop the output of the keys: they will be run again."""
        for store in self._streams.values():
            for key in keys:
                store.drop(key)

    def clear(self) -> None:
        self.codes.clear()
        self.first_seen = {}
        self.outcomes.clear()
        self.earlier.clear()
        self.timeouts.clear()
        self._streams.clear()


def as_seen(groups: dict[int, list[Key]], first_seen: dict[int, int]) -> dict[int, list[Key]]:
    """Return keys by return code, in the order in which the codes first arrived in a run.

    For codes that arrive in one turn of its loop the order is not known: the smaller one goes first.
    """
    order = sorted(groups, key=lambda code: (first_seen.get(code, 0), code))
    return {code: groups[code] for code in order}


class LiveBlock:
    """Lines on their way to a handler, recorded one by one only if results are read in between.

    `told` is the iterator of the handler's caller: lines that it has not yielded yet have
    not been reported. So a handler that reads, flushes or switches recording sees the same as if each line
    were recorded by itself, and the usual handler costs one block.
    """

    __slots__ = ("_block", "_keys", "_lines", "_recorded", "_records", "_results", "_sname", "told")

    def __init__(
        self,
        results: WorkerResults,
        records: Callable[[str], bool],
        sname: str,
        keys: list[Key],
        block: bytes,
    ) -> None:
        self._results = results
        self._records = records
        self._sname = sname
        self._keys = keys
        self._block = block
        self._lines = block.split(b"\n")
        self._lines.pop()
        self._recorded = 0
        self.told = iter(self._lines)
        results.live = self

    def record(self) -> None:
        """Record the lines that were reported since the last time."""
        # The length hint of a list's iterator is exactly the number of items that it has not yielded yet: so
        # the place of the handler in the block is known without extra work for each line.
        told = len(self._lines) - operator.length_hint(self.told)
        if told > self._recorded and self._records(self._sname):
            block = b"\n".join([*self._lines[self._recorded : told], b""])
            self._results.record(self._sname, self._keys, block)
        self._recorded = told

    def end(self) -> None:
        """Record the rest: the handler has got all lines, or needs no more."""
        self._results.live = None
        if not self._records(self._sname):
            return
        rest = self._block
        if self._recorded:
            rest = b"\n".join([*self._lines[self._recorded :], b""])
        if rest:
            self._results.record(self._sname, self._keys, rest)


def key_matcher(match_keys: Iterable[Any] | None) -> Callable[[Key], bool] | None:
    """Return the result of `matcher`, but raise TypeError for a text instead of keys."""
    if isinstance(match_keys, (str, bytes)):
        raise TypeError(f"match_keys is an iterable of keys, not the string {match_keys!r}")
    return matcher(match_keys)


def matcher(match_keys: Iterable[Any] | None) -> Callable[[Key], bool] | None:
    """Return a test for membership in `match_keys`, or None if everything matches."""
    if match_keys is None:
        return None
    if isinstance(match_keys, str):
        # A substring test, as in ClusterShell for return codes.
        names = match_keys
        return lambda key: isinstance(key, str) and key in names
    if not isinstance(match_keys, Iterable):
        raise TypeError(f"match_keys is an iterable of keys, not {match_keys!r}")
    return set(match_keys).__contains__
