"""The journal that --report has for itself: gone after the run, and after a SIGKILL with the next run."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from pathlib import Path

import pytest

from mpshell.cli.report import place
from tests.cli.program import gone, local, started
from tests.support import eventually


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the directory for temporary files, here and in programs."""
    made = tmp_path / "tmp"
    made.mkdir()
    monkeypatch.setenv("TMPDIR", str(made))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return made


def test_one_that_a_killed_program_has_left_goes_with_the_next_run(
    folder: Path, tmp_path: Path
) -> None:
    """And not that of a run which goes on, nor the files of others."""
    mark = uuid.uuid4().hex
    (folder / "mpshell-report").mkdir()
    (folder / f"mpshell-report-another-host-{mark}").mkdir()
    others = set(folder.iterdir())

    def begun(count: int) -> set[Path]:
        found: set[Path] = set()

        def are_there() -> bool:
            found.update(
                path for path in set(folder.iterdir()) - others if (path / "journal").exists()
            )
            return len(found) == count

        assert eventually(are_there), found
        return found

    words = ("-R", "exec", "-w", "n1", "--report", str(tmp_path / "page.html"), "sleep 60")
    with started(*words, env={"MPSHELL_TEST_MARK": mark}) as live:
        [lives] = begun(1)
        with started(*words, env={"MPSHELL_TEST_MARK": mark}) as killed:
            both = begun(2)
            killed.kill()
            killed.wait()
        assert set(folder.iterdir()) >= both
        assert local("-w", "n1", "--report", str(tmp_path / "page.html"), "true").code == 0
        assert set(folder.iterdir()) == {lives, *others}
        live.send_signal(signal.SIGTERM)
        live.communicate(timeout=60)
    assert set(folder.iterdir()) == others
    assert gone(mark)


def test_one_that_is_removed_before_it_is_locked_is_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program took it for one that was left: before it was opened, or after."""
    real_make, real_open = tempfile.mkdtemp, place._opened
    made: list[str] = []

    def make(prefix: str) -> str:
        made.append(real_make(prefix=prefix))
        if len(made) == 1:
            os.rmdir(made[0])
        return made[-1]

    def open_(path: str) -> int:
        fd = real_open(path)
        if len(made) == 2:
            os.rmdir(path)
        return fd

    monkeypatch.setattr(tempfile, "mkdtemp", make)
    monkeypatch.setattr(place, "_opened", open_)
    own = place.OwnPlace()
    assert len(made) == 3 and own.path == made[-1] and os.path.isdir(own.path)
    own.remove()
    own.remove()
    assert list(folder.iterdir()) == []


@pytest.mark.needs("root")
def test_what_another_user_or_a_link_has_there_is_left_alone(folder: Path, tmp_path: Path) -> None:
    """The directory for temporary files is everybody's."""
    theirs = folder / f"{place._prefix()}theirs"
    theirs.mkdir()
    os.chown(theirs, 54321, 54321)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    link = folder / f"{place._prefix()}link"
    link.symlink_to(tmp_path / "precious")
    left = folder / f"{place._prefix()}left"
    left.mkdir()
    place.OwnPlace().remove()
    assert set(folder.iterdir()) == {theirs, link}
    assert (tmp_path / "precious" / "file").exists()
    shutil.rmtree(theirs)
