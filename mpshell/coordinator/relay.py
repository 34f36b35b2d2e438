"""A relay copy in a run: passes the answers of nodes to the line, and carries out its effects.

    node's RECEIVE ── stdout ──► RelayCopy (`Reader`) ──► RelayLine ──► orders ──► stdin of a node's client
                                      └──► sends of the head, its checksums: jobs of one client beside it

The clients of the job are the control connections, one for each node, all at once. The head's own commands are
jobs of the same run, without a journal and without a slot of the fanout. In the thread of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from mpshell.coordinator import relaywire as wire
from mpshell.coordinator.clientinput import ClientInputs
from mpshell.coordinator.coordinator import Coordinator
from mpshell.coordinator.job import Ended, Job, Said
from mpshell.coordinator.relaybeside import Beside, start_beside
from mpshell.coordinator.relayline import RelayLine
from mpshell.coordinator.relaynode import (
    DONE,
    HEAD,
    Effect,
    Pull,
    Receiver,
    Send,
    StopSending,
    Take,
)
from mpshell.coordinator.relayprogress import RelayProgress, progress_of
from mpshell.outcome import RELAY_DETAIL as DETAIL
from mpshell.runtime.loop import TimerHandle
from mpshell.wire.connect import Connect
from mpshell.wire.messages import CANCELLED, EXITED, STDERR, STDOUT, Template

#: Seconds between two checks for nodes that have stalled or are slow.
_LOOK = 0.5

#: Seconds that nodes have to end after the copy is over.
_PATIENCE = 15.0


class RelaySource(Protocol):
    """The file to copy, from the worker: its size and commands for the head."""

    name: str
    size: int
    #: What there is to do where nodes cannot log in to each other.
    instead: str

    def sum_words(self, algorithm: str) -> Sequence[Template]:
        """Return the local command that writes the checksum as its first word."""

    def key_words(self) -> Sequence[Template]:
        """Return the local command that writes the orders with the keys of the copy; empty without keys."""

    def send_words(self, rank: int, seq: int, offset: int) -> Sequence[Template]:
        """Return the command that sends the file from an offset on to a node."""

    def send_connect(self, rank: int, seq: int, offset: int) -> Connect | None:
        """Return the same over a connection of the engine; None where that is not how nodes are reached."""

    def has_changed(self) -> bool:
        """Return whether the file has changed since the beginning."""


class RelayCopy:
    """The relay of one file to the nodes of a job: the job's `Reader`, from `begin` to `close`.

    `on_source(node, source, offset)` is called when a node is to fetch from a source, None for the head.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        job: Job,
        source: RelaySource,
        *,
        stays: bool,
        on_source: Callable[[str, str | None, int], object] | None,
    ) -> None:
        self._coordinator, self._loop, self._job, self._source = (
            coordinator,
            coordinator.run.loop,
            job,
            source,
        )
        #: Whether nodes stay after they have the file, because others need their sshd.
        self._stays = stays
        self._on_source = on_source
        self._inputs = job.inputs = ClientInputs()
        self.line = RelayLine([str(key) for key in job.keys], source.size, source.instead)
        #: Checksums by algorithm, and the nodes that wait for one.
        self._sums: dict[str, str] = {}
        self._waiting: dict[str, list[tuple[int, int | None]]] = {}
        self._summing: set[str] = set()
        #: The head's sends, by rank, with the number of the order; and all its commands.
        self._sends: dict[int, tuple[int, Beside]] = {}
        self._beside: set[Beside] = set()
        self._timer: TimerHandle | None = None
        #: The time by which clients must end that have nothing more to do.
        self._over_at = self._loop.time() + _PATIENCE
        self._closed = False

    # -- the run ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin, after the job was started: give its clients their first order."""
        for index in self._job.indexes():
            self._inputs.write(index, wire.rank_order(index))
        if words := self._source.key_words():
            self._run_beside(words, self._on_keys)
        self._need_sum(wire.SHA256)
        self._coordinator.feed(self._job)
        self._timer = self._loop.call_later(_LOOK, self._look)

    def close(self) -> None:
        """End the commands of the head: no client is left."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for beside in list(self._beside):
            self._cancel(beside)

    def _look(self) -> None:
        if self._closed:
            return
        self._do(self.line.tick(self._loop.time()))
        self._end_nodes()
        if not self.line.is_over:
            self._over_at = self._loop.time() + _PATIENCE
        elif self._loop.time() > self._over_at:
            # A node that was given up may not end: end its control connection.
            self._coordinator.cancel(self._job)
            return
        self._timer = self._loop.call_later(_LOOK, self._look)

    def _end_nodes(self) -> None:
        """End nodes that stay and are not needed: all at the end, some if others wait for slots."""
        if not self._stays:
            return
        if self.line.is_over:
            ended = list(self._job.indexes())
        else:
            ended = self.line.retire(self._job.size - self._job.announced)
        for index in ended:
            self._inputs.close(index)
        self._send_input()

    def progress(self) -> RelayProgress:
        """Return how far it is."""
        return progress_of(self.line, self._loop.time())

    def source_of(self, node: str) -> str | None:
        """Return the node from which a node has or fetches the file; None for the head, or for none."""
        found = next((n.source for n in self.line.nodes if n.name == node), None)
        return None if found is None or found == HEAD else self.line.nodes[found].name

    # -- output of nodes (`Reader`) --------------------------------------------------------------

    def read(self, index: int, stream: int, lines: bytes) -> Iterator[Said | Ended]:
        key = self._job.keys[index]
        shown = STDERR if self._job.spec.separate_stderr else STDOUT
        if stream != STDOUT:
            yield Said(key, shown, lines)
            return
        for line in lines.splitlines(keepends=True):
            try:
                answer = wire.parse(line)
            except ValueError as error:
                self._fail(index, str(error))
                continue
            if answer is None:
                yield Said(key, STDOUT, line)
                continue
            self._take(index, answer)
            if isinstance(answer, wire.DoneAnswer) and self.line.nodes[index].state is DONE:
                yield Ended(key, EXITED, 0, None)

    def finish(self, index: int, reason: int, status: int, detail: str | None) -> Iterator[Ended]:
        node, key = self.line.nodes[index], self._job.keys[index]
        self._do(self.line.end(index, "", self._loop.time()))
        self._end_nodes()
        if node.state is DONE or reason not in (EXITED, CANCELLED):
            return
        if node.reason:
            yield Ended(key, EXITED, 1, DETAIL + self._explained(node))
        elif reason == EXITED and status in (0, 1):
            how = f"it ended before it had the file{self._from(node)}"
            yield Ended(key, EXITED, 1, DETAIL + how)

    def _explained(self, node: Receiver) -> str:
        if node.reason == self.line.stopped:
            return node.reason
        return node.reason + self._from(node)

    def _from(self, node: Receiver) -> str:
        source = self.line.name_of(node.source)
        return f" (from {source})" if source else ""

    def _take(self, index: int, answer: wire.Answer) -> None:
        line, now = self.line, self._loop.time()
        if isinstance(answer, wire.AtAnswer):
            self._do(line.at(index, answer.offset, now))
        elif isinstance(answer, wire.NeedAnswer):
            self._do(line.need(index, *answer, now))
        elif isinstance(answer, wire.ReadyAnswer):
            self._ready(index, answer)
        elif isinstance(answer, wire.TakeAnswer):
            self._do(line.take(index, answer.seq, answer.offset))
        elif isinstance(answer, wire.BadAnswer):
            self._check_source()
            self._do(line.bad(index, answer.seq, now))
        elif isinstance(answer, wire.DoneAnswer):
            self._do(line.done(index, now))
            if not self._stays:
                self._inputs.close(index)
            self._send_input()
            self._end_nodes()
        elif isinstance(answer, wire.SharedAnswer):
            self._do(line.shared(index, answer.rank))
        else:
            self._fail(index, answer.text)

    def _fail(self, index: int, text: str) -> None:
        """A node has failed by itself: it ends, and gets no more orders."""
        self._do(self.line.end(index, text, self._loop.time()))
        self._inputs.close(index)
        self._send_input()

    def _ready(self, index: int, answer: wire.ReadyAnswer) -> None:
        value = self._sums.get(answer.algorithm)
        if value is None:
            self._waiting.setdefault(answer.algorithm, []).append((index, answer.port))
            self._need_sum(answer.algorithm)
        else:
            self._inputs.write(index, wire.sum_order(answer.algorithm, value))
            self._do(self.line.ready(index, answer.port, self._loop.time()))

    # -- effects of the line ---------------------------------------------------------------------

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, StopSending):
                self._stop_sending(effect.rank)
            elif self._job.is_aborted or self._coordinator.run.stopping:
                continue
            elif isinstance(effect, Pull):
                source = self.line.nodes[effect.source].name
                order = wire.pull_order(effect.seq, effect.source, source, effect.kind, effect.port)
                self._order(effect.rank, order, source)
            elif isinstance(effect, Take):
                self._order(effect.rank, wire.feed_order(effect.seq), None)
            elif isinstance(effect, Send):
                self._send(effect)
            else:
                self._inputs.close(effect.rank)
        self._send_input()

    def _order(self, rank: int, order: bytes, source: str | None) -> None:
        self._inputs.write(rank, order)
        if self._on_source is not None:
            node = self.line.nodes[rank]
            self._coordinator.run.tell(self._on_source, node.name, source, node.offset)

    def _send_input(self) -> None:
        if self._inputs.unsent:
            self._coordinator.feed(self._job)

    # -- commands of the head --------------------------------------------------------------------

    def _run_beside(
        self, words: Sequence[Template], on_end: Callable[[int, bytes, bytes], object]
    ) -> Beside:
        return start_beside(self._coordinator, self._job, words, self._beside, on_end)

    def _start_sending(self, effect: Send, on_end: Callable[[int, bytes, bytes], object]) -> Beside:
        return start_beside(
            self._coordinator, self._job, self._source.send_words(*effect), self._beside, on_end,
            self._source.send_connect(*effect), self._job.nodes[effect.rank],
        )  # fmt: skip

    def _cancel(self, beside: Beside) -> None:
        beside.on_end = None
        self._coordinator.cancel(beside.job)

    def _send(self, effect: Send) -> None:
        self._stop_sending(effect.rank)

        def on_end(status: int, out: bytes, err: bytes) -> None:
            self._sends.pop(effect.rank, None)
            self._check_source()
            if status:
                text = (err or out).strip().rpartition(b"\n")[2].decode(errors="replace").strip()
                now = self._loop.time()
                self._do(self.line.feed_failed(effect.rank, effect.seq, text, now))

        self._sends[effect.rank] = effect.seq, self._start_sending(effect, on_end)

    def _stop_sending(self, rank: int) -> None:
        found = self._sends.pop(rank, None)
        if found is not None:
            self._cancel(found[1])

    def _check_source(self) -> None:
        if not self.line.stopped and self._source.has_changed():
            self._do(self.line.stop(f"{self._source.name!r} was changed while it was copied"))

    def _need_sum(self, algorithm: str) -> None:
        if algorithm in self._summing:
            return
        self._summing.add(algorithm)

        def on_end(status: int, out: bytes, err: bytes) -> None:
            word = (out.split() or [b""])[0].decode(errors="replace")
            if status or not word:
                why = (err.strip() or b"no checksum").decode(errors="replace")
                self._do(self.line.stop(f"{self._source.name!r} cannot be read: {why}"))
                return
            self._sums[algorithm] = word
            for index, port in self._waiting.pop(algorithm, ()):
                self._ready(index, wire.ReadyAnswer(algorithm, port))

        self._run_beside(self._source.sum_words(algorithm), on_end)

    def _on_keys(self, status: int, out: bytes, err: bytes) -> None:
        if status or not out:
            why = (err.strip() or b"no keys").decode(errors="replace")
            self._do(self.line.stop(f"no keys could be made for this run: {why}"))
            return
        for index in self._job.indexes():
            self._inputs.write(index, out if out.endswith(b"\n") else out + b"\n")
        self._send_input()
