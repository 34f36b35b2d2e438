"""Runs without processes: the verdict of every node under any order of faults of its engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpshell.coordinator.retry import RETRY_LOST
from mpshell.errors import EngineStartError, EngineTimeoutException
from mpshell.wire import messages as m
from tests.fakes import FakeEngine
from tests.faults.test_processes import FAULTS
from tests.unit.scene import Scene, events_of, of_reason

FANOUT = 8
HEARTBEAT = 1.5


def kill(scene: Scene, places: int) -> None:
    for engine in scene.launcher.living()[:places]:
        engine.die()


def stop(scene: Scene, places: int) -> None:
    for engine in scene.launcher.living()[:places]:
        engine.stopped = True


def garble(scene: Scene) -> None:
    """The engine's last starts are never reported."""
    engine = scene.engine()
    engine.start()
    engine.fence("a frame that cannot be read")
    engine.die(unread=True)


#: The counterpart here of each row of the fault table of `tests/faults/test_processes.py`.
HISTORIES: dict[str, Callable[[Scene], object]] = {
    "one engine killed": lambda scene: kill(scene, 1),
    "engines killed repeatedly": lambda scene: kill(scene, 1),
    "all engines killed": lambda scene: kill(scene, 9),
    "fork server killed": lambda scene: kill(scene, 9),
    "fork server and engines killed": lambda scene: kill(scene, 9),
    "one engine stopped": lambda scene: stop(scene, 1),
    "all engines stopped": lambda scene: stop(scene, 9),
    "fork server stopped, engines killed": lambda scene: kill(scene, 9),
    "fork server and engines stopped": lambda scene: stop(scene, 9),
    "engines stopped, fork server killed": lambda scene: stop(scene, 9),
    "engine ended politely": lambda scene: scene.engine().die("exit status 0"),
    "garbage on a channel": garble,
    "a frame of no message": garble,
    "a message that no engine sends": lambda scene: scene.engine().emit(m.EndRun()),
    "a channel cut in the middle of a frame": lambda scene: kill(scene, 1),
    "a channel cut between two frames": lambda scene: kill(scene, 1),
}


def test_every_row_of_the_fault_table_is_a_history() -> None:
    assert list(HISTORIES) == list(FAULTS)


@pytest.mark.parametrize("engines", [1, 2, 4])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_node_has_one_verdict_whatever_dies(fault: str, engines: int) -> None:
    _, moments, times = FAULTS[fault]
    scene = Scene(fanout=FANOUT, engines=engines, heartbeat=HEARTBEAT)
    job = scene.job(80)
    for moment in moments:
        scene.after(moment, lambda: HISTORIES[fault](scene))
    scene.run()
    outcomes = scene.check(job)
    assert scene.most <= FANOUT
    lost = of_reason(outcomes, m.LOST)
    assert 0 < len(lost) <= times * FANOUT
    assert {outcome.reason for outcome in outcomes.values()} <= {m.EXITED, m.LOST}
    assert all(outcomes[key].detail for key in lost)


@pytest.mark.parametrize("engines", [1, 2, 4])
@pytest.mark.parametrize("fault", FAULTS)
def test_lost_nodes_run_again_where_that_is_asked_for(fault: str, engines: int) -> None:
    _, moments, _ = FAULTS[fault]
    scene = Scene(fanout=FANOUT, engines=engines, heartbeat=HEARTBEAT, retry=RETRY_LOST)
    job = scene.job(60)
    for moment in moments:
        scene.after(moment, lambda: HISTORIES[fault](scene))
    scene.run()
    outcomes = scene.check(job, once=False)
    assert {outcome.reason for outcome in outcomes.values()} == {m.EXITED}
    # Each reported attempt is counted; a garbled engine did not start some of its clients at all.
    started = scene.started(job)
    assert all(started[str(key)] <= outcome.attempt for key, outcome in outcomes.items())
    assert max(outcome.attempt for outcome in outcomes.values()) >= 2
    assert len(events_of(job).of("end")) == 60


