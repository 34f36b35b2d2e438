"""Files `defaults.conf`: every key, every place, the error of each bad file; ClusterShell reads the same."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import ClusterShell.Defaults as peer
import pytest

from mpshell import DEFAULTS, Defaults, DefaultsError, NodeSet, TaskSettingError, task_self
from mpshell.defaults import ENGINE, NODESET, TASK_DEFAULT, TASK_INFO, config_paths
from mpshell.task.settings import Settings

CHANGED = """
[task.default]
stderr: true
stdin: no
stdout_msgtree = off
stderr_msgtree: 0
engine: select
port_qlimit: 1000
auto_tree: false
local_workername: exec
distant_workername: pdsh

[task.info]
debug: yes
fanout: 256
grooming_delay: 0.5
connect_timeout: 12.5
command_timeout: 30.5

[nodeset]
fold_axis: 0, -1

[engine]
port_qlimit: 50

[elsewhere]
key: value
"""

OWN = """
[task.info]
engines: 3
rate: 2.5
grace: 0.25
drain: none
heartbeat: None
retry_lost: true
canary: 1
batch: 20
max_fail: 3
unknown: 5
[nodeset]
upcall_timeout: 1.5
"""

#: Keys whose values are Python objects, which a file cannot hold.
OBJECTS = {"print_debug", "retry", "launcher", "ssh_password"}


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "text", [CHANGED, "", "[task.default]\nport_qlimit: 7\n", "[nodeset]\nfold_axis:\n"]
)
def test_the_keys_of_clustershell_have_its_values(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "defaults.conf", text)
    ours, theirs = Defaults([path]), peer.Defaults([path])
    keys = {
        *theirs._task_default,
        *theirs._task_info,
        *theirs._nodeset,
        *theirs._engine,
    } - OBJECTS
    assert len(keys) == 15
    for key in keys:
        assert getattr(ours, key) == getattr(theirs, key), key
        assert type(getattr(ours, key)) is type(getattr(theirs, key)), key


def test_every_key_is_read_from_a_file(tmp_path: Path) -> None:
    text = ""
    for section, table in Defaults()._tables().items():
        text += f"[{section}]\n"
        for key, value in table.items():
            if key in OBJECTS:
                continue
            others = {bool: not value, str: "other", tuple: "0,-1", type(None): 7}
            text += f"{key}: {others[type(value)] if type(value) in others else value + 1}\n"
    found = Defaults([written(tmp_path / "all", text)])
    initial = {**TASK_DEFAULT, **TASK_INFO, **NODESET, **ENGINE}
    assert {key for key, value in initial.items() if getattr(found, key) == value} == OBJECTS


def test_a_task_has_the_values_of_its_files(tmp_path: Path) -> None:
    found = Defaults([written(tmp_path / "one", CHANGED), written(tmp_path / "two", OWN)])
    settings = Settings(found)
    assert (settings.info("drain"), settings.info("engines"), settings.info("fanout")) == (
        None,
        3,
        256,
    )
    assert (settings.default("port_qlimit"), settings.info("engine")) == (50, "select")
    assert settings.default("distant_worker").__name__ == "WorkerPdsh"
    for again in (copy.copy(found), pickle.loads(pickle.dumps(found))):
        again.fanout = 1
        assert (again.upcall_timeout, found.fanout) == (1.5, 256)
    # As programs of ClusterShell do it.
    Defaults.__init__(found, filenames=[])
    assert found.fanout == 64 and found.port_qlimit == 100


def test_a_later_file_wins_and_a_missing_one_is_left_out(tmp_path: Path) -> None:
    one = written(tmp_path / "one", "[task.info]\nfanout: 1\ngrace: 2\n")
    two = written(tmp_path / "two", "[task.info]\nfanout: 3\n")
    for paths in ([one, two], [one, str(tmp_path / "none"), two]):
        assert (Defaults(paths).fanout, Defaults(paths).grace) == (3, 2.0)
    assert Defaults(one).fanout == 1 and Defaults().fanout == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[task.info]\nfanout: many\n", "[task.info] fanout: 'many' is not a whole number"),
        ("[task.info]\nfanout: 6.5\n", "[task.info] fanout: '6.5' is not a whole number"),
        ("[task.info]\ndrain: never\n", "[task.info] drain: 'never' is not a number or none"),
        ("[task.info]\ncommand_timeout: 1s\n", "[task.info] command_timeout: '1s' is not a number"),
        (
            "[task.default]\nstderr: maybe\n",
            "[task.default] stderr: 'maybe' is not one of 1, yes, true, on,",
        ),
        ("[nodeset]\nfold_axis: a\n", "[nodeset] fold_axis: 'a' is not a list of whole numbers"),
        ("[engine]\nport_qlimit:\n", "[engine] port_qlimit: '' is not a whole number"),
        ("fanout: 1\n", "[line 1]|line: 1"),
        ("[task.info]\nfanout: 1\nfanout: 2\n", "[line 3]"),
        ("[task.info]\nfanout: %(x)s\n", "fanout"),
    ],
)
def test_an_error_names_its_file_and_place(tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path / "bad.conf", text)
    with pytest.raises(DefaultsError) as caught:
        Defaults([path])
    assert str(caught.value).startswith(f"{path}: ")
    assert any(part in str(caught.value) for part in words.split("|"))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, str(again)) == (path, str(caught.value))


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.conf"
    path.write_bytes(b"[task.info]\nfanout: \xff\n")
    with pytest.raises(DefaultsError, match="is not UTF-8"):
        Defaults([str(path)])


def test_a_value_that_a_task_cannot_have_is_an_error_of_the_task(tmp_path: Path) -> None:
    with pytest.raises(TaskSettingError, match=r"fanout .*, not 0"):
        Settings(Defaults(written(tmp_path / "a", "[task.info]\nfanout: 0\n")))
    with pytest.raises(ImportError, match="nonsense"):
        Settings(
            Defaults(written(tmp_path / "b", "[task.default]\ndistant_workername: nonsense\n"))
        )


@pytest.mark.parametrize(
    "variables", [{}, {"XDG_CONFIG_HOME": "/x"}, {"CLUSTERSHELL_CFGDIR": "/c"}]
)
def test_the_places_are_those_of_clustershell(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    for name in ("XDG_CONFIG_HOME", "CLUSTERSHELL_CFGDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert config_paths("defaults.conf") == peer.config_paths("defaults.conf")


def outcome(program: str, **variables: str) -> str:
    """Return the output of a program that finds no files but those of the variables."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_files_of_the_user_hold_for_tasks_and_node_sets(tmp_path: Path) -> None:
    places = {
        "HOME": tmp_path / "home/.local/etc/clustershell",
        "XDG_CONFIG_HOME": tmp_path / "xdg/clustershell",
        "CLUSTERSHELL_CFGDIR": tmp_path / "cfg",
    }
    values = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    variables: dict[str, str] = {}
    program = """
from mpshell import NodeSet, task_self
print(task_self().info('fanout'), NodeSet('a[1-2]b[1-2]'))
"""
    for number, (name, folder) in enumerate(places.items(), 7):
        folder.mkdir(parents=True)
        written(
            folder / "defaults.conf", f"[task.info]\nfanout: {number}\n[nodeset]\nfold_axis: -1\n"
        )
        # Another program's file, for the command alone.
        written(folder / "clush.conf", "[Main]\nfanout: 1\n")
        variables[name] = values.get(name, str(folder))
        assert outcome(program, **variables) == f"{number} a1b[1-2],a2b[1-2]"


