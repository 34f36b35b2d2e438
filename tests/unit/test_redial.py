"""A program that is started again after a drop by its server, on a clock and with a log of the test's.

The lines are those of OpenSSH 9.2 and 10.0 with LogVerbose; ssh(1) defines what they prove.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from mpshell.engine import client as states
from mpshell.engine import redial
from mpshell.engine.gate import LATEST, LONGER, LONGEST, Gate
from mpshell.engine.log import ClientLog, LogLines
from mpshell.engine.redial import Dial
from mpshell.runtime.loop import EventLoop
from mpshell.worker.ssh_log import SshLog
from tests.unit.test_loop import Clock

CONNECTING = b"debug1: sshconnect.c:ssh_connect_direct():485 (pid=1): Connecting to a [127.0.0.1] port 22.\r\n"
SECURED = b"debug1: sshconnect2.c:userauth():1 (pid=1): Next authentication method: publickey\r\n"
OPENED = b"sshconnect2.c:ssh_userauth2():580 (pid=1): Authenticated to a ([127.0.0.1]:22).\r\n"
PROXIED = (
    b"debug1: sshconnect.c:ssh_proxy_connect():1 (pid=1): Executing proxy command: exec nc\r\n"
)
DROPS = [
    b"kex_exchange_identification: Connection closed by remote host\r\n"
    b"Connection closed by 127.0.0.1 port 22\r\n",
    b"Connection closed by 127.0.0.1 port 22\r\n",
    b"kex_exchange_identification: read: Connection reset by peer\r\n",
    b"Connection reset by 127.0.0.1 port 22\r\n",
    b"banner exchange: Connection to 127.0.0.1 port 22: Broken pipe\r\n",
    # OpenSSH 10.0, where the level hides the messages: forced lines of LogVerbose.
    b"kex.c:kex_exchange_identification():1 (bin=ssh, pid=1): Connection closed by remote host\r\n",
    b"debug1: kex.c:kex_exchange_identification():1 (bin=ssh, pid=1): write: Broken pipe\r\n",
]
DROP = DROPS[0]
OTHERS = [
    b"Permission denied (publickey).\r\n",
    b"Host key verification failed.\r\n",
    b"Connection timed out during banner exchange\r\nConnection to 127.0.0.1 port 22 timed out\r\n",
    b"Unable to negotiate with 127.0.0.1 port 22: no matching cipher found. Their offer: x\r\n",
    b"banner exchange: Connection to 127.0.0.1 port 22: invalid format\r\n",
    b"ssh: connect to host a port 22: Connection refused\r\n",
]


class Job:
    log_lines = LogLines(SshLog("INFO", True, 10.0).format())


class FakeExecution:
    """A dial's view of its client."""

    job = Job

    def __init__(self) -> None:
        self.state: str = states.RUNNING
        self.log = ClientLog(Job.log_lines)
        self.carrier: Any = self
        self.killed = 0

    def kill(self) -> None:
        self.killed += 1


class Bench:
    """An engine's part around one dial, or some."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.loop = EventLoop(self.clock)
        self.gate = Gate(self.loop)
        self.owner: Any = self
        self.started = 0
        self.has_room = True
        self.ended_with: list[tuple[int, bool]] = []
        self.notices: list[str] = []
        self.execution = FakeExecution()
        texts = Job.log_lines.redial
        assert texts is not None
        self.dial = Dial(self, cast("Any", self.execution), texts)

    def start_again(self, execution: Any) -> bool:
        if self.has_room:
            execution.log = ClientLog(Job.log_lines)
            self.started += 1
        return self.has_room

    def ended(self, execution: Any, status: int, signaled: bool) -> None:
        self.ended_with.append((status, signaled))

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def log(self, data: bytes) -> bytes:
        """Have the program write to its log; return what the user sees of it."""
        log = self.execution.log
        messages = log.take(data)
        return self.dial.look(log.notes, messages)

    def drop(self) -> bool:
        self.log(CONNECTING + DROP)
        goes_on = self.dial.goes_on(255, False)
        if goes_on:
            self.dial.pause()
        return goes_on

    def wait(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now = min(self.clock.now + 0.05, until)
            for _ in range(3):
                self.loop.run_once(poll_only=True)

    def wait_for_program(self, step: float) -> None:
        """Wait for the next program, or for the end of the time: it may end while that program connects."""
        while self.dial.state in (redial.PAUSING, redial.WAITING):
            self.wait(step)
        if self.dial.state == redial.LATE:
            assert self.execution.killed == 1 and not self.dial.goes_on(9, True)
            self.ended(self.execution, *self.dial.verdict(9, True))


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.loop.close()


@pytest.mark.parametrize("drop", DROPS)
def test_a_dropped_program_is_started_again(bench: Bench, drop: bytes) -> None:
    assert bench.log(CONNECTING + drop) == b"", "it is no message for the user"
    assert bench.dial.goes_on(255, False)
    bench.dial.pause()
    assert bench.started == 0
    bench.wait(LATEST + 0.2)
    assert bench.started == 1 and not bench.ended_with
    assert bench.log(CONNECTING + b"banner\r\n") == b""
    assert bench.log(OPENED) == b"banner\r\n", "messages come when it is logged in"
    assert bench.log(b"more\r\n") == b"more\r\n"
    assert not bench.dial.goes_on(0, False)
    assert bench.dial.verdict(0, False) == (0, False) and not bench.notices


@pytest.mark.parametrize("other", OTHERS)
def test_no_other_failure_is_tried_again(bench: Bench, other: bytes) -> None:
    bench.log(CONNECTING + other)
    assert not bench.dial.goes_on(255, False)
    assert bench.dial.verdict(255, False) == (255, False)
    assert bench.dial.take_messages() == other


@pytest.mark.parametrize(
    "log", [CONNECTING + OPENED + DROP, CONNECTING + SECURED + DROP, DROP, PROXIED + DROP]
)
def test_what_proves_nothing_is_not_tried_again(bench: Bench, log: bytes) -> None:
    """After a login a command may have run; a jump host may have refused the login, and would count it."""
    bench.log(log)
    assert not bench.dial.goes_on(255, False)


def test_an_end_by_a_signal_or_with_success_is_not_tried_again(bench: Bench) -> None:
    bench.log(CONNECTING + DROP)
    assert not bench.dial.goes_on(9, True) and not bench.dial.goes_on(0, False)


def test_all_tries_have_one_time_to_connect(bench: Bench) -> None:
    """As many tries as ten seconds allow; the reported reason is the last drop's."""
    begun = bench.clock.now
    tries = 0
    while bench.drop():
        tries += 1
        bench.wait(0.01)
        bench.wait_for_program(0.1)
    assert bench.ended_with == [(255, False)] and tries > 1
    assert 9.5 < bench.clock.now - begun < 10.6
    assert bench.dial.take_messages() == DROP and len(bench.notices) == 1