def test_a_command_that_kills_its_engine_is_not_run_for_ever() -> None:
    scene = Scene(fanout=2, engines=2, retry=RETRY_LOST)
    job = scene.job(10)

    def strike() -> None:
        """Kill the engine that runs the third node, whenever one does."""
        for engine in scene.launcher.living():
            if m.client_id(job.id, 2) in [c for some in engine.running.values() for c in some]:
                engine.die()
        scene.when(runs, strike)

    def runs() -> bool:
        return any(
            m.client_id(job.id, 2) in some
            for engine in scene.launcher.living()
            for some in engine.running.values()
        )

    scene.when(runs, strike)
    scene.run()
    outcomes = scene.check(job, once=False)
    assert of_reason(outcomes, m.LOST) == ["n2"]
    assert outcomes["n2"].attempt == scene.started(job)["n2"] == 11


# -- certain ends -----------------------------------------------------------------------------------


def test_clients_unannounced_at_a_certain_end_run_elsewhere() -> None:
    scene = Scene(fanout=2, engines=1)
    job = scene.job(12)
    scene.when(lambda: len(scene.launcher.ledger) == 2, lambda: scene.engine().die())
    scene.run()
    outcomes = scene.check(job)
    # Two were announced; the others, handed to the engine ahead of need, were not.
    assert of_reason(outcomes, m.LOST) == ["n0", "n1"]
    assert len(of_reason(outcomes, m.EXITED)) == 10


def test_an_uncertain_end_loses_all_that_was_handed_out() -> None:
    scene = Scene(fanout=2, engines=1)
    job = scene.job(12)

    def cut() -> None:
        engine = scene.engine()
        assert sum(map(len, engine.waiting.values())) == 2, "handed out ahead of need"
        engine.die("its host does not answer", unread=True)

    scene.when(lambda: len(scene.launcher.ledger) == 2, cut)
    scene.run()
    outcomes = scene.check(job)
    assert of_reason(outcomes, m.LOST) == ["n0", "n1", "n2", "n3"]
    assert {outcomes[f"n{number}"].detail for number in range(4)} == {"its host does not answer"}
    # Announced ones have a time, the others have none.
    assert [outcomes[f"n{number}"].started > 0 for number in range(4)] == [True, True, False, False]


@pytest.mark.parametrize("unread", [False, True])
def test_the_slots_of_an_engine_that_is_silent_are_held_until_it_is_gone(unread: bool) -> None:
    scene = Scene(fanout=4, engines=2)
    job = scene.job(40)
    scene.after(8, lambda: scene.engine().fall_silent())
    scene.loop.call_later(60, lambda: scene.launcher.engines[0].die("its host is gone", unread))
    sent: list[int] = []

    def look() -> None:
        """Count the clients handed to the engine, long after."""
        sent.append(sum(map(len, scene.launcher.engines[0].waiting.values())))
        sent.append(sum(map(len, scene.launcher.engines[0].running.values())))

    scene.loop.call_later(1, look)
    scene.loop.call_later(59, look)
    scene.run()
    outcomes = scene.check(job)
    assert scene.most <= 4
    # Others ran everything that was not its own meanwhile, without its slots.
    assert sent[:2] == sent[2:]
    assert len(of_reason(outcomes, m.LOST)) == sent[1] + unread * sent[0] > 0


# -- ends of a run ----------------------------------------------------------------------------------


class Oops(Exception):
    """Raised by a handler."""


@pytest.mark.parametrize("kind", ["start", "line", "end"])
@pytest.mark.parametrize("moment", [1, 5, 9])
def test_an_error_of_a_handler_ends_the_run_and_nothing_is_half_done(
    kind: str, moment: int
) -> None:
    scene = Scene(fanout=FANOUT, engines=2)
    job = scene.job(40, stdout_mode=m.STREAM)
    recorded = events_of(job)
    after: list[object] = []

    def act(event: tuple[object, ...]) -> None:
        if len(recorded.of(kind)) == moment and not after:
            after.append(event)
            raise Oops(kind)
        if after and event[0] != "close":
            after.append(event)

    def speak() -> None:
        for engine in scene.launcher.living():
            for client in [c for some in engine.running.values() for c in some]:
                engine.emit(m.Output([(client, m.STDOUT, b"a line\n")]))

    recorded.act = act
    scene.after(4, speak)
    scene.after(8, speak)
    with pytest.raises(Oops):
        scene.run()
    outcomes = scene.check(job)
    assert len(after) == 1, "no event after the error"
    assert of_reason(outcomes, m.CANCELLED), "no node was started after the error"
    assert len(scene.launcher.ledger) <= 40 - len(
        [key for key in job.keys if outcomes[key].attempt == 0]
    )


