"""`mpshell.compat` has ClusterShell's modules and their public names; each missing name has its reason."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

import mpshell
import mpshell.compat
from mpshell.compat import imports

_ENGINE = "descriptors and their events belong to the engines, which are other processes"
_CLIENT = "a transport is a class that returns an argument vector (docs/transports.md)"
_PROCESS = "engines start processes, no part of the API does"
_TREE = "there is no tree mode"


def because(reason: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


_EVENTS = because(_ENGINE, "E_READ E_WRITE Engine")
_CLIENTS = because(_CLIENT, "CopyClient EngineClient ExecClient")

#: Names of ClusterShell's modules that are not in the ones here.
DIFFERENCES: dict[str, dict[str, str]] = {
    "Engine.EPoll": _EVENTS,
    "Engine.Engine": _EVENTS | because(_ENGINE, "EPSILON EngineBaseTimer"),
    "Engine.Poll": _EVENTS,
    "Engine.Select": _EVENTS,
    "Task": because(
        _TREE,
        "PropagationChannel PropagationTreeRouter TopologyError TopologyParser TreeWorker",
    ),
    "Worker.EngineClient": because(_ENGINE, "E_READ E_WRITE EngineBaseTimer")
    | because(_CLIENT, "EngineClient EngineClientStream EngineClientStreamDict")
    | because(_PROCESS, "PIPE Popen STDOUT set_nonblock_flag"),
    "Worker.Exec": _CLIENTS,
    "Worker.Pdsh": _CLIENTS | because(_CLIENT, "PdcpClient PdshClient"),
    "Worker.Popen": because(_CLIENT, "PopenClient StreamClient"),
    "Worker.Rsh": _CLIENTS | because(_CLIENT, "RcpClient RshClient"),
    "Worker.Ssh": _CLIENTS | because(_CLIENT, "ScpClient SshClient"),
    "Worker.Worker": because(_CLIENT, "EngineClient StreamClient"),
}

#: A program that prints the names in each module that it or another module of ClusterShell defines.
LIST = """
import importlib, json, pkgutil, types
import ClusterShell
names = {}
for found in pkgutil.walk_packages(ClusterShell.__path__, "ClusterShell."):
    module = importlib.import_module(found.name)
    names[found.name.removeprefix("ClusterShell.")] = [
        name for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
        and (getattr(value, "__module__", None) or "ClusterShell").startswith("ClusterShell")
    ]
print(json.dumps(names))
"""


@pytest.fixture(scope="module")
def peer() -> dict[str, list[str]]:
    """The public names of each module of the installed ClusterShell."""
    done = subprocess.run(
        [sys.executable, "-c", LIST], capture_output=True, text=True, check=True, timeout=60
    )
    names: dict[str, list[str]] = json.loads(done.stdout)
    assert "task_self" in names["Task"]
    return names


def test_every_public_name_is_there_but_for_those_in_the_table(peer: dict[str, list[str]]) -> None:
    absent: dict[str, set[str]] = {}
    for name, names in peer.items():
        if name in imports.ABSENT or imports.is_borrowed(name):
            continue
        module = importlib.import_module(f"mpshell.compat.{name}")
        absent[name] = {n for n in names if not hasattr(module, n)}
    expected = {name: set(DIFFERENCES.get(name, ())) & set(peer[name]) for name in absent}
    assert absent == expected


def test_the_table_has_nothing_that_is_there() -> None:
    for name, names in DIFFERENCES.items():
        module = importlib.import_module(f"mpshell.compat.{name}")
        assert not [n for n in names if hasattr(module, n)], name


def test_every_module_of_clustershell_is_a_module_here_is_borrowed_or_is_refused(
    peer: dict[str, list[str]],
) -> None:
    here = {
        module.name.removeprefix("mpshell.compat.")
        for module in pkgutil.walk_packages(mpshell.compat.__path__, "mpshell.compat.")
    }
    own = {name for name in here if name[0].isupper()}
    assert not {name for name in own if imports.is_borrowed(name)} | (own & set(imports.ABSENT))
    assert {name for name in peer if not imports.is_borrowed(name)} == (
        own | set(imports.ABSENT) | {imports.SHARED}
    )


@pytest.mark.parametrize(
    "name",
    [
        "Communication",
        "Propagation",
        "Topology",
        "Worker.fastsubprocess",
        "NodeUtils",
        "CLI.Display",
        "CLI.Error",
    ],
)
def test_a_borrowed_module_has_all_its_names(name: str, peer: dict[str, list[str]]) -> None:
    module = importlib.import_module(f"mpshell.compat.{name}")
    assert peer[name] and not [n for n in peer[name] if not hasattr(module, n)]


def test_a_name_that_mpshell_has_too_is_the_same_object() -> None:
    checked = 0
    for found in pkgutil.walk_packages(mpshell.compat.__path__, "mpshell.compat."):
        name = found.name.removeprefix("mpshell.compat.")
        if name[0].isupper():
            module = importlib.import_module(found.name)
            for public in getattr(module, "__all__", ()):
                assert hasattr(module, public)
                if public in mpshell.__all__:
                    assert getattr(module, public) is getattr(mpshell, public)
                    checked += 1
    assert checked > 60


def test_a_mechanism_is_had_by_its_name() -> None:
    from mpshell.compat.Engine.Factory import PreferredEngine

    assert PreferredEngine("auto", {}).identifier == PreferredEngine(None, {}).identifier == "epoll"
    assert isinstance(PreferredEngine("poll", {}), mpshell.EnginePoll)
    with pytest.raises(KeyError, match="kqueue"):
        PreferredEngine("kqueue", {})