def test_a_first_drop_after_the_time_to_connect_is_the_last(bench: Bench) -> None:
    bench.wait(10.1)
    assert not bench.drop()
    assert bench.dial.verdict(255, False) == (255, False)
    assert bench.dial.take_messages() == DROP and len(bench.notices) == 1


def test_a_program_that_hangs_is_killed_when_the_time_is_over(bench: Bench) -> None:
    assert bench.drop()
    dropped = bench.execution.log
    bench.wait(LATEST + 0.2)
    bench.log(CONNECTING)
    bench.wait(8)
    assert bench.execution.killed == 1
    assert not bench.dial.goes_on(9, True)
    assert bench.dial.verdict(9, True) == (255, False)
    assert bench.execution.log is dropped and bench.dial.take_messages() == DROP


def test_one_that_logs_in_late_is_not_killed(bench: Bench) -> None:
    """The limit of ssh(1) is over with the key exchange."""
    assert bench.drop()
    bench.wait(LATEST + 0.2)
    bench.log(CONNECTING + SECURED)
    bench.wait(30)
    assert bench.execution.killed == 0
    bench.log(OPENED)
    assert bench.dial.state == redial.OPEN


def test_one_that_logs_in_while_it_is_killed_may_have_run_something(bench: Bench) -> None:
    assert bench.drop()
    bench.wait(LATEST + 0.2)
    bench.log(CONNECTING)
    bench.wait(8)
    own = bench.execution.log
    bench.log(OPENED)
    assert bench.dial.verdict(9, True) == (255, False)
    assert bench.execution.log is own and b"Authenticated to " in own.notes


def test_without_a_limit_it_is_tried_for_as_long_as_sshd_holds_a_place() -> None:
    bench = Bench()
    texts = LogLines(SshLog("INFO", True).format()).redial
    assert texts is not None
    bench.dial = Dial(bench, cast("Any", bench.execution), texts)
    begun = bench.clock.now
    while bench.drop():
        bench.wait_for_program(0.25)
    assert bench.ended_with == [(255, False)]
    assert LONGEST - 1 < bench.clock.now - begun < LONGEST + 1
    bench.loop.close()


@pytest.mark.parametrize("waits", [True, False])
def test_an_end_between_two_programs(bench: Bench, waits: bool) -> None:
    """A timeout or an abort: it has ended at once, and nothing is started any more."""
    if waits:
        bench.gate.set_limits(1, None)
        bench.gate.join("another")
    assert bench.drop()
    if waits:
        bench.wait(LATEST + 0.2)
        assert bench.dial.state == redial.WAITING
    bench.execution.state = states.STOPPING
    bench.dial.terminate()
    bench.wait(LATEST * LONGER)
    assert bench.ended_with == [(255, False)] and bench.started == 0


def test_one_without_room_is_started_when_there_is_some(bench: Bench) -> None:
    assert bench.drop()
    bench.has_room = False
    bench.wait(LATEST + 0.2)
    assert bench.started == 0 and not bench.ended_with
    bench.has_room = True
    bench.wait(LATEST + 0.2)
    assert bench.started == 1


def test_of_several_addresses_the_last_one_has_dropped_it(bench: Bench) -> None:
    """ssh tries one after the other: the first one takes no connection."""
    other = CONNECTING.replace(b"[127.0.0.1]", b"[::1]")
    bench.log(other)
    assert bench.gate.join(("127.0.0.1", 22)) == 0
    bench.log(CONNECTING + DROP)
    assert bench.dial.goes_on(255, False)
    assert bench.gate.join(("127.0.0.1", 22)) == 1, "it has dropped one"
    assert bench.gate.join(("::1", 22)) == 0


def test_the_gate_knows_how_many_are_in_the_making(bench: Bench) -> None:
    """Each program counts from its address on, until it is logged in or over."""
    place = ("127.0.0.1", 22)
    bench.gate.set_limits(1, None)
    bench.log(CONNECTING)
    entered: list[int] = []
    bench.gate.enter(place, entered.append)
    bench.wait(0.1)
    assert not entered
    bench.log(OPENED)
    bench.wait(0.1)
    assert entered == [0]
