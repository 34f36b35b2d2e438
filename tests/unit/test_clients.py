"""Clients over a carrier that is no process: their requests to it, and their reading of its reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mpshell.engine import client as states
from mpshell.engine.clients import Clients
from mpshell.engine.libc import Environment
from mpshell.engine.life import Life
from mpshell.engine.stdin import InputFeed, InputLog
from mpshell.engine.uplink import Uplink
from mpshell.engine.work import EngineJob, Execution
from mpshell.errors import InvalidTransition
from mpshell.runtime.loop import EventLoop
from mpshell.wire import messages as m
from mpshell.wire.channel import Channel, channel_pair
from tests.engine.conftest import job


class FakeCarrier:
    """Records each request; the test plays the command."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.asked: list[str] = []
        self.taken = b""
        self.room = room
        self.reads = True
        self.has_input = True
        self.paused = False
        self.left: list[tuple[int, bytes]] = []
        self.on_room: Callable[[], None] | None = None

    def write(self, data: memoryview) -> int | None:
        if not self.reads:
            return None
        size = min(len(data), self.room)
        self.taken += data[:size]
        self.room -= size
        return size

    def await_room(self, callback: Callable[[], None] | None) -> None:
        self.on_room = callback

    def close_input(self) -> None:
        self.has_input = False

    def resume_reading(self) -> None:
        self.asked.append("resume")

    def rest(self) -> Iterator[tuple[int, bytes]]:
        yield from self.left

    def rest_of_log(self) -> bytes:
        return b""

    def terminate(self) -> None:
        self.asked.append("terminate")

    def kill(self) -> None:
        self.asked.append("kill")

    def abandon(self) -> None:
        self.asked.append("abandon")

    def close(self) -> None:
        self.asked.append("close")


class FakeFamily:
    """Starts FakeCarriers."""

    busy = False

    def __init__(self) -> None:
        self.carriers: list[FakeCarrier] = []
        self.error: Exception | None = None

    def start(self, execution: Execution) -> FakeCarrier:
        if self.error is not None:
            raise self.error
        execution.streams = 1
        self.carriers.append(FakeCarrier())
        return self.carriers[-1]

    def kill_all(self) -> None:
        self.busy = False

    def end_run(self) -> None:
        pass


def _nothing() -> None:
    pass


class Bench:
    """Clients with a clock that the test moves, and their reports."""

    def __init__(self) -> None:
        self.now = 100.0
        self.loop = EventLoop(clock=lambda: self.now)
        near, far = channel_pair()
        self.channel, self._far = near, Channel(far)
        self.uplink = Uplink(
            self._far,
            self.loop,
            Life(),
            collect=_nothing,
            on_turn=self.on_turn,
            on_clear=_nothing,
            on_relief=_nothing,
        )
        self.released: list[Execution] = []
        self.family = FakeFamily()
        self.clients = Clients(self.loop, self.uplink, self.released.append)
        self.clients.family = self.family

    def on_turn(self) -> None:
        """A turn is over in which something happened."""

    def start(self, spec: m.JobSpec | None = None, index: int = 0) -> Execution:
        work = EngineJob(1, spec or job("true", grace=1.0, drain=5.0), Environment({}))
        execution = Execution(work, index, f"n{index}")
        work.running[index] = execution
        assert self.clients.start(execution, last_try=False) is None
        return execution

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.loop.run_once(poll_only=True)

    def finished(self) -> list[m.Result]:
        return self.uplink.report.finished

    def close(self) -> None:
        self.loop.close()
        self.channel.close()
        self._far.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def test_a_command_that_ends_by_itself(bench: Bench) -> None:
    execution = bench.start()
    [carrier] = bench.family.carriers
    bench.clients.received(execution, m.STDOUT, b"hello\n")
    bench.clients.stream_ended(execution)
    assert not bench.finished()
    bench.now += 2.5
    bench.clients.ended(execution, 3, False)
    [result] = bench.finished()
    assert result[:3] == (execution.id, m.EXITED, 3)
    assert result[5:7] == (100.0, 2.5)
    assert bench.uplink.report.bodies.new == [(result[3], b"hello\n")]
    assert carrier.asked == ["close"] and bench.released == [execution]


def test_a_timeout_terminates_then_kills_then_abandons(bench: Bench) -> None:
    """The outcome is reported at the timeout, with the last output; the slot is free at the end."""
    execution = bench.start(job("true", grace=1.0, timeout=10.0))
    [carrier] = bench.family.carriers
    carrier.left = [(m.STDOUT, b"last words\n")]
    bench.pass_time(10.0)
    [result] = bench.finished()
    assert result[1] == m.TIMED_OUT
    assert bench.uplink.report.bodies.new == [(result[3], b"last words\n")]
    assert carrier.asked == ["terminate"]
    bench.pass_time(1.0)
    assert carrier.asked == ["terminate", "kill"]
    bench.clients.received(execution, m.STDOUT, b"too late\n")
    bench.pass_time(4.0)
    assert carrier.asked == ["terminate", "kill", "abandon", "close"]
    assert bench.finished() == [result] and bench.released == [execution]


