"""Runs over engines on other hosts: the same results as here, and what is different said."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from mpshell import (
    EngineStartError,
    EventHandler,
    Task,
    TaskSettingError,
    Worker,
    ssh_hosts,
)
from mpshell.hosts.launcher import HostsLauncher
from mpshell.hosts.packets import Way
from mpshell.launch.cpus import usable_cpus
from tests.hosts.conftest import OUTPOST, Ledger, local_hosts
from tests.support import eventually

#: Nodes of a run whose results are compared: `scripts/stress` has 3,000.
SWEEP = int(os.environ.get("MPSHELL_TEST_SWEEP", "300"))

#: Exit codes, signals, timeouts, both streams, long lines: by the node's rank.
MIX = """
case %n in
*0) exit 3;;
*1) kill -TERM $$;;
*2) echo out %h; echo err %h >&2;;
*3) printf '%%s\\n' one two three;;
*4) head -c 100000 /dev/zero | tr '\\0' x; echo;;
*5) case %n in 5) sleep 60;; esac; echo short;;
*6) printf 'no newline';;
*) echo %h;;
esac
"""


def digest(task: Task, nodes: int = SWEEP) -> str:
    """Run the mix and return one number for all that came of it."""
    worker = task.shell(MIX, nodes=f"n[0-{nodes - 1}]", remote=False, stderr=True, timeout=4)
    task.resume()
    found = hashlib.sha256()
    for outcome in sorted(worker.outcomes(), key=lambda outcome: str(outcome.node)):
        node = outcome.node
        kept = (outcome.reason, outcome.returncode, outcome.signal, outcome.timed_out)
        found.update(
            repr((node, *kept, worker.node_buffer(node), worker.node_error(node))).encode()
        )
    assert len(list(worker.outcomes())) == nodes
    return found.hexdigest()


def test_the_results_are_those_of_engines_here(task: Task) -> None:
    here = digest(task)
    task.set_info("launcher", local_hosts(2))
    assert digest(task) == here
    # Warm engines, and as many as the processors of the hosts are good for.
    assert digest(task) == here


def test_outcomes_say_where_and_when(task: Task) -> None:
    task.set_info("launcher", local_hosts(2, engines=1))
    before = time.time()
    worker = task.run("sleep 0.05", nodes="n[1-40]", remote=False)
    after = time.time()
    outcomes = list(worker.outcomes())
    assert {outcome.host for outcome in outcomes} <= {"gw1", "gw2"}
    for outcome in outcomes:
        assert outcome.started_at is not None
        assert before - 0.5 <= outcome.started_at <= after + 0.5


@pytest.mark.needs("root")
def test_a_host_may_have_any_clock(task: Task) -> None:
    """In a time namespace the clocks since boot are far ahead of those here (time_namespaces(7))."""
    ahead = ("unshare", "-T", "--monotonic", "100000", "--boottime", "200000", "--fork", *OUTPOST)
    task.set_info("launcher", HostsLauncher([Way("gw1", ahead, 60.0)], 1))
    before = time.time()
    worker = task.run("sleep 6", nodes="n[1-2]", remote=False)
    for outcome in worker.outcomes():
        assert outcome.ok, "the lease goes on"
        assert outcome.started_at is not None
        assert before - 0.5 <= outcome.started_at <= time.time()
        assert 6 <= outcome.duration < 30


#: An outpost of a host with one processor.
ON_ONE = (OUTPOST[0], "-P", "-c", "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
          "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])", *OUTPOST[1:])  # fmt: skip


def test_a_host_has_as_many_engines_as_processors(task: Task) -> None:
    launcher = HostsLauncher([Way("gw1", ON_ONE, 60.0), Way("gw2", OUTPOST, 60.0)])
    task.set_info("launcher", launcher)
    task.set_info("fanout", 16)
    found: set[tuple[str, int]] = set()

    def run() -> bool:
        worker = task.run("sleep 0.05", nodes="n[1-100]", remote=False)
        found.update((outcome.host, outcome.engine) for outcome in worker.outcomes())
        return Counter(host for host, _ in found) == {"gw1": 1, "gw2": usable_cpus()}

    # Both have to answer, and the second engine of one is asked for when its processors are known.
    assert eventually(run)
    assert launcher.capacity() == 1 + usable_cpus()
    for _ in range(3):
        assert run()


def test_commands_without_nodes_run_here(task: Task) -> None:
    task.set_info("launcher", local_hosts(1, engines=1))
    os.environ["MPSHELL_TEST_PLACE"] = "here"
    try:
        local = task.shell("echo $MPSHELL_TEST_PLACE", key="k")
        far = task.shell("echo $PPID", nodes="n[1-2]", remote=False)
        task.resume()
    finally:
        del os.environ["MPSHELL_TEST_PLACE"]
    assert local.read() == b"here"
    [outcome] = local.outcomes()
    assert outcome.host == ""
    assert {outcome.host for outcome in far.outcomes()} == {"gw1"}


def test_commands_there_get_the_variables_that_are_named(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All others are those of the host."""
    monkeypatch.setenv("MPSHELL_TEST_HOME", "/of here")
    env = (("MPSHELL_TEST_A", "there"), ("MPSHELL_TEST_HOME", "/there"))
    task.set_info("launcher", HostsLauncher([Way("gw1", OUTPOST, 60.0, env)], 1))
    line = 'echo "$MPSHELL_TEST_A $MPSHELL_TEST_HOME ${MPSHELL_TEST_UNSET-unset}"'
    assert task.run(line, nodes="n1", remote=False).node_buffer("n1") == b"there /there unset"
    task.set_info("remote_env", "MPSHELL_TEST_HOME  MPSHELL_TEST_UNSET")
    try:
        assert task.run(line, nodes="n1", remote=False).node_buffer("n1") == b"there /of here unset"
    finally:
        task.set_info("remote_env", "")


