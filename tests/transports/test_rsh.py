"""WorkerRsh with the real rsh and rcp, against a stand-in for their server on loopback."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path
from typing import Any

import pytest

from mpshell import (
    EngineClientNotSupportedError,
    NodeSet,
    Task,
    WorkerError,
    WorkerRsh,
)
from mpshell.coordinator.job import Ended, Said
from mpshell.wire.messages import EXITED, LOST, STDERR, STDOUT
from mpshell.worker.rsh import RshReader
from tests.system.recorder import Recorder
from tests.transports.conftest import NETWORK, NODES, SECOND


def codes(worker: Any) -> dict[int, list[str]]:
    return {code: sorted(nodes) for code, nodes in worker.iter_retcodes()}


ALL = sorted(NodeSet(NODES))


def test_the_return_code_is_carried_back_and_its_line_is_hidden(rsh_task: Task) -> None:
    command = f'echo hello; [ "$RSHD_NODE" != {SECOND} ] || exit 3'
    worker = rsh_task.run(command, nodes=NODES)
    assert type(worker) is WorkerRsh
    assert [bytes(text) for text, _ in worker.iter_buffers()] == [b"hello"]
    assert codes(worker) == {0: [node for node in ALL if node != SECOND], 3: [SECOND]}


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        ("true", 0, None),
        ("exit 7", 7, None),
        ("printf unterminated; false", 1, b"unterminated"),
        ("echo 'a b' \"$((1+1))\" # a comment", 0, b"a b 2"),
        ("echo XXRETCODE: 5; echo more; exit 4", 4, b"XXRETCODE: 5\nmore"),
        ("kill -9 $$", 255, None),
        ("if", 2, ...),
        ("no-such-command", 127, ...),
    ],
)
def test_codes_and_output(command: str, code: int, output: Any, rsh_task: Task) -> None:
    worker = rsh_task.run(command, nodes=SECOND, stderr=True)
    assert codes(worker) == {code: [SECOND]}
    if output is not ...:
        printed = worker.node_buffer(SECOND)
        assert printed is None or sorted(printed.split(b"\n")) == sorted(
            (output or b"").split(b"\n")
        )
        assert (printed is None) is (output is None)


def test_a_command_that_is_cut_off_is_lost(rsh_task: Task) -> None:
    worker = rsh_task.run("echo begun; kill -9 $$", nodes=SECOND)
    [outcome] = worker.outcomes()
    assert (outcome.reason, outcome.returncode, outcome.ok) == ("lost", 255, False)


def test_streams_events_and_input(rsh_task: Task) -> None:
    seen = Recorder()
    worker = rsh_task.shell("cat; echo err >&2; exit 2", nodes=NODES, handler=seen, stderr=True)
    worker.write(b"one\ntwo\n")
    worker.set_write_eof()
    rsh_task.resume()
    for node in ALL:
        assert seen.lines(node, "stdout") == [b"one", b"two"]
        assert seen.lines(node, "stderr") == [b"err"]
        names = [event[0] for event in seen.events if event[1:2] == (node,)]
        assert [name for name in names if name != "written"] == [
            "pickup", "read", "read", "read", "hup",
        ]  # fmt: skip
    assert seen.rcs() == dict.fromkeys(ALL, 2)


@pytest.mark.parametrize("engines", [2], indirect=True)  # rsh(1) itself tries for half a minute
def test_a_node_that_is_not_there_fails_alone(rsh_task: Task) -> None:
    worker = rsh_task.run("true", nodes=f"{NODES},{NETWORK}.99")
    assert codes(worker)[0] == ALL
    assert worker.node_retcode(f"{NETWORK}.99") != 0


def test_a_name_that_leads_nowhere_fails_alone(rsh_task: Task) -> None:
    """With any number of engines: rsh reports it at once."""
    worker = rsh_task.run("echo x; exit 3", nodes=f"{NODES},no-such-host.invalid")
    assert codes(worker) == {1: ["no-such-host.invalid"], 3: ALL}
    assert b"no-such-host.invalid" in (worker.node_buffer("no-such-host.invalid") or b"").lower()


def test_a_node_may_be_an_ipv6_address(rsh_on_ipv6: None, rsh_task: Task) -> None:
    command = 'echo "$RSHD_NODE"; echo err >&2; cat; exit 4'
    worker = rsh_task.shell(command, nodes=f"::1,{SECOND}", stderr=True)
    worker.write(b"input\n")
    worker.set_write_eof()
    rsh_task.resume()
    assert codes(worker) == {4: sorted(["::1", SECOND])}
    assert (worker.node_buffer("::1"), worker.node_error("::1")) == (b"::1\ninput", b"err")


def test_a_timeout(rsh_task: Task) -> None:
    command = f'echo begun; [ "$RSHD_NODE" != {SECOND} ] || sleep 10'
    worker = rsh_task.run(command, nodes=NODES, timeout=5)
    assert list(worker.iter_keys_timeout()) == [SECOND]
    assert codes(worker) == {0: [node for node in ALL if node != SECOND]}


def test_settings_are_arguments_of_the_command_line(rsh_task: Task, tmp_path: Path) -> None:
    fake = tmp_path / "fake"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    rsh_task.set_info("rsh_path", f"{fake} -K")
    rsh_task.set_info("rsh_options", "-4 'two words'")
    rsh_task.set_info("rsh_user", "ada")
    worker = WorkerRsh("n1", command="uptime")
    rsh_task.schedule(worker)
    rsh_task.resume()
    printed = (worker.node_buffer("n1") or b"").decode().split("\n")
    assert printed[:-1] == ["-K", "-l", "ada", "-4", "two words", "n1"]
    assert printed[-1].endswith("; echo XXRETCODE: $?")


# -- copies -----------------------------------------------------------------------------------------


def test_files_and_trees_are_copied(rsh_task: Task, tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "a:b c").write_bytes(os.urandom(200_000))
    (tmp_path / "to").mkdir()
    worker = rsh_task.copy(tmp_path / "tree", tmp_path / "to", SECOND, preserve=True)
    rsh_task.resume()
    assert codes(worker) == {0: [SECOND]}
    same = filecmp.cmp(
        tmp_path / "tree" / "sub" / "a:b c", tmp_path / "to" / "tree" / "sub" / "a:b c", False
    )
    assert same
    (tmp_path / "back").mkdir()
    worker = rsh_task.rcopy(tmp_path / "tree", tmp_path / "back", f"{NETWORK}.[1-4]")
    rsh_task.resume()
    assert list(codes(worker)) == [0]
    for i in range(1, 5):
        copied = tmp_path / "back" / f"tree.{NETWORK}.{i}" / "sub" / "a:b c"
        assert filecmp.cmp(tmp_path / "tree" / "sub" / "a:b c", copied, False)


def test_copies_that_fail(rsh_task: Task, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    workers = [
        rsh_task.copy(tmp_path / "file", "/no/such/place", SECOND),
        rsh_task.copy(tmp_path / "missing", tmp_path / "to", SECOND),
        rsh_task.rcopy(tmp_path / "missing", tmp_path, SECOND),
    ]
    rsh_task.resume()
    assert all(worker.node_retcode(SECOND) != 0 for worker in workers)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_names_that_rcp_would_change_are_refused(rsh_task: Task, tmp_path: Path) -> None:
    for dest in ("/tmp/a b", "/tmp/$x", "/tmp/a'b", "/tmp/*", "a\nb", "-x"):
        with pytest.raises(WorkerError, match="rcp would give"):
            rsh_task.copy("/etc/hosts", dest, SECOND)
        with pytest.raises(WorkerError, match="rcp would give"):
            rsh_task.rcopy(dest, tmp_path, SECOND)
    with pytest.raises(EngineClientNotSupportedError, match="atomically"):
        rsh_task.copy("/etc/hosts", "/tmp/x", SECOND, atomic=True)


# -- the reader -------------------------------------------------------------------------------------


def test_the_reader_takes_the_last_code_however_the_output_is_cut() -> None:
    reader = RshReader(["a", "b"])
    assert list(reader.read(0, STDOUT, b"x\nXXRETCODE: 1\n")) == [Said("a", STDOUT, b"x\n")]
    assert list(reader.read(1, STDERR, b"XXRETCODE: 9\n")) == [Said("b", STDERR, b"XXRETCODE: 9\n")]
    assert list(reader.read(0, STDOUT, b"endXXRETCODE: 2\n")) == [
        Said("a", STDOUT, b"XXRETCODE: 1\n"),
        Said("a", STDOUT, b"end\n"),
    ]
    assert list(reader.finish(0, EXITED, 1, None)) == [Ended("a", EXITED, 2, None)]
    assert [end.reason for end in reader.finish(1, EXITED, 0, None)] == [LOST]
    assert [end.status for end in reader.finish(1, EXITED, 4, None)] == [4]
