"""Timeouts: of a node, of a run; the kept results, the reports, the killed processes."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpshell import ExecWorker, Task, TaskError, TimeoutError
from tests.support import eventually
from tests.system.recorder import Marks, Recorder, alive, kill_all, read_pids, within

Sweep = Callable[..., ExecWorker]


def test_a_timeout_counts_for_each_node_from_its_own_start(solo_task: Task) -> None:
    solo_task.set_info("fanout", 1)
    worker = ExecWorker("n[1-3]", None, command="sleep 1.5", timeout=4)
    solo_task.schedule(worker)
    solo_task.resume()
    assert worker.num_timeout() == 0 and solo_task.max_retcode() == 0


def test_timed_out_nodes_have_no_retcode_and_keep_their_output(
    solo_task: Task, solo_sweep: Sweep
) -> None:
    worker = solo_sweep("n[1-3]", "echo some; echo here...; sleep 60", timeout=3)
    for node in ("n1", "n2", "n3"):
        assert worker.node_buffer(node) == b"some\nhere..."
        with pytest.raises(KeyError):
            worker.node_retcode(node)
        with pytest.raises(KeyError):
            solo_task.node_retcode(node)
    assert worker.num_timeout() == 3 == solo_task.num_timeout()
    assert list(worker.iter_retcodes()) == [] == list(solo_task.iter_retcodes())
    assert solo_task.max_retcode() is None and worker.did_timeout()


def test_workers_have_timeouts_of_their_own(task: Task) -> None:
    workers = {
        None: ExecWorker("a[1-2]", None, command="sleep 0.6"),
        0.2: ExecWorker("b[1-2]", None, command="sleep 60", timeout=0.2),
        0.4: ExecWorker("c[1-2]", None, command="echo x; sleep 60", timeout=0.4),
        30: ExecWorker("d[1-2]", None, command="true", timeout=30),
    }
    for worker in workers.values():
        task.schedule(worker)
    with within(15):
        task.resume()
    assert {key: worker.num_timeout() for key, worker in workers.items()} == {
        None: 0,
        0.2: 2,
        0.4: 2,
        30: 0,
    }
    assert [bool(worker.did_timeout()) for worker in workers.values()] == [False, True, True, False]
    assert task.num_timeout() == 4
    assert sorted(task.iter_keys_timeout()) == ["b1", "b2", "c1", "c2"]


def test_timeout_zero_fires_at_once(solo_task: Task, solo_sweep: Sweep) -> None:
    with within(15):
        worker = solo_sweep("n[1-2]", "sleep 60", timeout=0)
    assert worker.num_timeout() == 2


def test_a_local_command_times_out(solo_task: Task) -> None:
    seen = Recorder()
    worker = solo_task.shell("echo x; sleep 60", key="k", timeout=3, handler=seen)
    solo_task.resume()
    assert worker.did_timeout() and worker.retcode() is None and worker.read() == b"x"
    assert list(solo_task.iter_keys_timeout()) == ["k"]
    assert seen.names() == ["start", "pickup", "read", "close"] and seen.closes() == [True]


def test_command_timeout_holds_for_every_transport(solo_task: Task, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nsleep 60\n")
    ssh.chmod(0o755)
    solo_task.set_info("ssh_path", str(ssh))
    solo_task.set_info("command_timeout", 3)
    solo_task.shell("sleep 60", key="local")
    solo_task.shell("sleep 60", nodes="remote", remote=True)
    solo_task.schedule(ExecWorker("slow,quick", None, command="[ %h = quick ] || sleep 60"))
    solo_task.resume()
    assert sorted(solo_task.iter_keys_timeout()) == ["local", "remote", "slow"]
    assert solo_task.node_retcode("quick") == 0


def test_run_with_a_command_takes_a_timeout_of_the_command(solo_task: Task) -> None:
    with within(15):
        worker = solo_task.run("sleep 60", timeout=0.3)
    assert worker is not None and solo_task.num_timeout() == 1
    assert solo_task.run("false") and solo_task.max_retcode() == 1


@pytest.mark.parametrize("form", ["resume", "run", "run_keyword"])
def test_the_timeout_of_a_run_is_an_error_of_the_library(solo_task: Task, form: str) -> None:
    solo_task.shell("sleep 60")
    call: dict[str, Callable[[], object]] = {
        "resume": lambda: solo_task.resume(0.3),
        "run": lambda: solo_task.run(0.3),
        "run_keyword": lambda: solo_task.run(timeout=0.3),
    }
    with within(15), pytest.raises(TimeoutError) as caught:
        call[form]()
    assert isinstance(caught.value, TaskError)
    assert not isinstance(caught.value, builtins.TimeoutError)
    assert solo_task.timeout == 0.3


def test_a_run_within_its_timeout_just_ends(solo_task: Task) -> None:
    worker = ExecWorker("n[1-5]", None, command="sleep 0.2")
    solo_task.schedule(worker)
    solo_task.resume(30)
    assert len(list(worker.iter_node_retcodes())) == 5


def test_a_timeout_of_the_run_closes_started_nodes_and_keeps_results(
    task: Task, marks: Marks
) -> None:
    task.set_info("fanout", 2)
    seen = Recorder()
    worker = ExecWorker("n[1-6]", seen, command=marks.command("echo %h; sleep 60"))
    task.schedule(worker)
    with within(15), pytest.raises(TimeoutError):
        task.resume(4)
    assert sorted(worker.iter_keys_timeout()) == ["n1", "n2"] == sorted(seen.nodes("pickup"))
    assert task.num_timeout() == 2
    assert seen.closes() == [True] and seen.names()[-1] == "close" and not seen.of("hup")
    assert worker.node_buffer("n1") == b"n1" and worker.node_buffer("n3") is None
    task.run("sleep 0.3")
    assert sorted(marks.begun()) == ["n1", "n2"]
    assert task.num_timeout() == 0 and task.max_retcode() == 0


def test_a_timeout_of_the_run_beats_later_ones_of_workers(solo_task: Task) -> None:
    for timeout in (20, 30):
        solo_task.schedule(ExecWorker("n[1-2]", None, command="sleep 60", timeout=timeout))
    with within(15), pytest.raises(TimeoutError):
        solo_task.resume(4)
    assert solo_task.num_timeout() == 4 and set(solo_task.iter_keys_timeout()) == {"n1", "n2"}


def test_a_timeout_of_the_run_does_not_disturb_an_end_that_has_begun(solo_task: Task) -> None:
    """It falls into the grace of a command that the error of a handler ends."""

    def fail(*args: Any) -> None:
        raise OSError("of the handler")

    solo_task.set_info("grace", 6.0)
    seen = Recorder(read=fail)
    solo_task.shell("trap '' TERM; echo x; sleep 60", key="k", handler=seen)
    with pytest.raises(OSError, match="of the handler"):
        solo_task.resume(4)
    assert seen.closes() == [False] and solo_task.num_timeout() == 0
    assert solo_task.run("echo on").read() == b"on"


def test_worker_timeouts_hold_under_a_longer_timeout_of_the_run(solo_task: Task) -> None:
    worker = ExecWorker("n[1-2]", None, command="sleep 60", timeout=0.3)
    solo_task.schedule(worker)
    solo_task.resume(30)
    assert worker.num_timeout() == 2


def test_output_does_not_put_off_the_timeout_of_the_run(solo_task: Task) -> None:
    command = "i=0; while [ $i -lt 100 ]; do echo x; sleep 0.1; i=$((i+1)); done"
    solo_task.shell(command)
    with within(8), pytest.raises(TimeoutError):
        solo_task.resume(0.7)


def test_the_timeout_of_the_run_holds_for_timers_too(solo_task: Task) -> None:
    seen = Recorder()
    solo_task.timer(60, seen)
    with within(15), pytest.raises(TimeoutError):
        solo_task.resume(0.3)
    assert seen.events == []


def test_the_unterminated_last_line_is_delivered_at_a_timeout(
    solo_task: Task, solo_sweep: Sweep
) -> None:
    seen = Recorder()
    command = "printf 'whole\\npart %h'; sleep 60"
    worker = solo_sweep("n[1-2]", command, timeout=3, handler=seen)
    for node in ("n1", "n2"):
        assert seen.lines(node) == [b"whole", b"part " + node.encode()]
        assert worker.node_buffer(node) == b"whole\npart " + node.encode()
    assert seen.names()[-1] == "close"


def test_a_child_that_closes_its_streams_and_lives_on_stalls_nothing(solo_task: Task) -> None:
    seen = Recorder()
    mute = ExecWorker("m1", seen, command="exec >&- 2>&- <&-; sleep 60", timeout=4)
    other = ExecWorker("n[1-4]", seen, command="sleep 1; echo x")
    solo_task.timer(0.1, seen)
    solo_task.schedule(mute)
    solo_task.schedule(other)
    with within(15):
        solo_task.resume()
    assert mute.num_timeout() == 1 and other.num_timeout() == 0
    assert seen.rcs() == dict.fromkeys(["n1", "n2", "n3", "n4"], 0)
    assert seen.names().index("timer") < seen.names().index("close")
    assert seen.closes() == [False, True]


def test_a_child_that_closed_its_streams_has_the_code_of_its_exit(solo_sweep: Sweep) -> None:
    worker = solo_sweep("n[1-2]", "exec >&- 2>&-; sleep 0.3; exit 9", timeout=30)
    assert dict(worker.iter_node_retcodes()) == {"n1": 9, "n2": 9}


def test_a_timeout_ends_the_whole_process_group(solo_sweep: Sweep, pid_file: Path) -> None:
    command = f"sleep 60 & echo $! >> {pid_file}; sh -c 'echo $$ >> {pid_file}; sleep 60; :'; :"
    solo_sweep("n[1-3]", command, timeout=3)
    pids = read_pids(pid_file)
    assert len(pids) == 6
    assert eventually(lambda: not any(alive(pid) for pid in pids), 20)


def test_what_ignores_the_first_signal_is_killed_after_the_grace(
    solo_task: Task, solo_sweep: Sweep, pid_file: Path
) -> None:
    solo_task.set_info("grace", 0.3)
    command = f"trap '' TERM; sleep 60 & echo $$ $! >> {pid_file}; wait; sleep 60; :"
    worker = solo_sweep("n[1-2]", command, timeout=3)
    pids = read_pids(pid_file)
    assert worker.num_timeout() == 2 and len(pids) == 4
    assert eventually(lambda: not any(alive(pid) for pid in pids), 20)


def test_a_command_can_clean_up_within_the_grace(
    solo_task: Task, solo_sweep: Sweep, tmp_path: Path
) -> None:
    solo_task.set_info("grace", 20)
    bye = f"trap 'sleep 0.2; touch {tmp_path}/%h; exit 0' TERM"
    solo_sweep("n[1-2]", f"{bye}; while :; do sleep 0.05; done", timeout=3)
    assert eventually(lambda: sorted(p.name for p in tmp_path.iterdir()) == ["n1", "n2"], 20)


def test_a_timeout_is_reported_before_the_grace_is_over(solo_task: Task, pid_file: Path) -> None:
    reported: list[float] = []

    def close(*args: Any) -> None:
        reported.append(time.monotonic())
        kill_all(read_pids(pid_file))

    solo_task.set_info("grace", 25)
    seen = Recorder(close=close)
    command = f"trap '' TERM; sleep 60 & echo $$ $! >> {pid_file}; wait; sleep 60; :"
    solo_task.schedule(ExecWorker("n1", seen, command=command, timeout=3))
    began = time.monotonic()
    solo_task.resume()
    assert reported[0] - began < 15 and seen.closes() == [True]


def test_timed_out_nodes_make_room_for_the_next(task: Task, sweep: Sweep) -> None:
    task.set_info("fanout", 2)
    worker = sweep("n[1-4]", "sleep 60", timeout=0.2)
    assert worker.num_timeout() == 4
