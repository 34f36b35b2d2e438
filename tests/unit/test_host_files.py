"""Files that the engines of another host read: sent once a host, and again where their keeper dies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest

from mpshell.coordinator.engine import EngineState
from mpshell.coordinator.hostfiles import HostFiles
from mpshell.coordinator.job import Job, Listener
from mpshell.coordinator.results import WorkerResults
from mpshell.engine.kept import FileKeeper
from mpshell.engine.report import Report
from mpshell.errors import ProtocolError
from mpshell.runtime.sourcefile import StagedSource
from mpshell.wire import files
from mpshell.wire import messages as m
from tests.engine.conftest import job as spec
from tests.fakes import FakeEngine, FakeLauncher

ROOM = 1 << 30


def engine_on(stage: str, number: int = 1) -> EngineState:
    """Return an engine of a host with this directory as its outpost's stage."""
    link = FakeEngine(number, FakeLauncher(far=True))
    link.stage = stage
    return EngineState(link)


def job_with(data: bytes) -> Job:
    job = Job(spec("true"), ["n1"], ["n1"], cast(Listener, None), WorkerResults())
    job.id, job.token = 7, "token"
    job.input.append(data)
    return job


def keep(engine: EngineState, keeper: FileKeeper, report: Report) -> list[m.Message]:
    """Have a keeper handle the messages in an engine's outbox; return its reports."""
    for message in engine.outbox:
        assert isinstance(message, (files.Keep, files.KeepEnd, files.Drop))
        keeper.handle(message)
    engine.outbox.clear()
    return report.take()


def test_the_input_goes_to_one_engine_of_each_host(tmp_path: Path) -> None:
    host_files, job = HostFiles(), job_with(b"abc" * 200_000)
    stages = [tmp_path / "1", tmp_path / "2"]
    engines = [engine_on(os.fspath(stage), n) for stage in stages for n in (1, 2)]
    for stage in stages:
        stage.mkdir()
    assert [host_files.feed(engine, job, ROOM) for engine in engines] == [600_000, 0, 600_000, 0]
    for first, second in (engines[:2], engines[2:]):
        report = Report()
        for event in keep(first, FileKeeper(report), report):
            assert isinstance(event, files.Kept)
            assert host_files.kept(first, event) == job.id
        # Both can read it now, and it has the bytes that were written.
        assert host_files.readable(first, job) == host_files.readable(second, job)
        size, path = host_files.readable(second, job)
        assert (size, Path(path).read_bytes()) == (600_000, b"abc" * 200_000)


def test_no_more_is_sent_than_there_is_room_for(tmp_path: Path) -> None:
    host_files, job, engine = (
        HostFiles(),
        job_with(b"x" * 3_000_000),
        engine_on(os.fspath(tmp_path)),
    )
    sent = host_files.feed(engine, job, 1 << 20)
    assert 1 << 20 <= sent < 1 << 21
    assert host_files.lacks(engine, job)
    while host_files.lacks(engine, job):
        sent += host_files.feed(engine, job, 1 << 20)
    assert sent == 3_000_000


def test_another_engine_goes_on_where_the_file_ends(tmp_path: Path) -> None:
    host_files, job = HostFiles(), job_with(b"0123456789" * 100_000)
    first, second = (engine_on(os.fspath(tmp_path), n) for n in (1, 2))
    host_files.feed(first, job, ROOM)
    # It has written some pieces when it dies; the first of them was reported.
    report = Report()
    keeper = FileKeeper(report)
    pieces = [message for message in first.outbox if isinstance(message, files.Keep)]
    for message in pieces[:2]:
        keeper.handle(message)
    [event, _] = report.take()
    assert isinstance(event, files.Kept)
    host_files.kept(first, event)
    assert list(host_files.gone(first)) == [job.id]
    assert host_files.feed(second, job, ROOM) == 1_000_000 - len(pieces[0].data)
    for event in keep(second, FileKeeper(report), report):
        assert isinstance(event, files.Kept)
        host_files.kept(second, event)
    size, path = host_files.readable(second, job)
    assert size == 1_000_000
    assert Path(path).read_bytes() == b"0123456789" * 100_000


def test_a_source_is_there_when_it_is_whole(tmp_path: Path) -> None:
    """With its name, mode and times; and it goes with the job."""
    (source := tmp_path / "source").write_bytes(b"content" * 1000)
    source.chmod(0o751)
    os.utime(source, ns=(1_000_000_000_000_000_001, 1_100_000_000_000_000_002))
    job, host_files = job_with(b""), HostFiles()
    job.source = StagedSource(os.fspath(source))
    (stage := tmp_path / "stage").mkdir()
    engine = engine_on(os.fspath(stage))
    host_files.feed(engine, job, ROOM)
    report = Report()
    keeper = FileKeeper(report)
    for event in keep(engine, keeper, report):
        assert not host_files.is_there(engine, job)
        assert isinstance(event, files.Kept)
        host_files.kept(engine, event)
    assert host_files.is_there(engine, job)
    [copied] = (stage / "token").iterdir()
    status = copied.stat()
    assert copied.name == "source" and copied.read_bytes() == source.read_bytes()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o751, 1_100_000_000_000_000_002)
    assert host_files.feed(engine, job, ROOM) == 0 and not engine.outbox
    host_files.forget(job, [engine])
    job.source.close()
    keep(engine, keeper, report)
    assert not list(stage.iterdir())
    # A report that was on its way then counts for nothing.
    assert host_files.kept(engine, files.Kept(os.fspath(copied), 7000, "")) == 0


def test_a_file_that_cannot_be_kept_is_reported(tmp_path: Path) -> None:
    report = Report()
    FileKeeper(report).handle(files.Keep(f"{tmp_path}/absent/token/input", 0, b"x"))
    [event] = report.take()
    assert event == files.Kept(f"{tmp_path}/absent/token/input", -1, "No such file or directory")


@pytest.mark.parametrize(
    ("path", "size"), [("other", 1), ("own", 9), ("own", files.WHOLE), ("own", -7)]
)
def test_a_false_report_is_a_protocol_error(path: str, size: int, tmp_path: Path) -> None:
    host_files, job, engine = HostFiles(), job_with(b"abc"), engine_on(os.fspath(tmp_path))
    host_files.feed(engine, job, ROOM)
    own = host_files.readable(engine, job)[1]
    with pytest.raises(ProtocolError):
        host_files.kept(engine, files.Kept(own if path == "own" else path, size, ""))
