"""Engines of another host in a run: work after the first message, checked reports, uncertain ends."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import pytest

from mpshell.coordinator import claims
from mpshell.coordinator.engine import EngineState
from mpshell.coordinator.job import Job
from mpshell.coordinator.rollout import RolloutPlan
from mpshell.errors import ProtocolError
from mpshell.launch import force
from mpshell.runtime.boottime import Alarm, now
from mpshell.runtime.loop import EventLoop
from mpshell.wire import messages as m
from mpshell.wire.channel import Channel, channel_pair
from mpshell.wire.codec import encode
from tests.fakes import FakeEngine, FakeLauncher
from tests.unit.scene import Scene, of_reason

OTHER = m.client_id(7, 0)


def test_an_engine_gets_work_only_after_its_first_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that never answers holds no node: all run on the other one."""
    scene = Scene(far=True)
    job = scene.job(20)
    first = scene.launcher.start

    def start(library: str = "") -> FakeEngine:
        engine = first(library)
        engine.stopped = engine.engine_id == 1
        return engine

    monkeypatch.setattr(scene.launcher, "start", start)
    scene.run()
    assert set(of_reason(scene.check(job), m.EXITED)) == set(job.keys)
    silent = scene.launcher.engines[0]
    assert not silent.jobs and not silent.slots
    # It was let go at the end of the run, and not waited for.
    assert silent.gone and not silent.fenced


def test_an_engine_of_this_host_gets_work_at_once() -> None:
    scene = Scene()
    scene.job(20)
    handed: list[bool] = []
    scene.when(lambda: True, lambda: handed.extend(bool(e.jobs) for e in scene.launcher.engines))
    scene.run()
    assert handed == [True, True]


def test_outcomes_have_the_host_and_times_of_the_clock_here() -> None:
    scene = Scene(far=True)
    job = scene.job(3)
    scene.when(
        lambda: True, lambda: [vars(e).update(offset=5000.0) for e in scene.launcher.engines]
    )
    scene.run()
    assert {(o.host, o.started) for o in scene.check(job).values()} == {("gw1", 5001.0)}


def lose_one(unread: bool) -> tuple[Scene, Job, FakeEngine]:
    """Play a run that loses an engine; with `unread` its end is uncertain."""
    scene = Scene(far=True, fanout=4)
    job = scene.job(40)
    lost: list[FakeEngine] = []

    def lose() -> None:
        lost.append(scene.engine())
        lost[0].stopped = True
        lost[0].die("signal 9" if not unread else "gw1: no sign of life for 8 s", unread=unread)

    scene.after(4, lose)
    scene.run()
    return scene, job, lost[0]


def test_a_certain_loss_costs_what_was_announced_and_an_uncertain_one_all_that_was_handed_out() -> (
    None
):
    _, job, _ = lose_one(unread=False)
    certain = of_reason(job.results.outcomes, m.LOST)
    _, job, _ = lose_one(unread=True)
    uncertain = of_reason(job.results.outcomes, m.LOST)
    assert len(certain) <= 2 < len(uncertain) <= 4
    details = {o.detail for o in job.results.outcomes.values() if o.reason == m.LOST}
    assert details == {"gw1: no sign of life for 8 s"}


#: What an engine claims that it has no right to, made from a client that it runs.
FALSE_CLAIMS: dict[str, Callable[[int], m.Message]] = {
    "a start of a client that it was not handed": lambda client: m.Starting([OTHER]),
    "a second start": lambda client: m.Starting([client]),
    "the end of another's client": lambda client: m.Finished(
        [(OTHER, 0, 0, -1, -1, 1.0, 0.5, None)]
    ),
    "two ends": lambda client: m.Finished([(client, 0, 0, -1, -1, 1.0, 0.5, None)] * 2),
    "a body that it has not sent": lambda client: m.Finished(
        [(client, 0, 0, 5, -1, 1.0, 0.5, None)]
    ),
    "a reason that there is not": lambda client: m.Finished(
        [(client, 77, 0, -1, -1, 1.0, 0.5, None)]
    ),
    "a loss": lambda client: m.Finished([(client, m.LOST, 0, -1, -1, 1.0, 0.5, None)]),
    "a status that there is not": lambda client: m.Finished(
        [(client, 0, 1 << 40, -1, -1, 1.0, 0.5, None)]
    ),
    "a time that there is not": lambda client: m.Finished(
        [(client, 0, 0, -1, -1, math.nan, 0.5, None)]
    ),
    "output of another's client": lambda client: m.Output([(OTHER, 1, b"x\n")]),
    "a stream that there is not": lambda client: m.Output([(client, 9, b"x\n")]),
    "its stdin as output": lambda client: m.Output([(client, 0, b"x\n")]),
    "writes of another's client": lambda client: m.Written([(OTHER, 1)]),
    "a negative write": lambda client: m.Written([(client, -1)]),
    "a command line of another's client": lambda client: m.Trace([(OTHER, "ls")]),
    "lost input of a job that it does not know": lambda client: m.InputLost(7, "full"),
    "more slots than it was given": lambda client: m.SlotsHeld(0, 1 << 20),
    "less than no slots": lambda client: m.SlotsHeld(0, -1),
    "an end of all while clients run": lambda client: m.RunEnded(),
    "a second first message": lambda client: m.Ready(1, 1, "x"),
    "host keys for files here": lambda client: m.HostKeys([("/root/.ssh/known_hosts", "evil")]),
    "a negative number of nodes": lambda client: m.Notices([("over ssh", -3)]),
    "a command": lambda client: m.EndRun(),
}