def test_output_that_stays_open_is_waited_for_until_it_is_silent(bench: Bench) -> None:
    execution = bench.start(job("true", drain=5.0))
    bench.clients.ended(execution, 0, False)
    bench.pass_time(4.0)
    bench.clients.received(execution, m.STDOUT, b"still\n")
    bench.pass_time(4.0)
    assert not bench.finished()
    bench.pass_time(1.0)
    assert [result[1:3] for result in bench.finished()] == [(m.EXITED, 0)]


def test_silence_while_reading_is_paused_is_no_end(bench: Bench) -> None:
    execution = bench.start(job("true", drain=5.0))
    [carrier] = bench.family.carriers
    bench.clients.pause(carrier)
    carrier.paused = True
    bench.clients.ended(execution, 0, False)
    bench.pass_time(60.0)
    assert not bench.finished()
    bench.clients.resume_reading()
    assert carrier.asked == ["resume"]
    carrier.paused = False
    bench.pass_time(5.0)
    assert bench.finished()


def test_those_that_have_waited_longest_read_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is paused again while others are resumed goes to the end."""
    for index in range(8):
        bench.start(index=index)
    order: list[int] = []
    carriers = bench.family.carriers
    for number in (5, 1, 7, 3):
        bench.clients.pause(carriers[number])

        def resume(number: int = number) -> None:
            order.append(number)
            if len(order) < 5:
                bench.clients.pause(carriers[number])

        monkeypatch.setattr(carriers[number], "resume_reading", resume)
    bench.clients.pause(carriers[0])
    for _ in range(2):
        bench.clients.resume_reading()
    assert order == [5, 1, 7, 3, 5, 1, 7, 3]
    assert carriers[0].asked == ["resume"]


def test_a_closed_carrier_is_not_resumed(bench: Bench) -> None:
    execution = bench.start()
    [carrier] = bench.family.carriers
    bench.clients.pause(carrier)
    bench.clients.stream_ended(execution)
    bench.clients.ended(execution, 0, False)
    bench.clients.resume_reading()
    assert carrier.asked == ["close"]


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (OSError(24, "too many open files"), True),
        (OSError(2, "no such file"), False),
        (ValueError("NUL"), False),
    ],
)
def test_a_start_that_fails(error: Exception, waits: bool, bench: Bench) -> None:
    """No room is passing, and no outcome, but on the last try."""
    bench.family.error = error
    work = EngineJob(1, job("true"), Environment({}))
    execution = Execution(work, 0, "n0")
    assert bench.clients.start(execution, last_try=False) is (error if waits else None)
    assert len(bench.finished()) == (not waits)
    if waits:
        assert bench.clients.start(execution, last_try=True) is None
    assert [result[1] for result in bench.finished()] == [m.SPAWN_FAILED]


def test_input_is_written_as_the_sink_takes_it() -> None:
    log, sink = InputLog(), FakeCarrier(room=5)
    sizes: list[int] = []
    feed = InputFeed(sink, log, sizes.append)
    log.write(b"abcdefgh")
    assert sink.taken == b"abcde" and sink.on_room is not None
    log.write(b"ijk")
    log.close()
    assert sink.taken == b"abcde" and sink.has_input
    sink.room = 100
    sink.on_room()
    assert sink.taken == b"abcdefghijk" and not sink.has_input
    assert sink.on_room is None and sizes == [5, 6]
    feed.close()


def test_input_for_a_command_that_reads_no_more_is_dropped() -> None:
    log, sink = InputLog(), FakeCarrier()
    InputFeed(sink, log, None)
    sink.reads = False
    log.write(b"nobody")
    assert not sink.has_input and not log.readers


def test_one_that_starts_late_reads_the_log_from_its_beginning() -> None:
    log = InputLog()
    log.write(b"first ")
    early = FakeCarrier()
    InputFeed(early, log, None)
    log.write(b"second")
    log.close()
    late = FakeCarrier()
    InputFeed(late, log, None)
    assert early.taken == late.taken == b"first second"
    assert not early.has_input and not late.has_input


def test_a_log_that_has_lost_a_part_gives_no_more_and_no_end() -> None:
    """A command would take an end for that of the whole input."""
    log, early = InputLog(), FakeCarrier()
    InputFeed(early, log, None)
    log.write(b"first")
    log.lose_rest()
    log.write(b"third")
    log.close()
    late = FakeCarrier()
    InputFeed(late, log, None)
    assert early.taken == late.taken == b"first"
    assert early.has_input and late.has_input and not log.is_empty
    whole = InputLog()
    assert not whole.is_empty
    whole.close()
    whole.lose_rest()
    assert whole.is_empty


def test_an_end_before_a_start_is_an_error(bench: Bench) -> None:
    work = EngineJob(1, job("true"), Environment({}))
    execution = Execution(work, 0, "n0")
    execution.state = states.RUNNING
    with pytest.raises(InvalidTransition, match="TERMINATE without a carrier"):
        bench.clients.carry_out(execution, execution.handle(states.TIMEOUT))