def test_a_run_that_is_out_of_time_ends_its_commands() -> None:
    scene = Scene(fanout=4, engines=1)
    job = scene.job(20)
    running: list[int] = []

    def hang() -> None:
        stop(scene, 9)
        running.append(sum(map(len, scene.engine().running.values())))

    scene.after(6, hang)
    # It comes back after the run's time is over, and before it is killed.
    scene.loop.call_later(46, lambda: setattr(scene.engine(), "stopped", False))
    with pytest.raises(EngineTimeoutException):
        scene.run(timeout=45)
    outcomes = scene.check(job)
    assert len(of_reason(outcomes, m.EXITED)) == 6
    assert [len(of_reason(outcomes, m.TIMED_OUT))] == running != [0]
    assert len(of_reason(outcomes, m.CANCELLED)) == 20 - 6 - running[0]
    assert events_of(job).of("close") == [True]


@pytest.mark.parametrize("moment", [0, 7, 20])
def test_an_abort_is_the_last_event_but_one(moment: int) -> None:
    scene = Scene(fanout=FANOUT, engines=2)
    job = scene.job(40)
    scene.after(moment, lambda: scene.coordinator.cancel(job))
    scene.run()
    outcomes = scene.check(job)
    ended = events_of(job).of("end")
    assert len(ended) == len(of_reason(outcomes, m.EXITED)) >= moment
    assert len(of_reason(outcomes, m.CANCELLED)) == 40 - len(ended)


def test_withdrawn_nodes_have_no_event_and_those_that_run_go_on() -> None:
    scene = Scene(fanout=4, engines=2)
    job = scene.job(40)
    scene.after(8, lambda: scene.coordinator.withdraw(job))
    scene.run()
    outcomes = scene.check(job)
    exited, never = of_reason(outcomes, m.EXITED), of_reason(outcomes, m.CANCELLED)
    assert sorted(map(str, exited)) == sorted(map(str, scene.started(job)))
    assert {outcomes[key].attempt for key in never if outcomes[key].engine == 0} == {0}
    assert set(events_of(job).of("end")) == set(exited)


def test_engines_that_fail_one_after_the_other_end_the_run() -> None:
    scene = Scene(fanout=4, engines=1)
    job = scene.job(20)

    def fail() -> None:
        engine = scene.engine()
        if engine.ready is None:
            engine.greet()
        engine.emit(m.EngineFailed("Traceback\nMemoryError: 17"))
        engine.die("exit status 1")
        scene.when(lambda: bool(scene.launcher.living()), fail)

    scene.when(lambda: bool(scene.launcher.living()), fail)
    with pytest.raises(
        EngineStartError, match="3 engine processes in a row failed: MemoryError: 17"
    ):
        scene.run()
    outcomes = scene.check(job)
    assert of_reason(outcomes, m.CANCELLED) and scene.launcher.ledger == []


def test_engines_that_end_before_their_first_message_end_the_run() -> None:
    scene = Scene(fanout=4, engines=1)
    job = scene.job(20)

    def end() -> None:
        scene.engine().die("signal 9")
        scene.when(lambda: bool(scene.launcher.living()), end)

    scene.when(lambda: bool(scene.launcher.living()), end)
    with pytest.raises(EngineStartError, match="10 engine processes in a row ended at once"):
        scene.run()
    scene.check(job)
    assert len(scene.launcher.engines) == 10


def test_an_engine_that_does_not_come_to_an_end_is_fenced() -> None:
    scene = Scene(fanout=4, engines=1)
    job = scene.job(20)
    scene.after(6, lambda: stop(scene, 9))
    scene.loop.call_later(30, lambda: scene.coordinator.run.note(Oops()))
    with pytest.raises(Oops):
        scene.run()
    outcomes = scene.check(job)
    assert scene.launcher.engines[0].fenced == [""]
    assert len(of_reason(outcomes, m.EXITED)) == 6
    assert 0 < len(of_reason(outcomes, m.CANCELLED)) == 14


