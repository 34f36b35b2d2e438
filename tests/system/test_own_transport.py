"""A transport of one's own: the example of docs/transports.md as it is written there, and its edges."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpshell import EngineClientNotSupportedError, ExecWorker, Task, Transport, WorkerError
from mpshell.errors import EngineStartError
from mpshell.worker.transport import EXITED, NODE, RANK, Ended, Said
from tests.support import run_script
from tests.system.recorder import Recorder

ROOT = Path(__file__).parents[2]
MODULE, USE = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "transports.md").read_text(), re.S
)

#: In the place of ipmitool: keeps its arguments, knows a password, and three of four nodes are on.
IPMITOOL = """\
#!/bin/sh
echo "$(printf '%s|' "$@")" >>"$0.log"
host=; while [ $# -gt 0 ]; do
    case $1 in -H) host=$2; shift 2 ;; -I|-U) shift 2 ;; -E|-v) shift ;; *) break ;; esac
done
if [ "$host" = node3-bmc ] || [ "$IPMI_PASSWORD" != secret ]; then
    echo "Error: Unable to establish IPMI v2 / RMCP+ session" >&2; exit 1
fi
case "$*" in
    "power status") echo "Chassis Power is on" ;;
    "fru read "*) echo "data of $host" >"$4" ;;
    "fru write "*) cp "$4" "${0%/*}/written-$host" ;;
    *) echo "Invalid command: $1"; exit 1 ;;
