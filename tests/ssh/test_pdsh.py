"""WorkerPdsh with the real pdsh, pdcp and rpdcp, over the private ssh server."""

from __future__ import annotations

import filecmp
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mpshell import (
    EngineClientNotSupportedError,
    NodeSet,
    Task,
    WorkerError,
    WorkerPdsh,
)
from tests.system.recorder import Recorder, folded, until

#: Only node2 (127.100.0.3) does this.
ON_NODE2 = 'case "$SSH_CONNECTION" in *" 127.100.0.3 "*) %s;; esac; '


def codes(worker: Any) -> dict[int, str]:
    return {code: str(nodes) for code, nodes in worker.iter_retcodes()}


def test_output_and_codes_are_each_node_s(pdsh_task: Task) -> None:
    worker = pdsh_task.run("echo hello; " + ON_NODE2 % "exit 3", nodes="node[1-20]")
    assert type(worker) is WorkerPdsh
    assert folded(worker.iter_buffers()) == {b"hello": sorted(f"node{i}" for i in range(1, 21))}
    assert codes(worker) == {0: "node[1,3-20]", 3: "node2"}
    assert pdsh_task.max_retcode() == 3


def test_streams_are_kept_apart_when_asked_for(pdsh_task: Task) -> None:
    worker = pdsh_task.run("echo out; echo; echo err >&2; exit 1", nodes="node[1-5]", stderr=True)
    assert [bytes(text) for text, _ in worker.iter_buffers()] == [b"out\n"]
    assert [bytes(text) for text, _ in worker.iter_errors()] == [b"err"]
    assert codes(worker) == {1: "node[1-5]"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("ssh: connect to host x port 22: Connection refused", "lost"),
        ("me@x: Permission denied (publickey).", "lost"),
        ("Host key verification failed.", "lost"),
        ("pdsh: connect: Connection refused", "exit"),
        ("pdsh@x: node1: connect: Connection refused", "exit"),
    ],
)
def test_no_words_of_a_command_prove_that_it_has_not_run(
    words: str, reason: str, pdsh_task: Task
) -> None:
    worker = pdsh_task.run(f"printf '{words}\\n' >&2; exit 255", nodes="node1")
    [outcome] = worker.outcomes()
    assert (outcome.reason, outcome.returncode) == (reason, 255)
    assert outcome.detail == words