@pytest.mark.parametrize("value", [None, 3, "A=b", "A\0", ("A",)])
def test_names_of_variables_are_one_text(value: object, task: Task) -> None:
    with pytest.raises(TaskSettingError, match="remote_env is names of variables"):
        task.set_info("remote_env", value)


def test_a_fanout_of_one_is_serial_over_all_hosts(task: Task, tmp_path: Path) -> None:
    task.set_info("launcher", local_hosts(3, engines=1))
    task.set_info("fanout", 1)
    task.set_info("engines", 3)
    lock = tmp_path / "lock"
    worker = task.run(f"mkdir {lock} && sleep 0.02 && rmdir {lock}", nodes="n[1-30]", remote=False)
    assert all(outcome.ok for outcome in worker.outcomes())


def test_the_fanout_holds_for_each_place_by_itself(task: Task, tmp_path: Path) -> None:
    """One command runs here and one there, each waits for the other one; never two in one place."""
    task.set_info("launcher", local_hosts(2, engines=1))
    task.set_info("fanout", 1)

    def command(place: str, other: str) -> str:
        alone = f"mkdir {tmp_path}/{place}.alone || exit 9; touch {tmp_path}/{place}"
        both = f"until test -e {tmp_path}/{other}; do sleep 0.02; done; sleep 0.05"
        return f"{alone}; {both}; rmdir {tmp_path}/{place}.alone"

    here = [task.shell(command("here", "there"), key=f"k{n}", timeout=60) for n in range(3)]
    there = task.shell(command("there", "here"), nodes="n[1-5]", remote=False, timeout=60)
    task.resume()
    ends = [outcome for worker in (*here, there) for outcome in worker.outcomes()]
    assert [(outcome.reason, outcome.returncode) for outcome in ends] == [("exit", 0)] * 8


def test_stdin_reaches_every_command(task: Task) -> None:
    task.set_info("launcher", local_hosts(2, engines=2))
    worker = task.shell("md5sum", nodes="n[1-12]", remote=False)
    data = os.urandom(1 << 16) * 48
    worker.write(data)
    worker.set_write_eof()
    task.resume()
    wanted = hashlib.md5(data).hexdigest().encode() + b"  -"
    assert {text.message() for text, _ in worker.iter_buffers()} == {wanted}
    assert worker.num_timeout() == 0 and all(outcome.ok for outcome in worker.outcomes())


class Slow(EventHandler):
    """Takes longer for its first line than a lease is."""

    def __init__(self) -> None:
        self.lines = 0

    def ev_read(self, worker: Worker, node: str, sname: str, msg: bytes) -> None:
        if not self.lines:
            stop = time.monotonic() + 12
            while time.monotonic() < stop:
                threading.Event().wait(0.5)
        self.lines += 1


def test_a_slow_handler_costs_no_lease(task: Task) -> None:
    """More than a window of output waits meanwhile, and no engine and no host is given up."""
    task.set_info("launcher", local_hosts(2, engines=1))
    handler = Slow()
    worker = task.shell(
        "yes 1234567890123456789012345678901234567890 | head -n 20000; sleep 1",
        nodes="n[1-8]", handler=handler, remote=False,
    )  # fmt: skip
    task.resume()
    assert [outcome.reason for outcome in worker.outcomes()] == ["exit"] * 8
    assert handler.lines == 8 * 20000


