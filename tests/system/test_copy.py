"""Copies with cp, one for each node here: the API of copies without any server."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mpshell import ExecWorker, Task, WorkerError, WorkerSsh
from mpshell.errors import EngineClientNotSupportedError
from mpshell.worker.pdsh import WorkerPdsh
from mpshell.worker.rsh import WorkerRsh
from tests.copies import NAMES, leftovers
from tests.support import eventually
from tests.system.recorder import Recorder

DATA = bytes(range(256)) * 100


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    path.chmod(0o754)
    os.utime(path, (1_000_000_000, 1_100_000_000))
    return path


@pytest.fixture
def copy_task(task: Task) -> Task:
    task.set_default("distant_workername", "exec")
    return task


@pytest.mark.parametrize("atomic", [False, True])
def test_a_copy_for_each_node(atomic: bool, copy_task: Task, source: Path) -> None:
    seen = Recorder()
    dest = source.parent / "to-%h-%n"
    worker = copy_task.copy(source, dest, "n[1-5]", handler=seen, atomic=atomic)
    assert type(worker) is ExecWorker
    assert (worker.source, worker.dest, worker.command) == (str(source), str(dest), None)
    copy_task.resume()
    assert seen.rcs() == {f"n{i}": 0 for i in range(1, 6)}
    for i in range(1, 6):
        copied = source.parent / f"to-n{i}-{i - 1}"
        assert copied.read_bytes() == DATA and copied.stat().st_mode & 0o777 == 0o754
    assert not leftovers(source.parent)


@pytest.mark.parametrize("atomic", [False, True])
def test_one_copy_for_all_nodes(atomic: bool, copy_task: Task, source: Path) -> None:
    seen = Recorder()
    copy_task.copy(source, source.parent / "to-%hosts", "n[1-5]", handler=seen, atomic=atomic)
    copy_task.resume()
    assert seen.rcs() == {f"n{i}": 0 for i in range(1, 6)}
    assert (source.parent / "to-n[1-5]").read_bytes() == DATA


@pytest.mark.parametrize("atomic", [False, True])
def test_preserve_keeps_times_and_modes(atomic: bool, copy_task: Task, source: Path) -> None:
    source.chmod(0o777)
    copy_task.copy(source, source.parent / "to", "n1", preserve=True, atomic=atomic)
    copy_task.resume()
    state = (source.parent / "to").stat()
    assert (int(state.st_mtime), state.st_mode & 0o777) == (1_100_000_000, 0o777)


def test_a_directory_and_a_target_that_is_one(copy_task: Task, tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "file").write_bytes(DATA)
    (tmp_path / "there").mkdir()
    copy_task.copy(tmp_path / "tree", tmp_path / "there", "n1")
    copy_task.copy(tmp_path / "tree" / "sub" / "file", tmp_path / "there", "n2", atomic=True)
    copy_task.resume()
    assert (tmp_path / "there" / "tree" / "sub" / "file").read_bytes() == DATA
    assert (tmp_path / "there" / "file").read_bytes() == DATA


@pytest.mark.parametrize("atomic", [False, True])
def test_rcopy_goes_to_basename_and_node(atomic: bool, copy_task: Task, source: Path) -> None:
    (source.parent / "here").mkdir()
    worker = copy_task.rcopy(source, source.parent / "here", "n[1-3]", atomic=atomic)
    copy_task.resume()
    assert worker.node_retcode("n2") == 0
    names = sorted(path.name for path in (source.parent / "here").iterdir())
    assert names == ["source.n1", "source.n2", "source.n3"]
    assert (source.parent / "here" / "source.n3").read_bytes() == DATA


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_odd_names(
    name: str, atomic: bool, solo_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    solo_task.set_default("distant_workername", "exec")
    real = name.replace("%%", "%")
    Path(real).write_bytes(DATA)
    Path("out").mkdir()
    solo_task.copy(name, "out", "n1", atomic=atomic)
    solo_task.copy(name, f"out/{name}2", "n2", atomic=atomic)
    solo_task.rcopy(name, "out", "n3", atomic=atomic)
    solo_task.resume()
    assert sorted(os.listdir("out")) == sorted([real, f"{real}2", f"{real}.n3"])
    assert {path.read_bytes() for path in Path("out").iterdir()} == {DATA}


@pytest.mark.parametrize("atomic", [False, True])
def test_a_failed_copy_is_its_node_s_outcome(atomic: bool, copy_task: Task, source: Path) -> None:
    (source.parent / "dir-n1").mkdir()
    (source.parent / "dir-n3").mkdir()
    worker = copy_task.copy(
        source, source.parent / "dir-%h" / "to", "n[1-3]", atomic=atomic, stderr=True
    )
    copy_task.resume()
    assert dict(worker.iter_node_retcodes()) == {"n1": 0, "n2": 1, "n3": 0}
    assert worker.node_error("n2")


def test_an_old_target_stays_when_an_atomic_copy_fails(copy_task: Task, source: Path) -> None:
    (source.parent / "target").write_bytes(b"old")
    (source.parent / "target").chmod(0o600)
    worker = copy_task.copy(source.parent / "missing", source.parent / "target", "n1", atomic=True)
    copy_task.resume()
    assert worker.node_retcode("n1") != 0
    assert (source.parent / "target").read_bytes() == b"old"
    assert not leftovers(source.parent)


def test_an_atomic_copy_that_is_ended_leaves_nothing(solo_task: Task, source: Path) -> None:
    """cp hangs in the middle, by a program in its place."""
    tools = source.parent / "bin"
    tools.mkdir()
    (tools / "cp").write_text('#!/bin/sh\nfor to; do :; done\necho part >"$to"\nexec sleep 60\n')
    (tools / "cp").chmod(0o755)
    os.environ["PATH"] = f"{tools}:{os.environ['PATH']}"
    try:
        solo_task.set_default("distant_workername", "exec")
        worker = solo_task.copy(source, source.parent / "to", "n1", timeout=1, atomic=True)
        solo_task.resume()
    finally:
        os.environ["PATH"] = os.environ["PATH"].removeprefix(f"{tools}:")
    assert list(worker.iter_keys_timeout()) == ["n1"]
    assert eventually(lambda: not leftovers(source.parent))
    assert not (source.parent / "to").exists()


def test_an_atomic_copy_goes_on_when_its_target_is_open(copy_task: Task, source: Path) -> None:
    target = source.parent / "to"
    target.write_bytes(b"old content")
    with target.open("rb") as before:
        copy_task.copy(source, target, "n1", atomic=True)
        copy_task.resume()
        assert before.read() == b"old content"
    assert target.read_bytes() == DATA


def test_copies_are_within_the_fanout(copy_task: Task, source: Path) -> None:
    copy_task.set_info("fanout", 1)
    seen = Recorder()
    copy_task.copy(source, source.parent / "to-%h", "n[1-6]", handler=seen)
    copy_task.resume()
    running = 0
    for name in seen.names():
        running += {"pickup": 1, "hup": -1}.get(name, 0)
        assert running <= 1


@pytest.mark.parametrize("worker_class", [ExecWorker, WorkerSsh])
def test_bad_copies_are_refused_at_the_call(worker_class: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    bad: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ValueError, "needs a command", {}),
        (ValueError, "needs a dest", {"source": "x"}),
        (ValueError, "needs a source", {"dest": "x"}),
        (ValueError, "either", {"source": "x", "dest": "y", "command": "true"}),
        (ValueError, "NUL", {"source": "a\0b", "dest": "y"}),
        (TypeError, "42", {"source": 42, "dest": "y"}),
        (
            ValueError,
            "not a directory",
            {"source": "x", "dest": tmp_path / "file", "reverse": True},
        ),
        (ValueError, "not a directory", {"source": "x", "dest": "/no/such", "reverse": True}),
        (ValueError, "no name", {"source": "/", "dest": tmp_path, "reverse": True}),
        (ValueError, "no name", {"source": "a/..", "dest": tmp_path, "reverse": True}),
        (ValueError, "is a directory", {"source": tmp_path, "dest": "y", "atomic": True}),
        (
            ValueError,
            "not a regular file",
            {"source": tmp_path / "fifo", "dest": "y", "atomic": True},
        ),
    ]
    for error, text, options in bad:
        with pytest.raises(error, match=text):
            worker_class("n1", **options)


def test_the_task_refuses_bad_copies(solo_task: Task, tmp_path: Path) -> None:
    untyped: Any = solo_task
    with pytest.raises(ValueError, match="nodes=None"):
        untyped.copy("/etc/hosts", "/tmp/x", None)
    with pytest.raises(ValueError, match="not a directory"):
        solo_task.rcopy("/etc/hosts", "/no/such", "n1")
    with pytest.raises(TypeError, match="presrve"):
        untyped.copy("/etc/hosts", "/tmp/x", "n1", presrve=True)
    worker = solo_task.copy("/etc/hosts", tmp_path / "x", "n1")
    with pytest.raises(WorkerError, match="reads no input"):
        worker.write(b"x")
    worker.abort()


def fake_scp(task: Task, path: Path) -> None:
    script = path / "fake-scp"
    script.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    script.chmod(0o755)
    task.set_info("scp_path", f"{script} -C")


def scp_argv(task: Task, node: str, *args: Any, **options: Any) -> list[str]:
    worker = task.copy(args[0], args[1], node, *args[2:], **options)
    task.resume()
    return (worker.node_buffer(node) or b"").decode().split("\n")


def test_the_command_line_of_scp(solo_task: Task, tmp_path: Path) -> None:
    fake_scp(solo_task, tmp_path)
    end = ["-oConnectTimeout=10", "-oBatchMode=yes", "--"]
    assert scp_argv(solo_task, "n1", "/etc/hosts", "/tmp/x") == [
        *("-C", *end, "/etc/hosts", "[n1]:/tmp/x"),
    ]
    solo_task.set_info("ssh_options", "-p 22")
    solo_task.set_info("ssh_user", "ada")
    assert scp_argv(solo_task, "::1", "/etc", "x", preserve=True) == [
        *("-C", "-p", "22", "-r", "-p", *end, "/etc", "ada@[::1]:x"),
    ]
    solo_task.set_info("scp_options", "-P 2222")
    solo_task.set_info("scp_user", "bob")
    solo_task.set_info("connect_timeout", 0)
    assert scp_argv(solo_task, "n1", "a", str(tmp_path), reverse=True) == [
        *("-C", "-P", "2222", "-r", "-oBatchMode=yes", "--", "bob@[n1]:a", f"{tmp_path}/a.n1"),
    ]


def test_users_of_nodes_in_copies(solo_task: Task, tmp_path: Path) -> None:
    fake_scp(solo_task, tmp_path)
    solo_task.set_info("connect_timeout", 0)
    end = ["-C", "-oBatchMode=yes", "--"]
    for node, place in (("ada@n1", "ada@[n1]"), ("ada@::1", "ada@[::1]")):
        assert scp_argv(solo_task, node, "/etc/hosts", "x") == [*end, "/etc/hosts", f"{place}:x"]
        assert scp_argv(solo_task, node, "/x", tmp_path, reverse=True) == [
            "-C", "-r", "-oBatchMode=yes", "--", f"{place}:/x", f"{tmp_path}/x.{node}",
        ]  # fmt: skip
    worker = solo_task.copy("/etc/hosts", "x", "n1,ada@n2")
    solo_task.resume()
    assert (worker.node_buffer("n1") or b"").endswith(b"\n[n1]:x")
    # As `ssh -l bob ada@n1` does.
    solo_task.set_info("ssh_user", "bob")
    assert scp_argv(solo_task, "ada@n1", "/etc/hosts", "x")[-1] == "bob@[n1]:x"


def test_nodes_and_users_that_scp_would_not_understand(solo_task: Task) -> None:
    for node in ("a/b", "u@a@h", "u/x@h", "-u@h", "u:x@h", "u@", "a b", "-x"):
        with pytest.raises(WorkerError, match="would be taken for"):
            WorkerSsh([node], source="/etc/hosts", dest="x")
    solo_task.set_info("ssh_user", "a/b")
    solo_task.copy("/etc/hosts", "/tmp/x", "n1")
    with pytest.raises(WorkerError, match="'a/b'"):
        solo_task.resume()


def test_a_copy_that_is_killed_is_no_success(solo_task: Task, tmp_path: Path) -> None:
    script = tmp_path / "scp"
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    script.chmod(0o755)
    solo_task.set_info("scp_path", str(script))
    worker = solo_task.copy("/etc/hosts", "/tmp/x", "n[1-2]")
    solo_task.resume()
    assert {code for _, code in worker.iter_node_retcodes()} == {128 + signal.SIGKILL}


# -- copies back that would meet --------------------------------------------------------------------


def test_copies_back_to_one_name_are_refused(copy_task: Task, source: Path, tmp_path: Path) -> None:
    for place in ("a", "b", "here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "log").write_text(place)
    (tmp_path / "here" / "log").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    copy_task.rcopy(tmp_path / "a" / "log", tmp_path / "here", "n[1-3]")
    for dest in (tmp_path / "here", f"{tmp_path}/here/", tmp_path / "link"):
        with pytest.raises(WorkerError, match=r"log\.n3'$"):
            copy_task.rcopy(tmp_path / "b" / "log", dest, "n[3-4]")
    # Other nodes, another directory, another name, the other way: nothing meets.
    copy_task.rcopy(tmp_path / "b" / "log", tmp_path / "here", "n[4-5]")
    copy_task.rcopy(tmp_path / "b" / "log", tmp_path / "there", "n[1-3]")
    copy_task.rcopy(source, tmp_path / "here", "n[1-3]")
    copy_task.copy(tmp_path / "b" / "log", tmp_path / "here" / "log.%h", "x[1-2]")
    copy_task.resume()
    assert copy_task.max_retcode() == 0
    assert {p.name: p.read_text() for p in (tmp_path / "here").glob("log.*")} == {
        **{f"log.n{i}": "a" for i in (1, 2, 3)},
        **{f"log.{node}": "b" for node in ("n4", "n5", "x1", "x2")},
    }


def test_names_and_nodes_that_make_one_name(copy_task: Task, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    (tmp_path / "x.y").write_text("")
    copy_task.rcopy(tmp_path / "x", tmp_path, "y.z")
    with pytest.raises(WorkerError, match=r"x\.y\.z"):
        copy_task.rcopy(tmp_path / "x.y", tmp_path, "z")


def test_a_copy_back_from_a_handler_is_checked_too(copy_task: Task, source: Path) -> None:
    refused = []

    def again(worker: Any, *_: Any) -> None:
        try:
            worker.task.rcopy(source, source.parent, "n1")
        except WorkerError as error:
            refused.append(str(error))

    first = ExecWorker(
        "n1", Recorder(pickup=again), source=str(source), dest=str(source.parent), reverse=True
    )
    copy_task.schedule(first)
    copy_task.resume()
    assert len(refused) == 1 and "source.n1" in refused[0]
    # Over: the next one may replace the file.
    again(first)
    copy_task.resume()
    assert len(refused) == 1 and copy_task.max_retcode() == 0


@pytest.mark.parametrize("worker_class", [ExecWorker, WorkerSsh])
def test_a_directory_in_the_place_of_a_copy_back_is_refused(
    worker_class: Any, tmp_path: Path
) -> None:
    (tmp_path / "tree.n2").mkdir()
    (tmp_path / "tree.n4").write_text("a file is replaced")
    worker_class("n[1,3-4]", source="tree", dest=tmp_path, reverse=True)
    with pytest.raises(WorkerError, match=r"tree\.n2' is a directory already"):
        worker_class("n[1-4]", source="tree", dest=tmp_path, reverse=True)


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("worker_class", [ExecWorker, WorkerSsh, WorkerRsh, WorkerPdsh])
def test_a_node_s_name_does_not_lead_out_of_the_directory(
    worker_class: Any, atomic: bool, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    (kept / "log.a").mkdir(parents=True)
    for node in ("a/../../out", "/", "a/", "../x", "./.."):
        with pytest.raises((WorkerError, EngineClientNotSupportedError)) as caught:
            worker_class(f"n1,{node}", source="/log", dest=kept, reverse=True, atomic=atomic)
        assert repr(node) in str(caught.value) or atomic


@pytest.mark.parametrize("atomic", [False, True])
def test_names_of_dots_stay_in_the_directory(
    atomic: bool, copy_task: Task, source: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    copy_task.rcopy(source, kept, ".,..,...", atomic=atomic)
    copy_task.resume()
    assert sorted(os.listdir(kept)) == ["source..", "source...", "source...."]
    for node in ("..", ".", "a/b", "/"):
        copy_task.copy(source, kept / "%h", f"n1,{node}", atomic=atomic)
        with pytest.raises(WorkerError, match=f"node {node!r} would lead out of"):
            copy_task.resume()
    assert not (tmp_path / "source").is_dir() and len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("worker_class", [ExecWorker, WorkerSsh, WorkerRsh, WorkerPdsh])
def test_a_target_of_a_copy_back_that_is_no_file_is_refused(
    worker_class: Any, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "log.n1")
    (tmp_path / "log.n2").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "log.n3").symlink_to("/")
    (tmp_path / "log.n4").write_text("")
    worker_class("n4", source="/log", dest=tmp_path, reverse=True)
    for node, kind in (("n1", "a special file"), ("n2", "a symbolic link"), ("n3", "a directory")):
        with pytest.raises(WorkerError, match=f"log.{node}' is {kind} already"):
            worker_class(f"n4,{node}", source="/log", dest=tmp_path, reverse=True)


def test_an_atomic_copy_back_replaces_an_existing_target(
    copy_task: Task, source: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "source.n1")
    (tmp_path / "elsewhere").write_text("stays")
    (tmp_path / "source.n2").symlink_to(tmp_path / "elsewhere")
    copy_task.rcopy(source, tmp_path, "n[1-2]", atomic=True)
    copy_task.resume()
    assert copy_task.max_retcode() == 0
    assert (tmp_path / "elsewhere").read_text() == "stays"
    for node in ("n1", "n2"):
        kept = tmp_path / f"source.{node}"
        assert not kept.is_symlink() and kept.read_bytes() == source.read_bytes()


def test_a_placeholder_in_the_name_of_a_copy_back(copy_task: Task, tmp_path: Path) -> None:
    (tmp_path / "n1").write_text("")
    (tmp_path / "n1.n1").mkdir()
    with pytest.raises(WorkerError, match=r"n1\.n1' is a directory already"):
        copy_task.rcopy(tmp_path / "%h", tmp_path, "n1")


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_directory_as_target_stays_one(
    slash: str, atomic: bool, copy_task: Task, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "other").write_bytes(b"kept")
    copy_task.copy(source, f"{tmp_path}/there{slash}", "n1", atomic=atomic)
    copy_task.rcopy(source, f"{tmp_path}/there{slash}", "n2", atomic=atomic)
    missing = copy_task.copy(source, f"{tmp_path}/missing/", "n3", atomic=atomic)
    copy_task.resume()
    assert sorted(os.listdir(tmp_path / "there")) == ["other", "source", "source.n2"]
    assert missing.node_retcode("n3") != 0 and not (tmp_path / "missing").exists()