@pytest.mark.parametrize("claim", FALSE_CLAIMS)
def test_a_false_claim_is_the_end_of_the_engine_and_not_of_the_run(claim: str) -> None:
    scene = Scene(far=True)
    job = scene.job(40)
    liars: list[FakeEngine] = []

    def lie() -> None:
        liar = next(e for e in scene.launcher.living() if any(e.running.values()))
        liars.append(liar)
        liar.stopped = True
        liar.say(FALSE_CLAIMS[claim](next(c for some in liar.running.values() for c in some)))

    scene.when(lambda: any(any(e.running.values()) for e in scene.launcher.living()), lie)
    scene.run()
    outcomes = scene.check(job)
    assert liars[0].fenced and liars[0].gone
    lost = of_reason(outcomes, m.LOST)
    # The first engine that answers has all slots until the next one has work of its own.
    assert len(lost) <= 4 and len(lost) + len(of_reason(outcomes, m.EXITED)) == 40


@pytest.mark.parametrize("reason", [m.CUT, m.UNREACHABLE, m.AUTH, m.HOSTKEY, m.TRANSPORT])
def test_only_an_engine_that_makes_connections_reports_their_ends(reason: int) -> None:
    client = m.client_id(1, 0)
    event = m.Finished([(client, reason, -1, -1, -1, 0.0, 0.0, "Connection refused")])
    engine = EngineState(FakeEngine(1, FakeLauncher(far=True)))
    engine.running[client] = 0.0
    with pytest.raises(ProtocolError, match="Finished"):
        claims.check(engine, event)
    engine.link = FakeLauncher(far=True).start("asyncssh")
    claims.check(engine, event)


@pytest.mark.parametrize("plan", [RolloutPlan(batch=10), RolloutPlan(canary=10)], ids=str)
def test_a_wave_waits_for_the_verdicts_on_a_lost_host(plan: RolloutPlan) -> None:
    """What it was handed may run for as long as its lease: no node of the next wave starts meanwhile."""
    scene = Scene(far=True, plan=plan)
    job = scene.job(35)
    engines: list[FakeEngine] = []
    begun: list[set[str]] = []

    def cut() -> None:
        engines.append(next(e for e in scene.launcher.living() if any(e.running.values())))
        engines[0].fall_silent()

    def lose() -> None:
        begun.append(set(scene.started(job)))
        engines[0].die("gw1: no sign of life for 8 s", unread=True)

    scene.when(lambda: any(any(e.running.values()) for e in scene.launcher.living()), cut)
    # Nothing else happens any more when time would pass.
    scene.loop.call_later(100, lose)
    scene.run()
    outcomes = scene.check(job)
    lost = of_reason(outcomes, m.LOST)
    assert lost and set(lost) <= set(job.keys[:10])
    assert begun[0] <= set(map(str, job.keys[:10]))
    after = of_reason(outcomes, m.EXITED)[10 - len(lost) :]
    assert bool(after) == (plan.batch is not None)


def test_an_engine_of_another_version_is_not_the_end_of_the_run() -> None:
    scene = Scene(far=True)
    job = scene.job(10)

    def greet() -> None:
        engine = scene.engine()
        engine.stopped = True
        engine.ready = m.Ready(1, 1, "0.0")
        engine.say(engine.ready)

    scene.when(lambda: True, greet)
    scene.run()
    assert set(of_reason(scene.check(job), m.EXITED)) == set(job.keys)
    assert "0.0" in scene.launcher.engines[0].fenced[0]


def test_a_frame_from_another_host_has_a_bound_of_its_own() -> None:
    near, fd = channel_pair(longest=1000)
    far = Channel(fd)
    far.send(b"x" * 1000)
    assert near.receive() == [b"x" * 1000]
    far.send(b"x" * 1001)
    with pytest.raises(Exception, match="1001 bytes"):
        near.receive()
    near.close()
    far.close()


def test_a_pid_of_another_host_is_not_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a session of this host a link takes no measure against a pid that it has heard of."""
    from tests.unit.test_handle import Peer

    asked: list[int] = []
    for name in ("wake", "kill", "kill_commands"):
        monkeypatch.setattr(force, name, lambda pid, session: asked.append(pid))
    peer = Peer()
    ready = encode([m.Ready(1, os.getpid(), "x")])
    peer.far.send(len(ready).to_bytes(4, "big") + ready)
    peer.turn()
    peer.handle.fence()
    peer.handle.close()
    peer.close()
    assert not asked


def test_an_alarm_comes_at_its_moment_and_can_be_put_off() -> None:
    loop, rung = EventLoop(), []
    alarm = Alarm()
    loop.add_reader(alarm.fileno(), lambda: rung.append(now()))
    alarm.set(now() + 3600)
    loop.run_once(poll_only=True)
    assert not rung
    alarm.set(moment := now() + 0.02)
    loop.run_once()
    assert rung and rung[0] >= moment
    rung.clear()
    alarm.set(now() - 5)
    loop.run_once()
    assert rung
    loop.remove_reader(alarm.fileno())
    alarm.close()
    loop.close()