def test_an_abort_ends_what_runs_there(task: Task, ledger: Ledger) -> None:
    task.set_info("launcher", local_hosts(2, engines=1))
    worker = task.shell(f"{ledger.command}; exec sleep 60", nodes="n[1-4]", remote=False)

    def abort() -> None:
        if eventually(lambda: len(ledger.lines()) == 4):
            worker.abort()

    thread = threading.Thread(target=abort)
    thread.start()
    began = time.monotonic()
    task.resume()
    thread.join()
    assert time.monotonic() - began < 40
    assert [outcome.reason for outcome in worker.outcomes()] == ["cancelled"] * 4
    from tests.engine.conftest import alive

    assert eventually(lambda: not any(alive(pid) for _, _, pid in ledger.lines()))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ssh_hosts(""), "no host"),
        (lambda: ssh_hosts("gw1", engines=0), "engines"),
        (lambda: ssh_hosts("gw1", engines=True), "engines"),
        (lambda: ssh_hosts("gw1", options="-F 'x"), "options"),
        (lambda: ssh_hosts("gw1", options=cast(str, 3)), "options"),
        (lambda: ssh_hosts("gw1", python="x" * 40000), "longer"),
    ],
)
def test_bad_values_are_refused_at_the_call(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(TaskSettingError, match=text):
        make()


@pytest.mark.parametrize("value", ["gw1", 3, object()])
def test_a_launcher_is_one(value: object, task: Task) -> None:
    with pytest.raises(TaskSettingError, match="launcher"):
        task.set_info("launcher", value)


# -- hosts that cannot be used -----------------------------------------------------------------

HELLO = (
    "import signal, struct, sys\n"
    'body = b\'{"version": "0.0", "cpus": 1, "boottime": 1.0, "monotonic": 1.0, "stage": "/x", "lacks": {}}\'\n'
    "sys.stdout.buffer.write(b'\\nmpshell outpost\\n' + struct.pack('!IcI', len(body), b'H', 0) + body)\n"
    "sys.stdout.flush(); signal.pause()\n"
)

#: The words of a program, and what is reported of its host.
BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "no such program": (("/nonexistent/ssh",), "No such file"),
    "ends at once": (("sh", "-c", "echo nothing here >&2; exit 255"), "nothing here"),
    "without Python": (("sh", "-c", "exec python3-of-nowhere -m x"), "not found"),
    "another version": ((OUTPOST[0], "-c", HELLO), "it has mpshell 0.0, this program"),
    "garbage": (("sh", "-c", "yes | head -c 200000; sleep 60"), "no greeting"),
    "never answers": (("sleep", "60"), "no answer within 2 s"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_host_is_skipped_and_listed(bad: str, task: Task) -> None:
    argv, why = BAD[bad]
    launcher = HostsLauncher([Way("bad", argv, 2.0), Way("gw1", OUTPOST, 60.0)], 1)
    task.set_info("launcher", launcher)
    worker = task.shell("echo %h; sleep 0.2", nodes="n[1-100]", remote=False)
    task.set_info("fanout", 5)
    task.resume()
    assert {(outcome.reason, outcome.host) for outcome in worker.outcomes()} == {("exit", "gw1")}
    assert list(launcher.skipped) == ["bad"]
    assert why in launcher.skipped["bad"] and launcher.skipped["bad"].startswith("bad: ")


def test_without_any_host_there_is_one_error_with_each_reason(task: Task) -> None:
    ways = [Way("a", BAD["ends at once"][0], 5.0), Way("b", BAD["no such program"][0], 5.0)]
    task.set_info("launcher", HostsLauncher(ways, 1))
    with pytest.raises(
        EngineStartError, match=r"no host can be used: a: nothing here; b: .*No such"
    ):
        task.run("true", nodes="n[1-50]", remote=False)


def test_what_a_login_writes_is_no_answer(task: Task) -> None:
    argv = ("sh", "-c", 'echo "Welcome to this host"; exec "$@"', "sh", *OUTPOST)
    task.set_info("launcher", HostsLauncher([Way("gw1", argv, 60.0)], 1))
    worker = task.run("echo %h", nodes="n[1-5]", remote=False)
    assert all(outcome.ok for outcome in worker.outcomes())


def test_nothing_is_left_of_hosts_after_cleanup(task: Task) -> None:
    import psutil

    from mpshell import task_cleanup

    task.set_info("launcher", local_hosts(2, engines=1))
    worker = task.run("echo $PPID; sleep 0.05", nodes="n[1-40]", remote=False)
    engines = {int(text.message()) for text, _ in worker.iter_buffers()}
    processes = [
        p for pid in engines for p in (psutil.Process(pid), *psutil.Process(pid).parents()[:2])
    ]
    task_cleanup()
    assert eventually(lambda: not any(p.is_running() for p in processes))