esac
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a directory with ipmi.py, a program in the place of ipmitool, and the files of the example."""
    (tmp_path / "ipmi.py").write_text(MODULE)
    (tmp_path / "ipmitool").write_text(IPMITOOL)
    (tmp_path / "ipmitool").chmod(0o755)
    (tmp_path / "asset.bin").write_bytes(b"asset")
    (tmp_path / "backup").mkdir()
    return tmp_path


@pytest.fixture
def ipmi_task(task: Task, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.chdir(place)
    task.set_default("distant_workername", "ipmi")
    task.set_info("ipmi_path", str(place / "ipmitool"))
    task.set_info("ipmi_password", "secret")
    yield task
    sys.modules.pop("ipmi")


def calls(place: Path) -> list[list[str]]:
    lines = (place / "ipmitool.log").read_text().splitlines()
    return [line.removesuffix("|").split("|") for line in lines]


def test_the_example_prints_as_shown(place: Path) -> None:
    env = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}:{place}"}
    done = run_script(f"import os\nos.chdir({str(place)!r})\n{USE}", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == re.findall(r"print\(.*\)  # (.*)", USE)
    assert sorted(os.listdir(place / "backup")) == ["0.node1", "0.node2"]
    assert (place / "backup" / "0.node2").read_text() == "data of node2-bmc\n"
    assert (place / "written-node1-bmc").read_bytes() == b"asset"


def test_arguments_are_those_of_the_class_and_hold_no_secret(ipmi_task: Task, place: Path) -> None:
    ipmi_task.set_info("ipmi_user", "ada")
    ipmi_task.set_info("ipmi_options", "-v")
    ipmi_task.run("power  'status'", nodes="node[1-2]")
    own = ["-v", "-I", "lanplus", "-H", "node{}-bmc", "-U", "ada", "-E", "power", "status"]
    assert sorted(calls(place)) == [[word.format(n) for word in own] for n in (1, 2)]
    assert "secret" not in (place / "ipmitool.log").read_text()


def test_events_and_outcomes_come_from_the_reader(ipmi_task: Task) -> None:
    seen = Recorder()
    worker = ipmi_task.run("power status", nodes="node[1-4]", handler=seen)
    on = {"node1": [b"on"], "node2": [b"on"], "node4": [b"on"]}
    assert {node: seen.lines(node) for node in on} == on
    assert seen.rcs() == {"node1": 0, "node2": 0, "node3": 255, "node4": 0}
    assert seen.closes() == [False] and ipmi_task.max_retcode() == 255
    [silent] = [outcome for outcome in worker.outcomes() if not outcome.ok]
    assert (silent.node, silent.reason) == ("node3", "unreachable")
    assert "Unable to establish" in (silent.detail or "")
    assert ipmi_task.run("no such", nodes="node1").node_retcode("node1") == 1


def test_copies_it_cannot_make_are_refused(ipmi_task: Task, place: Path) -> None:
    bad: list[tuple[str, dict[str, Any]]] = [
        ("x", {}),
        ("0", {"atomic": True}),
        ("0", {"preserve": True}),
    ]
    for dest, options in bad:
        ipmi_task.copy(place / "asset.bin", dest, "node1", **options)
        with pytest.raises(WorkerError, match="FRU"):
            ipmi_task.resume()
    assert not (place / "ipmitool.log").exists()


def test_the_command_takes_it_by_its_name(place: Path) -> None:
    env = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}", "IPMI_PASSWORD": "ignored"}
    env["PYTHONPATH"] = f"{ROOT}:{place}"
    done = run_script(
        "import runpy, sys\n"
        "sys.argv = ['mpshell', '-R', 'ipmi', '-l', 'bob', '-w', 'node1', '--dry-run', 'power', 'off']\n"
        "runpy.run_module('mpshell', run_name='__main__')\n",
        env=env,
    )
    assert done.stderr == ""
    assert done.stdout == "node1: ipmitool -I lanplus -H node1-bmc -U bob -E power off\n"


# -- the extension point itself ---------------------------------------------------------------------


class Commands(Transport):
    """Marks within arguments; no copies."""

    def command_argv(self, task: Task, command: str) -> list[Any]:
        return ["/bin/sh", "-c", 'echo "$1 $EXTRA"; exit "$2"', "sh", ("<", NODE, ">"), (RANK,)]

    def environment(self, task: Task) -> dict[str, str]:
        return {"EXTRA": "more"}

    def address(self, node: str) -> str:
        return node.upper()


class Copies(Transport):
    def copy_argv(self, task: Task, copy: Any) -> list[Any]:
        return ["cp", copy.source, (copy.dest, NODE)]


def test_marks_environment_and_addresses(task: Task) -> None:
    task.set_default("distant_worker", Commands)
    worker = task.run("ignored", nodes="n[1-3]")
    assert {node: bytes(text) for node, text in worker.iter_node_buffers()} == {
        f"n{i}": b"<N%d> more" % i for i in (1, 2, 3)
    }
    assert dict(worker.iter_node_retcodes()) == {"n1": 0, "n2": 1, "n3": 2}


def test_a_transport_that_relies_on_a_missing_default_is_an_error(solo_task: Task) -> None:
    class Relies(Transport):
        def command_argv(self, task: Task, command: str) -> list[Any]:
            return [*super().command_argv(task, command), "more"]

    solo_task.schedule(Relies("n1", command="uptime"))
    with pytest.raises(EngineClientNotSupportedError, match="Relies cannot run 'uptime'"):
        solo_task.resume()
    assert solo_task.run("echo x").read() == b"x"


def test_a_missing_ability_is_refused_at_the_call(solo_task: Task, tmp_path: Path) -> None:
    solo_task.set_default("distant_worker", Commands)
    with pytest.raises(EngineClientNotSupportedError, match=r"Commands cannot copy '/etc/hosts'"):
        solo_task.copy("/etc/hosts", tmp_path, "n1")
    solo_task.set_default("distant_worker", Copies)
    with pytest.raises(EngineClientNotSupportedError, match="Copies cannot run 'uptime'"):
        solo_task.shell("uptime", nodes="n1")
    worker = solo_task.copy("/etc/hosts", tmp_path / "to-", "n[1-2]")
    solo_task.resume()
    assert worker.node_retcode("n2") == 0
    assert (tmp_path / "to-n2").read_bytes() == Path("/etc/hosts").read_bytes()


def test_a_reader_may_report_an_end_before_the_program_s(solo_task: Task) -> None:
    """It has the times and the engine of its program; later output of the program is still reported."""

    class Early:
        def read(self, index: int, stream: int, lines: bytes) -> Iterator[Said | Ended]:
            yield Said("n1", stream, lines)
            if lines.startswith(b"over"):
                yield Ended("n1", EXITED, 7, "early")

        def finish(self, *_: object) -> list[Ended]:
            return []

    class Reads(Commands):
        def command_argv(self, task: Task, command: str) -> list[Any]:
            return ["sh", "-c", "sleep 1; echo over; sleep 1; echo after"]

        def reader(self, task: Task, nodes: list[str]) -> Any:
            return Early()

    seen = Recorder()
    worker = Reads("n1", seen, command="x")
    solo_task.schedule(worker)
    solo_task.resume()
    names = [name for name in seen.names() if name != "start"]
    assert names == ["pickup", "read", "hup", "read", "close"]
    [outcome] = worker.outcomes()
    assert (outcome.reason, outcome.returncode, outcome.detail) == ("exit", 7, "early")
    assert outcome.engine > 0 and outcome.started_at is not None and outcome.duration > 0.1


def test_a_reader_that_raises_ends_the_run(solo_task: Task) -> None:
    class Broken:
        def read(self, *_: object) -> list[Ended]:
            raise RuntimeError("cannot read")

        finish = read

    class Reads(Commands):
        def reader(self, task: Task, nodes: list[str]) -> Any:
            return Broken()

    solo_task.schedule(Reads("n1", command="x"))
    with pytest.raises(RuntimeError, match="cannot read"):
        solo_task.resume()
    assert solo_task.run("echo x").read() == b"x"


def returns(**methods: Any) -> type[Transport]:
    """Return a transport with methods that return the given values."""
    given = {"command_argv": ["echo", (NODE,)], **methods}
    functions = {name: lambda *_, value=value: value for name, value in given.items()}
    return type("Mine", (Transport,), functions)


@pytest.mark.parametrize(
    ("methods", "text"),
    [
        ({"command_argv": "echo hi"}, "Mine.command_argv returns a list of words, not 'echo hi'"),
        ({"command_argv": []}, r"Mine.command_argv returns a list of words, not \[\]"),
        (
            {"command_argv": ["echo", NODE]},
            "Mine.command_argv returns 0 instead of a text; a mark stands",
        ),
        ({"command_argv": ["echo", ("x", 7)]}, "Mine.command_argv returns 7 instead of a text"),
        ({"command_argv": ["echo", b"x"]}, "Mine.command_argv returns b'x' instead of a text"),
        ({"command_argv": ["echo", "a\0b"]}, "Mine.command_argv cannot hold a NUL"),
        ({"address": "n\ud800"}, "Mine.address .*ud800.* cannot be encoded"),
        ({"environment": {"A": 5}}, "Mine.environment returns 5 instead of a text"),
        ({"environment": {b"A": "x"}}, "Mine.environment returns b'A' instead of a text"),
        ({"address": None}, "Mine.address returns None instead of a text"),
    ],
)
def test_arguments_that_cannot_be_executed_are_named_at_the_start(
    methods: dict[str, Any], text: str, solo_task: Task
) -> None:
    solo_task.schedule(returns(**methods)("n[1-2]", command="x"))
    with pytest.raises(WorkerError, match=text):
        solo_task.resume(30)
    assert solo_task.run("echo x").read() == b"x"


def test_a_diagnosis_that_is_no_reason_is_named(solo_task: Task) -> None:
    mine = returns(command_argv=["sh", "-c", "echo words; exit 255"])
    mine.diagnose = staticmethod(lambda words: "weird")
    worker = mine("n1", command="x")
    solo_task.schedule(worker)
    solo_task.resume()
    with pytest.raises(WorkerError, match=r"'weird': one of .*'unreachable'"):
        list(worker.outcomes())


def test_work_at_which_every_engine_fails_ends_the_run(task: Task) -> None:
    """It was handed to one engine after the other, for ever."""

    class Poison(ExecWorker):
        def _make_job(self, task: Any) -> Any:
            job = super()._make_job(task)
            wrong: Any = (("A", 5),)
            job.spec = job.spec._replace(env=wrong)
            return job

    task.schedule(Poison("n[1-40]", command="true"))
    with pytest.raises(EngineStartError, match=r"in a row failed: .*ProtocolError"):
        task.resume(60)
    assert task.run("echo x").read() == b"x"


def test_a_module_without_a_worker_class_is_no_transport(
    solo_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no_transport.py").write_text("WORKER_CLASS = dict\n")
    (tmp_path / "broken_transport.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in (
        ("no_transport", "WORKER_CLASS"),
        ("no_such_transport", "no_such_transport"),
        ("broken_transport", "no_such_module_at_all"),
    ):
        with pytest.raises(ImportError, match=text):
            solo_task.set_default("distant_workername", name)
    assert solo_task.default("distant_worker") is not ExecWorker
    sys.modules.pop("no_transport")
