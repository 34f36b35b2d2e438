"""Where the public names are: all in `mpshell`, and each where a user of ClusterShell looks for it."""

from __future__ import annotations

import ast
import importlib
import os
from pathlib import Path

import pytest

import mpshell
from tests.support import run_script

#: ClusterShell's modules in lower case, and the names that users import from them.
HOMES = {
    "mpshell.defaults": "DEFAULTS Defaults",
    "mpshell.engine.engine": (
        "EngineAbortException EngineAlreadyRunningError EngineException EngineIllegalOperationError "
        "EngineNotSupportedError EnginePort EngineTimeoutException EngineTimer"
    ),
    "mpshell.engine.epoll": "EngineEPoll",
    "mpshell.engine.poll": "EnginePoll",
    "mpshell.engine.select": "EngineSelect",
    "mpshell.event": "EventHandler",
    "mpshell.msgtree": "MODE_DEFER MODE_SHIFT MODE_TRACE MsgTree MsgTreeElem",
    "mpshell.nodeset": (
        "NodeSet NodeSetError NodeSetException NodeSetExternalError NodeSetParseError "
        "NodeSetParseRangeError AUTOSTEP_DISABLED RangeSet RangeSetParseError expand fold"
    ),
    "mpshell.rangeset": (
        "AUTOSTEP_DISABLED RangeSet RangeSetError RangeSetException RangeSetPaddingError RangeSetParseError"
    ),
    "mpshell.task": (
        "AlreadyRunningError DEFAULTS EnginePort EngineTimer EventHandler MsgTree NodeSet Task TaskError "
        "TaskException TaskMsgTreeError TimeoutError WorkerPopen task_cleanup task_self task_terminate "
        "task_wait"
    ),
    "mpshell.worker.engine_client": (
        "EngineClientEOF EngineClientError EngineClientException EngineClientNotSupportedError EnginePort"
    ),
    "mpshell.worker.engineclient": "EngineClientNotSupportedError EnginePort",
    "mpshell.worker.exec": "ExecWorker WorkerError",
    "mpshell.worker.popen": "WorkerPopen WorkerError",
    "mpshell.worker.ssh": "WorkerSsh WorkerError",
    "mpshell.worker.worker": (
        "DistantWorker FANOUT_DEFAULT FANOUT_UNLIMITED Worker WorkerBadArgumentError WorkerError "
        "WorkerException"
    ),
}


@pytest.mark.parametrize("home", HOMES)
def test_names_are_where_they_are_looked_for(home: str) -> None:
    module = importlib.import_module(home)
    for name in HOMES[home].split():
        assert getattr(module, name) is getattr(mpshell, name)


@pytest.mark.parametrize("name", mpshell.__all__)
def test_all_public_names_can_be_imported_from_the_package(name: str) -> None:
    assert hasattr(mpshell, name) and name in dir(mpshell)


def test_type_checkers_see_the_names_that_are_loaded_late() -> None:
    """Three lists of them: for type checkers, for `import *`, and for the loading."""
    tree = ast.parse(Path(mpshell.__file__).read_text())
    seen = {
        alias.asname or alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module not in ("typing", "mpshell")
        for alias in node.names
    }
    assert seen == mpshell._HOME_OF
    assert sorted(mpshell.__all__) == sorted(seen)
    # A literal, as far as type checkers read it.
    (literal,) = (
        n for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"
    )
    assert ast.literal_eval(literal.value) == mpshell.__all__


def test_the_package_of_asyncio_is_loaded_when_it_is_asked_for() -> None:
    source = "import sys, mpshell; assert 'asyncio' not in sys.modules; print(mpshell.aio.run)"
    done = run_script(
        source, env={**os.environ, "PYTHONPATH": str(Path(mpshell.__file__).parents[1])}
    )
    assert done.stdout.startswith("<function run"), done.stderr


@pytest.mark.parametrize("module", ["mpshell", "mpshell.engine.engine"])
def test_an_unknown_name_is_an_attribute_error(module: str) -> None:
    with pytest.raises(AttributeError, match="EngineNonsense"):
        _ = importlib.import_module(module).EngineNonsense


def test_names_taken_with_a_star() -> None:
    names: dict[str, object] = {}
    exec("from mpshell.task import *", names)
    assert {*HOMES["mpshell.task"].split(), "os"} <= names.keys()
    assert names["TimeoutError"] is mpshell.TimeoutError
    assert not issubclass(mpshell.TimeoutError, TimeoutError)


def test_public_things_have_docstrings() -> None:
    for name in mpshell.__all__:
        thing = getattr(mpshell, name)
        if callable(thing) and thing.__module__.startswith("mpshell"):
            assert thing.__doc__, name
