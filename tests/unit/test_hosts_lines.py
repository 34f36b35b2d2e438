"""Leases on simulated clocks, the states of a host, and the frames of a line: all pure."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpshell.errors import InvalidTransition, ProtocolError
from mpshell.hosts import contact, frames, lease
from mpshell.hosts.packets import Way, fork_packet, host_packet, read_fork, read_host
from mpshell.wire import control

#: Seconds of a message that is sent at a time; None: it is lost.
Delay = Callable[[float], float | None]


class Wire:
    """Two clocks that differ, and messages between them that take the time that a test says."""

    def __init__(self, difference: float) -> None:
        #: The outpost's clock is ahead by this.
        self.difference = difference
        self.holder = lease.Holder(self.there(0.0))
        self.grantor = lease.Grantor()
        #: Messages on the way: (when they arrive, by the true time, to whom, the beat).
        self.way: list[tuple[float, str, float]] = []

    def there(self, now: float) -> float:
        return now + self.difference

    def run(self, until: float, delay_up: Delay, delay_down: Delay) -> None:
        """Beat each second; `delay_*` give the seconds of a message sent at a time, None: it is lost."""
        beats = [float(n) for n in range(int(until) + 1)]
        for sent in beats:
            if (delay := delay_up(sent)) is not None:
                self.way.append((sent + delay, "head", self.there(sent)))
        while self.way:
            self.way.sort()
            now, to, beat = self.way.pop(0)
            if now > until:
                break
            if to == "head":
                self.grantor.beat(beat, now)
                if (delay := delay_down(now)) is not None:
                    self.way.append((now + delay, "outpost", beat))
            else:
                self.holder.confirmed(beat, self.there(now))

    def check(self) -> None:
        """The switchboard never takes a lease for over that is not, the time to clear up included."""
        assert self.grantor.ended() >= self.holder.until - self.difference + lease.CLEAR - 1e-6


@pytest.mark.parametrize("difference", [0.0, 1e5, -1e5])
def test_a_lease_goes_on_while_beats_are_confirmed(difference: float) -> None:
    wire = Wire(difference)
    wire.run(100, lambda now: 0.05, lambda now: 0.05)
    wire.check()
    assert wire.holder.until == pytest.approx(wire.there(99 + lease.LEASE), abs=1.1)
    assert not wire.holder.over(wire.there(100))
    assert wire.holder.over(wire.there(100 + lease.LEASE))
    assert wire.grantor.ended() == pytest.approx(100 + lease.LEASE + lease.CLEAR, abs=1.1)


@pytest.mark.parametrize("cut", ["both", "up", "down"])
def test_a_cut_line_ends_the_lease_and_the_switchboard_knows_when(cut: str) -> None:
    wire = Wire(777.0)

    def passes(way: str, now: float) -> float | None:
        return None if now >= 50 and cut in ("both", way) else 0.01

    wire.run(80, lambda now: passes("up", now), lambda now: passes("down", now))
    wire.check()
    assert wire.holder.until - wire.difference <= 50 + lease.LEASE
    if cut != "down":
        assert wire.grantor.ended() <= 50 + lease.LEASE + lease.CLEAR + 0.1


def test_a_beat_that_was_stuck_gives_no_time() -> None:
    """A line that heals after six seconds brings all beats at once, and none of them extends the past."""
    wire = Wire(-5.0)
    stuck = lambda now: max(0.01, 56.5 - now) if now >= 50 else 0.01  # noqa: E731
    wire.run(57, stuck, lambda now: 0.01)
    wire.check()
    # The newest beat, of 56, counts from when it was sent.
    assert wire.holder.until == pytest.approx(wire.there(56 + lease.LEASE))
    wire = Wire(-5.0)
    wire.run(56, stuck, lambda now: 0.01)
    assert wire.holder.over(wire.there(54.6)), "the last that arrived in time was of 49"


@given(st.floats(-1e6, 1e6), st.integers(0, 1 << 30))
def test_whatever_the_delays_no_lease_outlives_the_knowledge(difference: float, seed: int) -> None:
    chance = random.Random(seed)

    def delay(now: float) -> float | None:
        return None if chance.random() < 0.1 else chance.expovariate(2.0)

    wire = Wire(difference)
    wire.run(60, delay, delay)
    if wire.grantor.ended():
        wire.check()


def test_a_false_confirmation_gives_no_more_than_one_of_now() -> None:
    holder = lease.Holder(100.0)
    assert holder.confirmed(1e9, 103.0)
    assert holder.until == 103.0 + lease.LEASE


def test_silence_counts_from_the_last_byte() -> None:
    grantor = lease.Grantor()
    grantor.heard(10.0)
    assert grantor.patience(10.0 + lease.SILENCE - 0.5) == 0.5
    assert grantor.patience(10.0 + lease.SILENCE) == 0


def test_a_host_that_never_answered_holds_nothing() -> None:
    assert lease.Grantor().ended() == 0.0


# -- the states of a host ----------------------------------------------------------------------


@pytest.mark.parametrize("state", contact.STATES)
@pytest.mark.parametrize("event", contact.EVENTS)
def test_every_pair_is_as_the_table_says(state: str, event: str) -> None:
    host = contact.Contact()
    host.state = state
    after = contact.TABLE[state].get(event)
    if after is None:
        with pytest.raises(InvalidTransition, match=event):
            host.handle(event)
    else:
        host.handle(event)
        assert host.state is after


@pytest.mark.parametrize(
    ("events", "effects"),
    [
        (["OPEN", "CUT"], ["CALL", "HANG_UP", "REFUSE"]),
        (["OPEN", "GREET"], ["CALL", "START_ALL"]),
        (
            ["OPEN", "GREET", "CUT", "CUT", "OVER", "OPEN"],
            ["CALL", "START_ALL", "HANG_UP", "FREEZE", "AWAIT_LEASE", "GIVE_UP", "CALL"],
        ),
    ],
)
def test_what_is_done_about_a_host(events: list[str], effects: list[str]) -> None:
    host = contact.Contact()
    assert [effect for event in events for effect in host.handle(event)] == effects


# -- frames ------------------------------------------------------------------------------------

SOME = [
    (frames.BEAT, 0, frames.pack_clock(1.5)),
    (frames.LAST, 7, b"x" * 60_000),
    (frames.END, 7, b""),
]
BYTES = b"".join(frames.pack(*frame) for frame in SOME)


@given(st.lists(st.integers(0, len(BYTES)), max_size=10))
def test_frames_arrive_however_they_are_cut(cuts: list[int]) -> None:
    reader = frames.Frames(greeted=True)
    edges = [0, *sorted(cuts), len(BYTES)]
    found = [f for a, b in itertools.pairwise(edges) for f in reader.feed(BYTES[a:b])]
    assert found == SOME


@pytest.mark.parametrize(
    "before", [b"", b"Welcome to gw1\r\n* no cookies *\n", b"\xff\x00" * 20_000, b"\n\n\nmpshell outpos\n"]
)  # fmt: skip
def test_what_a_login_writes_before_the_greeting_is_skipped(before: bytes) -> None:
    reader = frames.Frames(greeted=False)
    data = before + frames.GREETING + BYTES
    found = [f for at in range(0, len(data), 1000) for f in reader.feed(data[at : at + 1000])]
    assert found == SOME


def test_output_without_a_greeting_is_not_read_for_ever() -> None:
    reader = frames.Frames(greeted=False)
    with pytest.raises(ProtocolError, match="no greeting"):
        for _ in range(100):
            reader.feed(b"yes\n" * 1000)


def test_a_frame_that_is_too_long_is_refused_when_it_is_announced() -> None:
    with pytest.raises(ProtocolError, match="2000000000 bytes"):
        frames.Frames(greeted=True).feed((2_000_000_000).to_bytes(4, "big") + b"P" + bytes(4))


@pytest.mark.parametrize("body", [b"", b"123", b"123456789"])
def test_a_body_of_another_size_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        frames.unpack_number(body)
    with pytest.raises(ProtocolError):
        frames.unpack_clock(body)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_clock_that_no_clock_has_is_refused(value: float) -> None:
    with pytest.raises(ProtocolError, match="clock"):
        frames.unpack_clock(frames.pack_clock(value))


def test_packets_to_the_switchboard_are_read_as_written() -> None:
    way = Way("gw1", ("ssh", "gw1", "ü"), 20.0, (("A", "b"),))
    packet = host_packet(3, way)
    assert read_host(packet[control.PACKET.size :]) == way
    for library in ("", "asyncssh"):
        packet = fork_packet(9, 1 << 20, library)
        assert read_fork(packet[control.PACKET.size :]) == (1 << 20, library)
    for junk in (b"", b"{}", b"[1]", b"\xff"):
        with pytest.raises(ProtocolError):
            read_host(junk)
