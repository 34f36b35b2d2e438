"""Task settings: the tables of defaults and of info, and where their values come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mpshell import (
    DEFAULTS,
    EngineEPoll,
    EnginePoll,
    EngineSelect,
    ExecWorker,
    Task,
    TaskSettingError,
    WorkerPdsh,
    WorkerRsh,
    WorkerSsh,
    task_self,
    task_terminate,
)
from mpshell.coordinator import coordinator
from mpshell.coordinator.engines import EngineSet
from tests.system.recorder import Recorder

INFO = {
    "debug": False,
    "fanout": 64,
    "connect_timeout": 10,
    "command_timeout": 0,
    "heartbeat": 8.0,
}
UNSET = ["ssh_path", "ssh_user", "ssh_options"]
DEFAULT = {
    "stderr": False,
    "stdin": True,
    "stdout_msgtree": True,
    "stderr_msgtree": True,
    "local_workername": "exec",
    "distant_workername": "ssh",
    "auto_tree": True,
}


@pytest.fixture
def set_global() -> Iterator[Callable[[str, Any], None]]:
    """Give a function that sets a global default; all are restored after the test."""
    before: dict[str, Any] = {}

    def set_one(key: str, value: Any) -> None:
        before.setdefault(key, getattr(DEFAULTS, key))
        setattr(DEFAULTS, key, value)

    yield set_one
    for key, value in before.items():
        setattr(DEFAULTS, key, value)


@pytest.mark.parametrize("key", INFO)
def test_info_at_first(solo_task: Task, key: str) -> None:
    assert solo_task.info(key) == INFO[key] == getattr(DEFAULTS, key)


@pytest.mark.parametrize("heartbeat", [0.5, 60, None, ...])
def test_engines_are_given_up_after_the_heartbeat_that_is_set(
    heartbeat: Any, solo_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes to where it counts as it is, None too; what it does there: `tests/unit/test_engines.py`."""
    given: list[object] = []

    def engine_set(*args: Any, **options: Any) -> EngineSet:
        given.append(args[5])
        return EngineSet(*args, **options)

    monkeypatch.setattr(coordinator, "EngineSet", engine_set)
    if heartbeat is not ...:
        solo_task.set_info("heartbeat", heartbeat)
    assert solo_task.run("echo x").read() == b"x"
    assert given == [8.0 if heartbeat is ... else heartbeat]


@pytest.mark.parametrize("key", UNSET)
def test_info_that_is_not_set(solo_task: Task, key: str) -> None:
    assert solo_task.info(key) is None and solo_task.info(key, "other") == "other"


@pytest.mark.parametrize("key", DEFAULT)
def test_default_at_first(solo_task: Task, key: str) -> None:
    assert solo_task.default(key) == DEFAULT[key]


def test_default_workers_are_classes(solo_task: Task) -> None:
    assert solo_task.default("local_worker") is ExecWorker
    assert solo_task.default("distant_worker") is WorkerSsh
    assert solo_task.default("no_such_key") is None
    assert solo_task.default("no_such_key", 5) == 5


def test_a_worker_name_loads_its_class(solo_task: Task) -> None:
    solo_task.set_default("distant_workername", "exec")
    assert solo_task.default("distant_worker") is ExecWorker
    worker = solo_task.shell("echo %h", nodes="n[1-2]")
    solo_task.resume()
    assert type(worker) is ExecWorker and worker.node_buffer("n1") == b"n1"


def test_worker_modules_name_their_class() -> None:
    from mpshell.worker import exec as exec_module
    from mpshell.worker import ssh as ssh_module

    assert exec_module.WORKER_CLASS is ExecWorker
    assert ssh_module.WORKER_CLASS is WorkerSsh


def test_the_distant_worker_may_be_given_as_a_class(solo_task: Task) -> None:
    class Mine(ExecWorker):
        pass

    solo_task.set_default("distant_worker", Mine)
    worker = solo_task.shell("echo %h", nodes="n1")
    solo_task.resume()
    assert type(worker) is Mine and worker.node_buffer("n1") == b"n1"


@pytest.mark.parametrize(
    ("name", "worker_class"),
    [("exec", ExecWorker), ("ssh", WorkerSsh), ("rsh", WorkerRsh), ("pdsh", WorkerPdsh)],
)
def test_a_transport_is_chosen_by_name_by_class_or_by_hand(
    solo_task: Task, name: str, worker_class: Any
) -> None:
    by_hand = worker_class("n1", command="true")
    solo_task.schedule(by_hand)
    assert by_hand.task is solo_task
    for key, value in (("distant_workername", name), ("distant_worker", worker_class)):
        solo_task.set_default(key, value)
        for worker in (solo_task.shell("true", nodes="n1"), solo_task.copy("/etc", "/x", "n1")):
            assert type(worker) is worker_class
            assert (worker.metaworker, worker.metarefcnt, worker.started) == (None, 0, False)
    solo_task.abort()


def test_any_key_of_the_user_is_kept(solo_task: Task) -> None:
    value = object()
    solo_task.set_info("user_thing", value)
    solo_task.set_info("USER_lambda", lambda: 5)
    solo_task.set_default("user_default", value)
    solo_task.run("true")
    assert solo_task.info("user_thing") is value is solo_task.default("user_default")
    assert solo_task.info("USER_lambda")() == 5


