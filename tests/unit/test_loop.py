"""The loop: descriptors, deadlines on a clock of the test's, wake-ups."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Iterator

import pytest

from mpshell.runtime.loop import EventLoop


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loop(clock: Clock) -> Iterator[EventLoop]:
    loop = EventLoop(clock)
    yield loop
    loop.close()


def test_deadlines_are_called_in_order_once_they_have_come(loop: EventLoop, clock: Clock) -> None:
    seen: list[str] = []
    loop.call_at(103, seen.append, "c")
    loop.call_at(101, seen.append, "a")
    loop.call_later(2, seen.append, "b")
    loop.run_once(poll_only=True)
    assert seen == []
    clock.now = 102
    loop.run_once(poll_only=True)
    assert seen == ["a", "b"]
    clock.now = 200
    loop.run_once(poll_only=True)
    assert seen == ["a", "b", "c"]


def test_a_cancelled_deadline_is_not_called(loop: EventLoop, clock: Clock) -> None:
    seen: list[str] = []
    handles = [loop.call_at(101, seen.append, str(n)) for n in range(3)]
    loop.call_at(100.5, handles[1].cancel)
    handles[0].cancel()
    handles[0].cancel()
    clock.now = 102
    loop.run_once(poll_only=True)
    assert seen == ["2"]
    assert [handle.cancelled() for handle in handles] == [True, True, False]


def test_cancelled_is_as_in_asyncio() -> None:
    """For a call before its time, one called off, one that was made, and one called off after that."""

    def history(loop: EventLoop | asyncio.AbstractEventLoop) -> list[bool]:
        called_off = loop.call_later(1000, print)
        seen = [called_off.cancelled()]
        called_off.cancel()
        made = loop.call_later(0, loop.stop)
        loop.run_forever()
        seen += [called_off.cancelled(), made.cancelled()]
        made.cancel()
        loop.close()
        return [*seen, made.cancelled()]

    assert history(EventLoop()) == history(asyncio.new_event_loop()) == [False, True, False, True]


def test_many_cancelled_deadlines_take_no_room(loop: EventLoop) -> None:
    for _ in range(5000):
        loop.call_later(1000, print).cancel()
    loop.call_later(0, loop.stop)
    loop.run_once()
    assert len(loop._timers) < 2500


@pytest.mark.parametrize("delay", [30 * 86400.0, 1e10, float("inf")])
def test_a_deadline_may_be_far_off(loop: EventLoop, delay: float) -> None:
    seen: list[str] = []
    loop.call_later(delay, seen.append, "due")

    def wake() -> None:
        seen.append("woken")
        loop.wake()

    waker = threading.Timer(0.05, wake)
    waker.start()
    loop.run_once()
    assert seen == ["woken"]
    waker.join()


def test_soon_is_this_turn_and_from_there_the_next(loop: EventLoop) -> None:
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.call_soon(seen.append, "second")

    loop.call_soon(first)
    loop.run_once()
    assert seen == ["first"]
    loop.run_once()
    assert seen == ["first", "second"]


def test_a_reader_puts_off_to_the_end_of_its_turn(loop: EventLoop, pipe: tuple[int, int]) -> None:
    seen: list[bytes] = []
    loop.add_reader(pipe[0], lambda: loop.call_soon(seen.append, os.read(pipe[0], 10)))
    os.write(pipe[1], b"x")
    loop.run_once()
    assert seen == [b"x"]


def test_readers_and_writers_come_and_go(loop: EventLoop, pipe: tuple[int, int]) -> None:
    seen: list[str] = []
    loop.add_writer(pipe[1], seen.append, "old")
    loop.add_writer(pipe[1], seen.append, "writable")
    loop.run_once()
    assert seen == ["writable"]
    assert loop.remove_writer(pipe[1])
    assert not loop.remove_writer(pipe[1])
    loop.add_reader(pipe[0], seen.append, "readable")
    loop.run_once(poll_only=True)
    assert seen == ["writable"]
    os.write(pipe[1], b"x")
    loop.run_once()
    assert seen == ["writable", "readable"]
    assert loop.remove_reader(pipe[0])
    loop.run_once(poll_only=True)
    assert seen == ["writable", "readable"]


def test_a_hang_up_without_a_reader_is_not_reported(loop: EventLoop, pipe: tuple[int, int]) -> None:
    seen: list[str] = []
    loop.add_reader(pipe[0], seen.append, "read")
    loop.remove_reader(pipe[0])
    os.close(pipe[1])
    loop.run_once(poll_only=True)
    assert seen == []
    loop.add_reader(pipe[0], seen.append, "end")
    loop.run_once()
    assert seen == ["end"]


def test_another_thread_wakes_it(loop: EventLoop) -> None:
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,))
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()


def test_an_error_goes_through_and_the_loop_goes_on(loop: EventLoop, clock: Clock) -> None:
    seen: list[str] = []

    def fail() -> None:
        raise RuntimeError("in a callback")

    loop.call_at(101, fail)
    loop.call_at(101.5, seen.append, "later")
    clock.now = 102
    with pytest.raises(RuntimeError):
        loop.run_once(poll_only=True)
    loop.run_once(poll_only=True)
    assert seen == ["later"]


def test_a_file_that_cannot_be_polled_is_refused_and_forgotten(loop: EventLoop) -> None:
    with open(os.devnull) as file:
        with pytest.raises(PermissionError):
            loop.add_reader(file.fileno(), print)
        assert not loop.remove_reader(file.fileno())


def test_a_called_deadline_keeps_nothing() -> None:
    loop = EventLoop()
    thing = threading.Event()
    kept = weakref.ref(thing)
    handle = loop.call_later(0, thing.is_set)
    handle2 = loop.call_later(0, lambda thing: None, thing)
    loop.run_once()
    del thing
    assert kept() is None and not handle.cancelled() and not handle2.cancelled()
    loop.close()