def script(path: Path, text: str) -> str:
    """Return a program as pdsh's module exec takes it: one argument."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("stderr", [False, True])
@pytest.mark.parametrize("end", ["exit 5", "kill -9 $$"])
def test_a_nul_in_the_output_hides_no_end(
    end: str, stderr: bool, pdsh_task: Task, tmp_path: Path
) -> None:
    """pdsh cuts the line there, with its newline: its own message comes behind it."""
    pdsh_task.set_info("pdsh_path", "pdsh -R exec")
    command = script(tmp_path / "script", rf"printf 'x\000y\nz\000' >&2; {end}")
    worker = pdsh_task.run(command, nodes="a,b", stderr=stderr)
    code = 5 if end.startswith("exit") else 137
    assert codes(worker) == {code: "a,b"}


def test_a_command_that_prints_a_message_of_pdsh(pdsh_task: Task) -> None:
    worker = pdsh_task.run("echo pdsh@far: node1: ssh exited with exit code 3", nodes="node1")
    assert codes(worker) == {0: "node1"}


@pytest.mark.parametrize("option", ["", " -S"])
def test_a_command_that_a_signal_has_ended_is_not_unreachable(
    option: str, pdsh_task: Task, tmp_path: Path
) -> None:
    pdsh_task.set_info("pdsh_path", f"pdsh{option} -R exec")
    text = f"mkdir {tmp_path}/one 2>/dev/null || exit 3\nkill -9 $$"
    worker = pdsh_task.run(script(tmp_path / "script", text), nodes="a,b,c")
    ends = [(o.reason, o.signal, o.returncode) for o in worker.outcomes()]
    assert sorted(ends, key=str) == [("exit", None, 3), ("exit", None, 3), ("signal", 9, 137)]


def refused_by_rsh(folder: Path) -> list[str]:
    """Return pdsh with its module rsh, where it has that (not in Debian 13), and a stand-in with its output."""
    words = f"echo pdsh@{socket.gethostname()}: 127.0.0.9: connect: Connection refused >&2"
    listed = subprocess.run(["pdsh", "-L"], capture_output=True, text=True, check=True).stdout
    own = ["pdsh -R rsh"] if "rcmd/rsh" in listed else []
    return [*own, script(folder / "pdsh", words)]


@pytest.mark.needs("services")
def test_a_connection_that_rsh_does_not_get_is_unreachable(pdsh_task: Task, tmp_path: Path) -> None:
    for path in refused_by_rsh(tmp_path):
        pdsh_task.set_info("pdsh_path", path)
        [outcome] = pdsh_task.run("true", nodes="127.0.0.9").outcomes()
        assert (outcome.reason, outcome.returncode) == ("unreachable", 255)
        assert outcome.detail == "pdsh: connect: Connection refused"


def test_a_node_without_a_return_code_costs_no_other_one(pdsh_task: Task, tmp_path: Path) -> None:
    """With -S pdsh ends with 254 then."""
    pdsh_task.set_info("pdsh_path", "pdsh -S -R exec")
    pdsh_task.set_info("engines", 1)
    text = f"mkdir {tmp_path}/one 2>/dev/null || exit 0\nsleep 60"
    worker = pdsh_task.run(script(tmp_path / "script", text), nodes="a,b", timeout=5)
    assert sorted(outcome.reason for outcome in worker.outcomes()) == ["exit", "timeout"]


@pytest.mark.parametrize("stderr", [False, True])
def test_events_are_each_node_s(stderr: bool, pdsh_task: Task) -> None:
    seen = Recorder()
    command = "echo one; echo two; " + ON_NODE2 % "exit 3"
    worker = pdsh_task.run(command, nodes="node[1-6]", handler=seen, stderr=stderr)
    nodes = [f"node{i}" for i in range(1, 7)]
    assert sorted(seen.nodes("pickup")) == nodes == sorted(seen.nodes("hup"))
    assert seen.rcs() == {node: 3 if node == "node2" else 0 for node in nodes}
    assert (seen.names()[0], seen.names()[-1]) == ("start", "close")
    for node in nodes:
        names = [event[0] for event in seen.events if event[1:2] == (node,)]
        assert names == ["pickup", "read", "read", "hup"]
        assert seen.lines(node) == [b"one", b"two"]
    assert seen.workers == {worker}


def test_a_failure_is_told_before_the_others_have_ended(pdsh_task: Task, tmp_path: Path) -> None:
    pdsh_task.set_info("engines", 1)
    seen = Recorder(hup=lambda *args: (tmp_path / "reported").touch())
    command = ON_NODE2 % "exit 3" + until(tmp_path / "reported")
    pdsh_task.run(command, nodes="node[1-3]", handler=seen)
    assert seen.nodes("hup")[0] == "node2"


def test_unreachable_nodes_have_255_and_the_others_go_on(pdsh_task: Task) -> None:
    worker = pdsh_task.run("echo ok", nodes="node[1-3],127.0.0.1,no-such-host.invalid")
    assert codes(worker) == {0: "node[1-3]", 255: "127.0.0.1,no-such-host.invalid"}
    assert b"refused" in (worker.node_buffer("127.0.0.1") or b"")
    ends = {outcome.node: outcome for outcome in worker.outcomes()}
    # A command may write as much: that nothing has run there is not proven.
    assert ends["127.0.0.1"].reason == "lost" == ends["no-such-host.invalid"].reason
    assert "refused" in (ends["127.0.0.1"].detail or "")
    assert ends["127.0.0.1"].engine > 0 and ends["127.0.0.1"].started_at is not None
    assert ends["node1"].ok


def test_a_command_may_return_255(pdsh_task: Task) -> None:
    worker = pdsh_task.run("echo connection refused; exit 255", nodes="node1")
    assert codes(worker) == {255: "node1"}
    assert [outcome.reason for outcome in worker.outcomes()] == ["exit"]


def test_a_timeout_is_each_node_s(pdsh_task: Task) -> None:
    seen = Recorder()
    worker = pdsh_task.run(
        "echo begun; " + ON_NODE2 % "sleep 60", nodes="node[1-4]", handler=seen, timeout=6
    )
    assert list(worker.iter_keys_timeout()) == ["node2"]
    assert codes(worker) == {0: "node[1,3-4]"}
    assert sorted(seen.nodes("hup")) == ["node1", "node3", "node4"] and seen.closes() == [True]
    assert worker.node_buffer("node2") == b"begun"
    with pytest.raises(KeyError):
        worker.node_retcode("node2")


def test_the_timeout_is_from_each_node_s_own_start(pdsh_task: Task) -> None:
    pdsh_task.set_info("fanout", 1)
    pdsh_task.set_info("command_timeout", 6)
    worker = pdsh_task.run("sleep 1.2", nodes="node[1-6]")
    assert codes(worker) == {0: "node[1-6]"}


def test_the_time_of_one_pdsh_is_that_of_all_its_rounds(pdsh_task: Task, engines: int) -> None:
    pdsh_task.set_info("fanout", engines)
    worker = WorkerPdsh("node[1-24]", command="x", timeout=2.5)
    lines = [words for _, words in worker.command_lines(pdsh_task)]
    # It takes whole seconds only, and 0 would be no limit.
    assert [words[words.index("-u") + 1] for words in lines] == ["3"] * engines
    assert (worker._effective_timeout(pdsh_task) or 0) > 24 / engines * 3


def test_abort_ends_all(pdsh_task: Task) -> None:
    seen = Recorder(read=lambda worker, *_: worker.abort())
    pdsh_task.run("echo x; sleep 60", nodes="node[1-4]", handler=seen)
    assert seen.closes() == [False] and seen.count("hup") == 0


def log_pdsh(task: Task, path: Path) -> None:
    """Put a program in the place of pdsh that writes its options to a file, and is pdsh then."""
    script = path / "pdsh"
    script.write_text(f'#!/bin/sh\necho "$*" >>{path}/log\nexec /usr/bin/pdsh "$@"\n')
    script.chmod(0o755)
    task.set_info("pdsh_path", str(script))


@pytest.mark.parametrize(("fanout", "nodes"), [(64, 20), (5, 20), (1, 4), (-1, 8)])
def test_nodes_and_fanout_are_dealt_out_over_the_engines(
    fanout: int, nodes: int, pdsh_task: Task, engines: int, tmp_path: Path
) -> None:
    log_pdsh(pdsh_task, tmp_path)
    pdsh_task.set_info("fanout", fanout)
    worker = pdsh_task.run("true", nodes=f"node[1-{nodes}]")
    calls = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    limit = nodes if fanout < 0 else fanout
    assert len(calls) == min(engines, limit)
    assert sum(int(call[call.index("-f") + 1]) for call in calls) == limit
    shards = [NodeSet(call[call.index("-w") + 1]) for call in calls]
    assert sum(map(len, shards)) == nodes
    assert codes(worker) == {0: f"node[1-{nodes}]"}
    # On a machine so busy that an engine is given up, another one takes its shard.
    engines_used = {outcome.engine for outcome in worker.outcomes()}
    assert min(2, engines, limit) <= len(engines_used) <= min(engines, limit)


def test_input_is_not_supported(pdsh_task: Task) -> None:
    worker = pdsh_task.shell("cat", nodes="node1", stdin=False)
    with pytest.raises(EngineClientNotSupportedError):
        worker.write(b"x")
    with pytest.raises(EngineClientNotSupportedError):
        worker.set_write_eof()
    pdsh_task.resume()
    assert codes(worker) == {0: "node1"}


def test_pdsh_s_own_failure_is_the_outcome_of_its_nodes(pdsh_task: Task) -> None:
    pdsh_task.set_info("pdsh_path", "pdsh -R no-such-module")
    worker = pdsh_task.run("true", nodes="node[1-2]")
    assert codes(worker) == {255: "node[1-2]"}
    assert {outcome.reason for outcome in worker.outcomes()} == {"not started"}
    assert all("no-such-module" in (outcome.detail or "") for outcome in worker.outcomes())
    pdsh_task.set_info("pdsh_path", "/no/such/pdsh")
    assert codes(pdsh_task.run("true", nodes="node[1-2]")) == {255: "node[1-2]"}


def test_the_largest_code_as_its_own_is_no_failure(pdsh_task: Task) -> None:
    pdsh_task.set_info("pdsh_path", "pdsh -S")
    pdsh_task.set_info("engines", 1)
    worker = pdsh_task.run(ON_NODE2 % "exit 3", nodes="node[1-3]")
    assert codes(worker) == {0: "node[1,3]", 3: "node2"}


def test_names_with_a_domain(pdsh_task: Task) -> None:
    pdsh_task.set_info("pdsh_path", "pdsh -R exec")
    worker = pdsh_task.run("uname", nodes="a.example.org,b.example.org")
    assert folded(worker.iter_buffers()) == {b"Linux": ["a.example.org", "b.example.org"]}
    worker = pdsh_task.run("false", nodes="a.example.org,b.example.org")
    assert codes(worker) == {1: "a.example.org,b.example.org"}


def test_names_that_pdsh_takes_for_something_else_are_refused() -> None:
    for node in ("-x", "/n/", "u@h", "::1"):
        with pytest.raises(WorkerError, match="would be taken"):
            WorkerPdsh([node], command="true")


# -- copies -----------------------------------------------------------------------------------------


def test_a_file_is_copied_to_each_node(pdsh_task: Task, tmp_path: Path) -> None:
    source = tmp_path / "a:b c"
    source.write_bytes(os.urandom(100_000))
    (tmp_path / "to").mkdir()
    worker = pdsh_task.copy(source, tmp_path / "to" / "copy", "node[1-4]", preserve=True)
    pdsh_task.resume()
    assert codes(worker) == {0: "node[1-4]"}
    assert filecmp.cmp(source, tmp_path / "to" / "copy", shallow=False)
    assert int((tmp_path / "to" / "copy").stat().st_mtime) == int(source.stat().st_mtime)


def test_a_tree_is_copied_from_each_node(pdsh_task: Task, tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "file").write_bytes(b"data")
    (tmp_path / "here").mkdir()
    worker = pdsh_task.rcopy(tmp_path / "tree", tmp_path / "here", "node[1-4]")
    pdsh_task.resume()
    assert codes(worker) == {0: "node[1-4]"}
    for i in range(1, 5):
        assert (tmp_path / "here" / f"tree.node{i}" / "sub" / "file").read_bytes() == b"data"


def test_failed_copies_are_2_as_enoent(pdsh_task: Task, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x")
    worker = pdsh_task.copy(tmp_path / "source", tmp_path / "no" / "dir", "node[1-2],127.0.0.1")
    pdsh_task.resume()
    assert codes(worker) == {2: "127.0.0.1,node[1-2]"}
    worker = pdsh_task.rcopy("/no/such", tmp_path, "node[1-2]")
    pdsh_task.resume()
    assert codes(worker) == {2: "node[1-2]"}


def test_names_that_pdcp_would_change_are_refused(pdsh_task: Task, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x")
    for dest in ("/tmp/a b", "/tmp/$x", "/tmp/a'b", "/tmp/*", "/tmp/%h", "-x", "a\nb"):
        with pytest.raises(WorkerError):
            pdsh_task.copy(tmp_path / "source", dest, "node1")
    with pytest.raises(EngineClientNotSupportedError, match="atomically"):
        pdsh_task.copy(tmp_path / "source", "/tmp/x", "node1", atomic=True)