def test_settings_belong_to_one_task(solo_task: Task) -> None:
    solo_task.set_info("fanout", 3)
    solo_task.set_default("stderr", True)
    other = Task()
    assert other.info("fanout") == 64 and other.default("stderr") is False
    other.abort(kill=True)
    other.thread.join(20)


def test_a_new_task_begins_with_the_defaults(solo_task: Task) -> None:
    solo_task.set_info("fanout", 3)
    solo_task.set_info("ssh_path", "/x")
    task_terminate()
    fresh = task_self()
    assert fresh.info("fanout") == 64 and fresh.info("ssh_path") is None


def test_a_task_copies_the_global_defaults_when_it_is_made(
    solo_task: Task, set_global: Callable[[str, Any], None]
) -> None:
    set_global("fanout", 17)
    set_global("stderr", True)
    assert solo_task.info("fanout") == 64
    task_terminate()
    assert task_self().info("fanout") == 17 and task_self().default("stderr") is True


def test_an_unknown_global_default_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        _ = DEFAULTS.no_such_setting
    with pytest.raises(AttributeError):
        DEFAULTS.no_such_setting = 1


@pytest.mark.parametrize(
    "engine", [EngineSelect.identifier, EnginePoll.identifier, EngineEPoll.identifier, "auto"]
)
def test_the_poll_engine_can_be_chosen(
    solo_task: Task, engine: str, set_global: Callable[[str, Any], None]
) -> None:
    assert solo_task.info("engine") in ("select", "poll", "epoll")
    task_terminate()
    set_global("engine", engine)
    assert task_self().info("engine") == engine.replace("auto", "epoll")
    assert task_self().run("echo x").read() == b"x"
    task_terminate()


def test_an_unknown_poll_engine_is_an_error_of_the_task(
    solo_task: Task, set_global: Callable[[str, Any], None]
) -> None:
    task_terminate()
    set_global("engine", "foobar")
    with pytest.raises(KeyError):
        task_self()


def test_engines_may_outnumber_the_nodes(solo_task: Task) -> None:
    solo_task.set_info("engines", 4)
    worker = ExecWorker("n1", None, command="echo x")
    solo_task.schedule(worker)
    solo_task.resume()
    assert worker.node_buffer("n1") == b"x"


def test_the_number_of_engines_may_change_between_runs(solo_task: Task) -> None:
    for engines in (3, 1, 4, 2):
        solo_task.set_info("engines", engines)
        seen = Recorder()
        worker = ExecWorker("n[1-20]", seen, command="echo %n")
        solo_task.schedule(worker)
        solo_task.resume()
        assert seen.count("hup") == 20 and worker.node_buffer("n20") == b"19"


def test_the_timeout_of_the_last_run_is_kept(solo_task: Task) -> None:
    solo_task.resume(25)
    assert solo_task.timeout == 25
    solo_task.resume()
    assert solo_task.timeout is None


@pytest.mark.parametrize("form", ["resume", "run"])
def test_a_run_with_nothing_to_do_returns(solo_task: Task, form: str) -> None:
    assert getattr(solo_task, form)() is None
    assert solo_task.max_retcode() is None and solo_task.num_timeout() == 0


def test_run_with_a_command_takes_the_options_of_shell(solo_task: Task) -> None:
    solo_task.set_default("distant_worker", ExecWorker)
    seen = Recorder()
    worker = solo_task.run("echo %h; echo e >&2", nodes="n[1-3]", handler=seen, stderr=True)
    assert worker.node_buffer("n2") == b"n2" and worker.node_error("n2") == b"e"
    assert seen.count("hup") == 3
    local: Any = solo_task.run("exit 3", key="k")
    assert local.retcode() == 3 and solo_task.key_retcode("k") == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [("connect_fanout", value) for value in (0, -1, 1.5, True, None, "8")]
    + [("connect_rate", value) for value in (0, -1, float("inf"), float("nan"), True, "8")],
)
def test_limits_of_connecting_are_numbers(task: Task, key: str, value: Any) -> None:
    with pytest.raises(TaskSettingError, match=f"{key} is "):
        task.set_info(key, value)


@pytest.mark.parametrize("value", ["60", -1, None, True, float("inf"), float("nan")])
def test_connections_stay_for_a_number_of_seconds(task: Task, value: Any) -> None:
    assert task.info("ssh_keep") == 0
    with pytest.raises(TaskSettingError, match="ssh_keep is "):
        task.set_info("ssh_keep", value)
    task.set_info("ssh_keep", 0.5)
    assert task.info("ssh_keep") == 0.5


@pytest.mark.parametrize("value", ["no", 0, 1, None])
def test_that_a_password_s_connection_stays_is_true_or_false(task: Task, value: Any) -> None:
    assert task.info("ssh_keep_password") is False
    with pytest.raises(TaskSettingError, match="ssh_keep_password is True or False, not "):
        task.set_info("ssh_keep_password", value)
    task.set_info("ssh_keep_password", True)
    assert task.info("ssh_keep_password") is True


@pytest.mark.parametrize("value", ["", "always", None, True, 1])
def test_a_key_exchange_is_preferred_or_required(task: Task, value: Any) -> None:
    assert task.info("ssh_kex") == "prefer"
    with pytest.raises(TaskSettingError, match="ssh_kex is 'prefer' or 'require', not"):
        task.set_info("ssh_kex", value)
    task.set_info("ssh_kex", "require")
    assert task.info("ssh_kex") == "require"