def test_files_are_read_when_a_value_is_needed_and_not_at_the_import(tmp_path: Path) -> None:
    program = f"""
import sys
import mpshell, mpshell.defaults, mpshell.nodeset, mpshell.task.task, mpshell.compat.Defaults
from mpshell import DEFAULTS, task_self
assert "configparser" not in sys.modules
open({str(tmp_path / "defaults.conf")!r}, "w").write("[task.info]\\nfanout: 9\\ngrace: 3\\n")
DEFAULTS.grace = 4.0
print(task_self().info("fanout"), task_self().info("grace"), mpshell.compat.Defaults.DEFAULTS is DEFAULTS)
open({str(tmp_path / "defaults.conf")!r}, "w").write("[task.info]\\nfanout: 10\\n")
print(DEFAULTS.fanout)
"""
    assert outcome(program, CLUSTERSHELL_CFGDIR=str(tmp_path)) == "9 4.0 True\n9"


def test_no_file_costs_no_parser() -> None:
    program = "import sys\nfrom mpshell import task_self\ntask_self()\nprint('configparser' in sys.modules)"
    assert outcome(program) == "False"


def test_a_bad_file_of_the_user_is_an_error_of_the_first_task(tmp_path: Path) -> None:
    written(tmp_path / "defaults.conf", "[task.info]\nfanout: x\n")
    program = """
from mpshell import DefaultsError, task_self
for _ in 1, 2:
    try:
        task_self()
    except DefaultsError as error:
        print(error)
"""
    line = f"{tmp_path}/defaults.conf: [task.info] fanout: 'x' is not a whole number"
    assert outcome(program, CLUSTERSHELL_CFGDIR=str(tmp_path)) == f"{line}\n{line}"


def test_a_default_of_another_name_is_an_error() -> None:
    for defaults in (DEFAULTS, Defaults()):
        with pytest.raises(AttributeError, match="'fan_out'"):
            defaults.fan_out = 5
        with pytest.raises(AttributeError, match="'fan_out'"):
            _ = defaults.fan_out
    assert str(NodeSet("a1")) == "a1" and task_self().info("grooming_delay") == 0.25


def test_a_file_has_no_password(tmp_path: Path) -> None:
    path = tmp_path / "defaults.conf"
    path.write_text("[task.info]\nssh_password: secret\n")
    with pytest.raises(DefaultsError, match="a password cannot be set in a file") as error:
        Defaults(str(path)).task_info()
    assert "secret" not in str(error.value)
