"""Ports: messages between threads and Tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from mpshell import EngineIllegalOperationError, EnginePort, Task, task_self, task_wait
from tests.support import eventually
from tests.system.recorder import Recorder

InThread = Callable[..., threading.Thread]


def closing(task: Task, last: Any) -> tuple[EnginePort, Recorder]:
    """Give a port of that task which removes itself after that message."""

    def check(port: EnginePort, msg: Any) -> None:
        if msg == last:
            task.remove_port(port)

    seen = Recorder(msg=check)
    return task.port(handler=seen), seen


def test_a_message_to_the_task_of_another_thread(thread_task: Task) -> None:
    port, seen = closing(thread_task, "toto")
    assert isinstance(port, EnginePort) and port.eh is seen
    thread_task.resume()
    assert port.msg("toto") is True
    task_wait()
    assert seen.events == [("port_start",), ("msg", "toto")]
    assert seen.threads == {thread_task.thread.ident}


def test_a_message_may_end_the_task(thread_task: Task) -> None:
    seen = Recorder(msg=lambda port, msg: task_self().abort())
    port = thread_task.port(handler=seen)
    thread_task.resume()
    assert port.msg("stop") is True
    task_wait()
    assert seen.of("msg") == [("msg", "stop")]


def test_messages_keep_their_order_and_are_never_lost(thread_task: Task) -> None:
    port, seen = closing(thread_task, 999)
    thread_task.resume()
    for i in range(1000):
        (port.msg_send if i % 10 else port.msg)(i)
    thread_task.join()
    assert [event[1] for event in seen.of("msg")] == list(range(1000))


def test_messages_of_many_threads(thread_task: Task, in_thread: InThread) -> None:
    got: list[Any] = []

    def count(port: EnginePort, msg: Any) -> None:
        got.append(msg)
        if len(got) == 200:
            thread_task.remove_port(port)

    port = thread_task.port(handler=Recorder(msg=count))
    thread_task.resume()
    threads = [in_thread(lambda n=n: [port.msg_send((n, i)) for i in range(50)]) for n in range(4)]
    for thread in threads:
        thread.join(30)
    thread_task.join()
    for n in range(4):
        assert [i for name, i in got if name == n] == list(range(50))


def test_messages_sent_before_the_run_are_delivered_at_its_start(solo_task: Task) -> None:
    port, seen = closing(solo_task, "second")
    port.msg_send("first")
    port.msg_send("second")
    assert seen.events == []
    solo_task.resume()
    assert [event for event in seen.events if event[0] == "msg"] == [
        ("msg", "first"),
        ("msg", "second"),
    ]


def test_a_message_is_the_object_itself(thread_task: Task) -> None:
    lock = threading.Lock()
    port, seen = closing(thread_task, lock)
    thread_task.resume()
    port.msg(lock)
    thread_task.join()
    assert seen.of("msg")[0][1] is lock


def test_a_message_to_the_own_task_from_a_handler(solo_task: Task) -> None:
    port, seen = closing(solo_task, "done")
    solo_task.shell("true", handler=Recorder(hup=lambda *args: port.msg_send("done")))
    solo_task.resume()
    assert seen.of("msg") == [("msg", "done")]


def test_a_message_to_the_own_task_is_never_waited_for(solo_task: Task) -> None:
    port, seen = closing(solo_task, "done")
    with pytest.raises(EngineIllegalOperationError, match="'mine'"):
        port.msg("mine")
    for number in range(150):
        assert port.msg_send(number)  # more than the queue holds: the own thread does not wait
    port.msg_send("done")
    solo_task.resume()
    assert [event[1] for event in seen.of("msg")] == [*range(150), "done"]
    assert port.msg("late") is False, "it has been closed by its handler"


def test_msg_with_send_once_does_not_wait(thread_task: Task) -> None:
    port, seen = closing(thread_task, 2)
    assert port.msg(1, send_once=True) is True
    thread_task.resume()
    assert port.msg(2, send_once=True) is True
    thread_task.join()
    assert [event[1] for event in seen.of("msg")] == [1, 2]


def test_a_port_keeps_the_task_running_until_it_is_removed(thread_task: Task) -> None:
    port = thread_task.port(handler=Recorder())
    thread_task.resume()
    assert eventually(lambda: bool(thread_task.running()), 10)
    port.msg("x")
    assert thread_task.running()
    thread_task.remove_port(port)
    thread_task.join()
    assert eventually(lambda: not thread_task.running(), 10)


def test_an_autoclose_port_does_not_keep_the_task_running(solo_task: Task) -> None:
    seen = Recorder()
    solo_task.port(handler=seen, autoclose=True)
    solo_task.resume()
    assert seen.of("msg") == []
    worker = solo_task.run("echo x")
    assert worker.read() == b"x"
    assert seen.names() == ["port_start"], "once, however many runs it takes part in"


def test_a_removed_autoclose_port_is_harmless(thread_task: Task) -> None:
    port = thread_task.port(handler=Recorder(), autoclose=True)
    thread_task.resume()
    thread_task.remove_port(port)
    task_wait()
    assert thread_task.thread.is_alive()


def test_a_message_to_a_closed_port_is_false(solo_task: Task, in_thread: InThread) -> None:
    port = solo_task.port(handler=Recorder(), autoclose=True)
    solo_task.timer(0.05, Recorder())
    solo_task.resume()
    solo_task.abort(kill=True)
    results: list[Any] = []
    in_thread(lambda: results.append(port.msg("foobar"))).join(30)
    assert results == [False]


def test_a_waiting_sender_is_freed_when_the_task_is_killed(
    thread_task: Task, in_thread: InThread
) -> None:
    port = thread_task.port(handler=Recorder())
    results: list[Any] = []
    sender = in_thread(lambda: results.append(port.msg("never taken")))
    thread_task.abort(kill=True)
    sender.join(30)
    assert not sender.is_alive() and len(results) == 1


def test_two_tasks_play_ping_pong(thread_task: Task) -> None:
    other = Task()
    balls: list[int] = []

    def ping(port: EnginePort, ball: int) -> None:
        balls.append(ball)
        pong_port.msg_send(ball + 1)
        if ball >= 100:
            thread_task.remove_port(port)

    def pong(port: EnginePort, ball: int) -> None:
        if ball > 100:
            other.remove_port(port)
        else:
            ping_port.msg_send(ball + 1)

    ping_port = thread_task.port(handler=Recorder(msg=ping))
    pong_port = other.port(handler=Recorder(msg=pong))
    thread_task.resume()
    other.resume()
    ping_port.msg(0)
    thread_task.join()
    other.join()
    assert balls == list(range(0, 101, 2))
    other.abort(kill=True)


def test_ports_beside_workers(solo_task: Task) -> None:
    port, seen = closing(solo_task, b"line 3")
    reader = Recorder(read=lambda worker, node, sname, msg: port.msg_send(msg))
    solo_task.shell("echo line 1; echo line 2; echo line 3", handler=reader)
    solo_task.resume()
    assert [event[1] for event in seen.of("msg")] == [b"line 1", b"line 2", b"line 3"]


def test_a_full_queue_holds_a_sender_back(thread_task: Task) -> None:
    """As many messages wait as the default allows; one more waits for room, and arrives in its order."""
    thread_task.set_default("port_qlimit", 3)
    port, seen = closing(thread_task, 3)
    for number in range(3):
        port.msg_send(number)
    sender = threading.Thread(target=port.msg_send, args=(3,))
    sender.start()
    sender.join(0.3)
    assert sender.is_alive() and seen.events == []
    thread_task.resume()
    sender.join(20)
    assert not sender.is_alive()
    thread_task.join()
    assert [event[1] for event in seen.of("msg")] == [0, 1, 2, 3]
