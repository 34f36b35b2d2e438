"""The gate of connections: which ones it lets begin, on the test's clock. Bounds are its docstring's."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mpshell.engine.gate import LATEST, LONGER, SOONEST, Gate
from mpshell.runtime.loop import EventLoop
from tests.unit.test_loop import Clock


class Court:
    """Connections that begin when the gate lets them, and end when the test ends them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.loop = EventLoop(self.clock)
        self.gate = Gate(self.loop)
        self.making: list[tuple[str, int]] = []
        self.begun = 0

    def enter(self, address: str) -> None:
        def begin(begun: int) -> None:
            self.making.append((address, begun))
            self.begun += 1

        self.gate.enter(address, begin)

    def turn(self) -> None:
        self.loop.run_once(poll_only=True)

    def addresses(self) -> list[str]:
        return [address for address, _ in self.making]

    def leave(self, address: str, dropped: bool = False) -> None:
        """End the connection to an address that was begun first."""
        entry = next(entry for entry in self.making if entry[0] == address)
        self.making.remove(entry)
        self.gate.leave(*entry, dropped)
        self.turn()

    def close(self) -> None:
        self.loop.close()


def test_no_more_than_the_limit_at_once() -> None:
    court = Court()
    court.gate.set_limits(3, None)
    for n in range(9):
        court.enter(f"a{n}")
    court.turn()
    assert court.addresses() == ["a0", "a1", "a2"]
    court.leave("a1")
    assert court.addresses() == ["a0", "a2", "a3"]
    court.close()


def test_an_address_that_drops_gets_half_as_many_and_others_are_not_held_up() -> None:
    court = Court()
    for _ in range(48):
        court.enter("busy")
    court.turn()
    assert len(court.making) == 48
    for _ in range(10):
        # All of one moment: it is halved once.
        court.leave("busy", dropped=True)
    for _ in range(100):
        court.enter("busy")
    court.turn()
    assert len(court.making) == 38, "24 at once, from now on"
    court.enter("idle")
    court.turn()
    assert court.addresses().count("idle") == 1
    for _ in range(24):
        court.leave("busy")
    # Each that was made has raised it by one in as many as there are.
    assert 24 <= court.addresses().count("busy") <= 26
    court.close()


def test_one_at_least_is_tried() -> None:
    court = Court()
    for _ in range(50):
        court.enter("full")
        court.turn()
        assert court.addresses() == ["full"]
        court.leave("full", dropped=True)
    court.close()


def test_a_rate_is_kept() -> None:
    court = Court()
    court.gate.set_limits(100, 2.0)
    for n in range(10):
        court.enter(f"a{n}")
    begun = []
    for _ in range(41):
        court.turn()
        court.turn()
        begun.append(court.begun)
        court.clock.now += 0.1
    # Two a second, the first at once.
    assert begun[0] == 1
    assert begun[-1] in (8, 9)
    assert all(later - earlier <= 3 for earlier, later in zip(begun, begun[10:], strict=False))
    court.close()


def test_a_connection_that_withdraws_is_not_called() -> None:
    court = Court()
    court.gate.set_limits(1, None)
    court.enter("a")
    court.turn()
    called: list[str] = []

    def begin(begun: int) -> None:
        called.append("b")

    court.gate.enter("b", begin)
    court.gate.withdraw(begin)
    court.leave("a")
    assert not called
    court.close()


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["enter", "leave", "drop"])), max_size=200
    ),
    most=st.integers(1, 8),
)
def test_nothing_is_stuck_or_over_the_limit(steps: list[tuple[str, str]], most: int) -> None:
    court = Court()
    court.gate.set_limits(most, None)
    entered: Counter[str] = Counter()
    for address, step in steps:
        if step == "enter":
            entered[address] += 1
            court.enter(address)
            court.turn()
        elif address in court.addresses():
            court.leave(address, dropped=step == "drop")
        assert len(court.making) <= most
    while court.making:
        court.leave(court.addresses()[0])
        assert len(court.making) <= most
    assert court.begun == sum(entered.values())
    court.close()


def test_pauses_are_spread_over_their_range() -> None:
    court = Court()
    found = [court.gate.pause("idle") for _ in range(1000)]
    assert min(found) >= SOONEST and max(found) <= LATEST
    assert max(found) - min(found) > (LATEST - SOONEST) / 2
    court.close()


def test_pauses_are_longer_where_the_only_connection_is_dropped_time_and_again() -> None:
    """A server that refuses a source refuses any number (sshd_config(5), PerSourcePenalties)."""
    court = Court()

    def longest() -> float:
        return max(court.gate.pause("refusing") for _ in range(1000))

    for _ in range(10):
        court.enter("refusing")
        court.turn()
        court.leave("refusing", dropped=True)
    assert LATEST * LONGER / 2 < longest() <= LATEST * LONGER
    assert min(court.gate.pause("refusing") for _ in range(1000)) >= SOONEST
    court.enter("refusing")
    court.turn()
    court.leave("refusing")
    assert longest() <= LATEST, "it lets some in again"
    court.close()


def test_one_that_is_in_the_making_already_counts() -> None:
    court = Court()
    court.gate.set_limits(2, None)
    begun = court.gate.join("a")
    for _ in range(3):
        court.enter("a")
    court.turn()
    assert court.addresses() == ["a"]
    court.gate.leave("a", begun, dropped=True)
    court.turn()
    assert court.addresses() == ["a"], "there were two in the making: one is left to be"
    court.leave("a")
    assert court.addresses() == ["a"] * 2
    court.close()
