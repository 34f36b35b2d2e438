"""Signals that are put off: when their handlers are called, and that nothing of the user's is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from mpshell.coordinator.interrupt import Interrupts


class OopsError(Exception):
    """Raised by a handler."""


def oops(number: int, frame: Any) -> None:
    raise OopsError(number)


@pytest.fixture
def got() -> Iterator[list[int]]:
    """Give the signals that the handler of SIGUSR1 received; the handler of SIGUSR2 raises."""
    numbers: list[int] = []
    before = [(n, signal.getsignal(n)) for n in (signal.SIGUSR1, signal.SIGUSR2)]
    signal.signal(signal.SIGUSR1, lambda number, frame: numbers.append(number))
    signal.signal(signal.SIGUSR2, oops)
    yield numbers
    for number, handler in before:
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_put_off_and_called_once_when_lifted(got: list[int]) -> None:
    woken: list[int] = []
    with Interrupts() as interrupts:
        interrupts.wake = lambda: woken.append(1)
        send(signal.SIGUSR1)
        send(signal.SIGUSR1)
        assert (got, woken) == ([], [1, 1])
        interrupts.lift()
        assert got == [signal.SIGUSR1]
        send(signal.SIGUSR1)
        assert len(got) == 2, "at once while it is open"
        interrupts.open = False
        send(signal.SIGUSR1)
        assert len(got) == 2
    assert len(got) == 3, "at the end at the latest"


def test_an_exception_of_a_handler_passes_through_its_delivery(got: list[int]) -> None:
    with Interrupts() as interrupts:
        send(signal.SIGUSR2)
        with pytest.raises(OopsError):
            interrupts.lift()
        interrupts.open = False
        interrupts.deliver()
        with pytest.raises(OopsError):
            interrupts.open = True
            send(signal.SIGUSR2)
            send(0)


def test_a_handler_that_was_put_off_can_be_interrupted(got: list[int]) -> None:
    def slow(number: int, frame: Any) -> None:
        send(signal.SIGUSR2)
        got.append(-1)

    signal.signal(signal.SIGUSR1, slow)
    with Interrupts() as interrupts:
        send(signal.SIGUSR1)
        with pytest.raises(OopsError):
            interrupts.deliver()
        assert got == [] and not interrupts.open


def test_one_that_raises_at_the_end_keeps_no_other_back(got: list[int]) -> None:
    for first, second in ((signal.SIGUSR1, signal.SIGUSR2), (signal.SIGUSR2, signal.SIGUSR1)):
        got.clear()
        with pytest.raises(OopsError), Interrupts():
            send(first)
            send(second)
        assert got == [signal.SIGUSR1]
        assert signal.getsignal(signal.SIGUSR2) is oops


def test_one_that_raises_while_they_are_taken_over_leaves_them_all_in_place(
    got: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = signal.getsignal(signal.SIGUSR1)

    def take_over(self: Interrupts) -> None:
        taken(self)
        raise OopsError

    taken = Interrupts._take_over
    monkeypatch.setattr(Interrupts, "_take_over", take_over)
    with pytest.raises(OopsError), Interrupts():
        pytest.fail("not entered")
    assert signal.getsignal(signal.SIGUSR1) is mine and signal.getsignal(signal.SIGUSR2) is oops


def test_put_off_ones_are_called_in_python_s_order(got: list[int]) -> None:
    signal.signal(signal.SIGUSR2, signal.getsignal(signal.SIGUSR1))
    with Interrupts():
        send(signal.SIGUSR2)
        send(signal.SIGUSR1)
    assert got == [signal.SIGUSR1, signal.SIGUSR2]


def test_one_that_is_put_back_late_makes_no_chain(got: list[int]) -> None:
    mine = signal.getsignal(signal.SIGUSR1)
    for _ in range(3):
        with Interrupts():
            stale = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, stale)
    with Interrupts() as interrupts:
        assert interrupts._handlers[signal.SIGUSR1] is mine
    assert signal.getsignal(signal.SIGUSR1) is mine


def test_one_within_another_leaves_the_outer_one_in_place(got: list[int]) -> None:
    with Interrupts() as outer:
        with Interrupts():
            pass
        assert signal.getsignal(signal.SIGUSR2) == outer._on_signal
        send(signal.SIGUSR1)
        assert got == []
    assert got == [signal.SIGUSR1]


def test_one_that_was_put_in_for_another_signal_is_that_of_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGWINCH)
    try:
        for _ in range(2):
            with Interrupts() as interrupts:
                signal.signal(signal.SIGWINCH, signal.getsignal(signal.SIGINT))
                send(signal.SIGWINCH)
                with pytest.raises(KeyboardInterrupt):
                    interrupts.lift()
    finally:
        signal.signal(signal.SIGWINCH, before)


def test_a_signal_pending_in_the_parent_is_not_for_its_fork(got: list[int]) -> None:
    with Interrupts():
        send(signal.SIGUSR1)
        pid = os.fork()
        if pid == 0:
            os._exit(10 + len(got))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 10
    assert got == [signal.SIGUSR1]


def test_a_handler_that_was_replaced_meanwhile_stays(got: list[int]) -> None:
    with Interrupts():
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN


def test_a_fork_has_the_handlers_of_the_program(got: list[int]) -> None:
    mine = signal.getsignal(signal.SIGUSR1)
    with Interrupts():
        pid = os.fork()
        if pid == 0:
            send(signal.SIGUSR1)
            os._exit(10 * (signal.getsignal(signal.SIGUSR1) is mine) + len(got))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 11
        assert signal.getsignal(signal.SIGUSR1) is not mine
