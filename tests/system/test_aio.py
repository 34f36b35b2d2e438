"""`mpshell.aio`: runs in an asyncio loop, many at once, and every way out of them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import mpshell
from mpshell import NodeSetParseError, RetryPolicy, TaskError, TaskSettingError, WorkerError
from mpshell.aio import AsyncRun, run
from tests.faults.conftest import engines
from tests.support import commands, eventually
from tests.system.recorder import Marks, until

SLEEPS = "[ %n = 0 ] || sleep 60"


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Fail a test that leaves a thread or a command."""
    before = set(threading.enumerate())
    yield
    assert commands() == []
    assert set(threading.enumerate()) <= before
    mpshell.task_cleanup()


def go(main: Coroutine[Any, Any, None], *, debug: bool = True) -> None:
    """Run in a loop in debug mode, which must get no report of an error that is not awaited."""
    problems: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, problem: problems.append(problem)
        )
        await main

    asyncio.run(watched(), debug=debug)
    assert problems == []


def on(nodes: str, command: str, **options: Any) -> AsyncRun[mpshell.DistantWorker]:
    """Return a run on nodes that are this machine."""
    return run(command, nodes=nodes, remote=False, **options)


async def seconds_until(condition: Callable[[], object]) -> None:
    """Wait, with the loop free, until a condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


# -- outcomes --------------------------------------------------------------------------------------


def test_outcomes_come_as_the_commands_end_and_no_thread_is_made(tmp_path: Path) -> None:
    command = (
        f"echo %h; case %h in n1) {until(tmp_path / 'n2')};; n2) {until(tmp_path / 'n3')};; esac"
    )

    async def main() -> None:
        threads = threading.active_count()
        seen = []
        async with on("n[1-3]", command) as sweep:
            async for outcome in sweep:
                assert outcome.ok and threading.active_count() == threads
                seen.append((outcome.node, sweep.worker.read(outcome.node)))
                (tmp_path / outcome.node).touch()
        assert seen == [("n3", b"n3"), ("n2", b"n2"), ("n1", b"n1")]
        assert len(list(sweep.worker.outcomes())) == 3

    go(main())


def test_the_loop_is_free_meanwhile() -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async with on("n[1-2]", "sleep 0.5") as sweep:
            assert [o.ok async for o in sweep] == [True, True]
        ticking.cancel()
        assert ticks >= 5

    go(main())


def test_many_at_once_in_one_loop() -> None:
    async def one(number: int) -> set[bytes | None]:
        async with on("n[1-4]", f"sleep 0.1; echo {number}") as sweep:
            return {sweep.worker.read(o.node) async for o in sweep}

    async def main() -> None:
        found = await asyncio.gather(*(one(number) for number in range(20)))
        assert found == [{str(number).encode()} for number in range(20)]

    go(main())


def test_in_loops_of_several_threads() -> None:
    found: list[list[bool]] = []

    async def main() -> None:
        async with on("n[1-20]", "true") as sweep:
            found.append([o.ok async for o in sweep])

    threads = [threading.Thread(target=go, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert found == [[True] * 20] * 4


def test_beside_the_task_of_the_thread(solo_task: mpshell.Task) -> None:
    async def main() -> None:
        async with on("n[1-2]", SLEEPS) as sweep:
            assert (await anext(sweep)).node == "n1"
            # It blocks the loop, and is a run of its own.
            assert solo_task.run("echo of its own").read() == b"of its own"

    go(main())


def test_nodes_that_were_not_run_come_last_and_tries_come_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with on("n[1-5]", "exit 1", info={"canary": 2}) as sweep:
            found = [(o.node, o.reason) async for o in sweep]
        assert sorted(found[:2]) == [("n1", "exit"), ("n2", "exit")]
        assert found[2:] == [(f"n{number}", "cancelled") for number in (3, 4, 5)]
        policy = RetryPolicy(1, frozenset(("exit",)), delay=0.05)
        async with on(
            "n[1-5]", f"mkdir {tmp_path}/%h || exit 0; exit 1", info={"retry": policy}
        ) as sweep:
            assert {(o.ok, o.attempt) async for o in sweep} == {(True, 2)}

    go(main())


def test_a_local_command_and_no_nodes() -> None:
    async def main() -> None:
        async with run("echo printed; exit 3", key="key") as local:
            assert [(o.node, o.returncode) async for o in local] == [("key", 3)]
            assert (local.worker.retcode(), local.worker.read()) == (3, b"printed")
        async with on("", "true") as sweep:
            assert [o async for o in sweep] == []

    go(main())


def test_stdin_from_the_loop_and_from_another_thread() -> None:
    async def main() -> None:
        async with on("n[1-3]", "cat", stdin=True) as sweep:
            sweep.worker.write(b"one\n")
            await asyncio.to_thread(sweep.worker.write, b"two\n")
            sweep.worker.set_write_eof()
            assert {sweep.worker.read(o.node) async for o in sweep} == {b"one\ntwo"}
        async with on("n1", "wc -c") as sweep:
            assert [sweep.worker.read(o.node) async for o in sweep] == [b"0"], (
                "no stdin unless asked for"
            )
        # The threads of to_thread end with the loop.

    go(main())


@pytest.mark.parametrize("end", ["abort", "withdraw"])
def test_a_worker_that_is_ended_in_the_loop(end: str) -> None:
    async def main() -> None:
        async with on("n[1-200]", "true", info={"fanout": 1}) as sweep:
            found = [await anext(sweep)]
            getattr(sweep.worker, end)()
            found += [o async for o in sweep]
        assert len({o.node for o in found}) == 200
        assert sum(o.ok for o in found) < 20

    go(main())


def test_an_engine_that_dies_loses_its_nodes() -> None:
    async def main() -> None:
        async with on("n[1-3]", "exec sleep 60", info={"fanout": 3, "engines": 1}) as sweep:
            await seconds_until(lambda: len(commands()) == 3)
            for engine in engines():
                os.kill(engine.pid, 9)
            assert [o.reason async for o in sweep] == ["lost"] * 3

    go(main())


# -- back-pressure ---------------------------------------------------------------------------------


def test_while_many_outcomes_wait_no_more_commands_start(tmp_path: Path) -> None:
    """And no engine is given up meanwhile, however long it takes."""
    marks = Marks(tmp_path / "marks")
    options = {"fanout": 4, "heartbeat": 0.5}

    async def main() -> None:
        async with on("n[1-700]", f"echo +%h >>{marks.path}", info=options) as sweep:
            await seconds_until(lambda: len(marks.begun()) >= 512)
            assert not await asyncio.to_thread(eventually, lambda: len(marks.begun()) > 560, 2)
            found = [o async for o in sweep]
        assert len(found) == len({o.node for o in found}) == 700
        assert all(o.ok for o in found)

    go(main(), debug=False)


# -- ways out --------------------------------------------------------------------------------------


async def by_break() -> None:
    async with on("n[1-5]", SLEEPS) as sweep:
        async for outcome in sweep:
            assert outcome.node == "n1" and commands()
            break
    assert sorted(o.reason for o in sweep.worker.outcomes()) == ["cancelled"] * 4 + ["exit"]
    assert [o async for o in sweep] == []


async def by_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        async with on("n[1-5]", SLEEPS) as sweep:
            async for _ in sweep:
                assert 1 / 0


async def without_a_look() -> None:
    async with on("n[1-5]", SLEEPS):
        pass


async def by_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), on("n[1-5]", SLEEPS) as sweep:
            async for _ in sweep:
                continue


async def by_a_cancelled_task() -> None:
    began = asyncio.Event()

    async def work() -> None:
        async with on("n[1-5]", SLEEPS) as sweep:
            async for _ in sweep:
                began.set()

    task = asyncio.create_task(work())
    await began.wait()
    assert commands()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert commands() == []


async def by_a_sibling() -> None:
    async def work() -> None:
        async with on("n[1-5]", SLEEPS) as sweep:
            async for _ in sweep:
                continue

    async def fail() -> None:
        await seconds_until(commands)
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            group.create_task(work())
            group.create_task(fail())
    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]


@pytest.mark.parametrize(
    "leave",
    [by_break, by_an_error, without_a_look, by_a_timeout, by_a_cancelled_task, by_a_sibling],
)
def test_leaving_ends_the_commands(leave: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await leave()
        assert commands() == []
        async with on("n1", "echo again") as sweep:
            assert [sweep.worker.read(o.node) async for o in sweep] == [b"again"]

    go(main())


def test_a_second_cancellation_leaves_no_more_time(tmp_path: Path) -> None:
    command = f"trap '' TERM; touch {tmp_path}/ready; while :; do sleep 0.1; done"

    async def main() -> None:
        async def work() -> None:
            async with on("n1", command, info={"grace": 3600}) as sweep:
                async for _ in sweep:
                    continue

        task = asyncio.create_task(work())
        await seconds_until((tmp_path / "ready").exists)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=1)
        assert not done and commands(), "it has its grace"
        task.cancel()
        await asyncio.wait([task], timeout=30)
        assert task.cancelled()

    go(main())


def test_the_end_of_the_loop_is_the_end_of_the_commands() -> None:
    async def work() -> None:
        async with on("n[1-3]", SLEEPS) as sweep:
            async for _ in sweep:
                continue

    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        tasks.append(asyncio.create_task(work()))
        await seconds_until(commands)

    go(main())


def test_descriptors_are_given_back() -> None:
    async def main() -> None:
        async with on("n1", "true") as sweep:
            assert [o.ok async for o in sweep] == [True]
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            async with on("n[1-5]", SLEEPS) as sweep:
                await anext(sweep)
        assert len(os.listdir("/proc/self/fd")) <= before + 6, "those of engines, which stay warm"

    go(main())


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"nodes": "n["}, NodeSetParseError),
        ({"nodes": "n1", "key": "k"}, ValueError),
        ({"nodes": "n1", "timeout": -2}, ValueError),
        ({"nodes": "n1", "handler": object()}, TypeError),
        ({"nodes": "n1", "info": {"fanout": 0}}, TaskSettingError),
        ({"nodes": "n1", "default": {"distant_workername": "nowhere"}}, ImportError),
    ],
)
def test_a_bad_option_is_an_error_at_the_call(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        run("true", **options)


def test_how_a_run_is_used() -> None:
    async def main() -> None:
        sweep = on("n[1-3]", SLEEPS)
        with pytest.raises(TaskError, match="async with"):
            await anext(sweep)
        async with sweep:
            await anext(sweep)
            with pytest.raises(TaskError, match="once"):
                await sweep.__aenter__()
            waiting = asyncio.create_task(anext(sweep))
            await asyncio.sleep(0)
            with pytest.raises(TaskError, match="one asyncio task"):
                await anext(sweep)
            sweep.worker.abort()
            assert (await waiting).reason == "cancelled"
        made: list[AsyncRun[Any]] = []
        await asyncio.to_thread(lambda: made.append(on("n1", "true")))
        with pytest.raises(TaskError, match="thread"):
            await made[0].__aenter__()

    go(main())


def test_a_worker_that_cannot_begin_is_an_error_at_the_entry() -> None:
    async def main() -> None:
        pdsh = {"distant_workername": "pdsh"}
        with pytest.raises(WorkerError, match="batch=2"):
            async with run("true", nodes="n1", default=pdsh, info={"batch": 2}):
                pass

    go(main())


def test_an_exception_of_a_transport_ends_the_run_and_is_raised(tmp_path: Path) -> None:
    class Wrong(mpshell.Transport):
        def command_argv(self, task: Any, command: str) -> Any:
            return ["/bin/sh", "-c", "echo words; exit 255"]

        @staticmethod
        def diagnose(detail: str) -> str:
            return "no such reason"

    async def main() -> None:
        with pytest.raises(WorkerError, match="no such reason"):
            async with run("true", nodes="n1", default={"distant_worker": Wrong}) as sweep:
                async for _ in sweep:
                    continue

    go(main())