# -- any history ------------------------------------------------------------------------------------

#: The steps of a history, each as often as its weight.
STEPS = (
    ["act"] * 12
    + ["start"] * 3
    + ["die", "lose", "stop", "silence", "fanout", "cancel", "withdraw", "emit"]
)


@settings(max_examples=100, deadline=None)
@given(
    data=st.data(),
    engines=st.integers(1, 3),
    fanout=st.integers(1, 6),
    retry=st.booleans(),
    nodes=st.integers(0, 25),
)
def test_any_history_gives_each_node_one_verdict(
    data: st.DataObject, engines: int, fanout: int, retry: bool, nodes: int
) -> None:
    scene = Scene(
        fanout=fanout,
        engines=engines,
        heartbeat=HEARTBEAT,
        retry=RETRY_LOST if retry else None,
    )
    first, second = scene.job(nodes), scene.job(3)
    most = fanout

    def step() -> None:
        nonlocal most
        if scene.jobs[0].unfinished + scene.jobs[1].unfinished == 0:
            return
        scene.when(lambda: True, step)
        kind = data.draw(st.sampled_from(STEPS))
        living = scene.launcher.living()
        engine = data.draw(st.sampled_from(living)) if living else None
        if kind == "fanout":
            chosen = data.draw(st.integers(1, 6))
            most = max(most, chosen)
            scene.coordinator.set_fanout(chosen)
        elif kind == "cancel":
            scene.coordinator.cancel(second)
        elif kind == "withdraw":
            scene.coordinator.withdraw(first)
        elif engine is None or kind == "act":
            scene.act()
        elif kind == "start" and not engine.stopped:
            engine.start(1)
        elif kind == "die":
            engine.die()
        elif kind == "lose":
            engine.die(unread=True)
        elif kind == "stop":
            engine.stopped = True
        elif kind == "silence":
            engine.fall_silent()
        elif kind == "emit":
            engine.emit(m.EndRun())
        scene.loop.now += 0.05

    scene.when(lambda: True, step)
    try:
        scene.run()
    except EngineStartError:
        """Too many in a row have ended before their first message."""
    for job in (first, second):
        outcomes = scene.check(job, once=not retry)
        started = scene.started(job)
        # Each reported start is counted: no command has started more often than its outcome has attempts.
        assert all(started[str(key)] <= max(1, o.attempt) for key, o in outcomes.items())
    assert scene.most <= most


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[list[m.Message]]:
    """Give the frames that are sent to engines."""
    sent: list[list[m.Message]] = []
    send = FakeEngine.send

    def note(
        engine: FakeEngine, commands: list[m.Message], descriptors: Sequence[int] = ()
    ) -> None:
        sent.append(commands)
        send(engine, commands, descriptors)

    monkeypatch.setattr(FakeEngine, "send", note)
    return sent


def test_the_end_of_a_run_goes_to_an_engine_in_one_frame(frames: list[list[m.Message]]) -> None:
    """It is woken once for the end of its last job and that of the run."""
    scene = Scene(engines=1)
    scene.job(3)
    scene.run()
    assert frames[-1] == [m.ForgetJob(1), m.EndRun()]


@pytest.mark.parametrize("work", [True, False])
def test_a_run_that_seems_over_and_goes_on_keeps_nothing_back(
    work: bool, frames: list[list[m.Message]]
) -> None:
    """Another thread has a job or a timer for it: the engine gets the end of its job all the same."""
    scene = Scene(engines=1)
    scene.job(1)
    run = scene.coordinator.run
    idle: list[int] = []

    def on_idle() -> bool:
        idle.append(len(frames))
        if len(idle) == 1 and work:
            scene.job(1)
        elif len(idle) == 1:
            run.hold()
            run.loop.call_later(60, run.unhold)
        return run.held

    scene.coordinator.run_until_idle(None, on_idle)
    scene.coordinator.close()
    assert len(idle) == 2
    assert frames[idle[0]][0] == m.ForgetJob(1) and m.EndRun() not in frames[idle[0]]
    assert frames[-1][-1] == m.EndRun()
    for job in scene.jobs:
        scene.check(job)
