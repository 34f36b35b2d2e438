"""The directory in which an atomic copy arrives: another user gets nothing into it, and nothing of it.

The attacker knows every name (all users read arguments in `ps`) and is as fast as can be: the mkdir of the
copy is a script of the attacker's, which acts just before or just after the real one.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mpshell import Task
from mpshell.wire.messages import Template
from mpshell.wire.templates import encode_template, fill
from mpshell.worker import atomic
from mpshell.worker.copy import check_copy
from tests.copies import leftovers

DATA = bytes(range(256)) * 300

#: Another user's id, where the tests may act as one.
OTHER = 12345


def different_shells() -> list[str]:
    """Return shells that a node may have as /bin/sh. POSIX has one; others are tried where they are.

    Not busybox: its mkdir is its own, and not that of the attacker here.
    """
    found = {os.path.realpath(shutil.which("sh") or "/bin/sh"): "sh"}
    for name in ("dash", "bash", "ksh93", "mksh", "yash"):
        if path := shutil.which(name):
            found.setdefault(os.path.realpath(path), name)
    return list(found.values())


SHELLS = different_shells()

Copier = Callable[..., "subprocess.CompletedProcess[bytes]"]


def give_away(path: Path) -> None:
    """Make a file the attacker's, as far as this process may."""
    if os.geteuid() == 0:
        os.chown(path, OTHER, OTHER, follow_symlinks=False)


class Place:
    """A file to copy, and the directory that it goes to, in which others may write."""

    def __init__(self, path: Path) -> None:
        self.source = path / "source"
        self.source.write_bytes(DATA)
        self.source.chmod(0o640)
        self.to = path / "to"
        self.to.mkdir()
        self.to.chmod(0o777)
        self.target = self.to / "target"
        #: The attacker wants this file to be written, or its mode to be changed.
        self.victim = path / "victim"
        self.victim.write_bytes(b"old")
        self.victim.chmod(0o600)
        self.tools = path / "tools"
        self.tools.mkdir()
        self.evil = path / "evil"
        self.evil.mkdir()
        self.evil.chmod(0o755)
        give_away(self.evil)

    def attack(self, before: str = "", after: str = "") -> None:
        """Do something around the mkdir of a copy; $name is the directory, $base its last part."""
        mkdir = self.tools / "mkdir"
        mkdir.write_text(
            '#!/bin/sh\ncase $1 in -m) ;; *) exec /bin/mkdir "$@";; esac\n'
            f"for name; do :; done\nbase=${{name##*/}}\nvictim={self.victim}\nevil={self.evil}\n"
            f'{before}\n/bin/mkdir "$@" || exit 1\n{after}\n'
        )
        mkdir.chmod(0o755)

    def run(self, words: tuple[Template, ...], shell: str) -> subprocess.CompletedProcess[bytes]:
        """Run the command of a copy, its scripts in `shell`."""
        bin_sh = shutil.which(shell) or shell
        text = [
            word.replace(b"/bin/sh", os.fsencode(bin_sh))
            for word in fill(map(encode_template, words), b"node", 7)
        ]
        argv = text[0].split() + text[1:]
        environment = {**os.environ, "PATH": f"{self.tools}:{os.environ['PATH']}"}
        # A FIFO that is opened would be waited for.
        return subprocess.run(
            argv, env=environment, capture_output=True, timeout=5, cwd=self.tools, check=False
        )

    def check_untouched(self) -> None:
        assert self.victim.read_bytes() == b"old"
        assert self.victim.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def place(tmp_path: Path) -> Place:
    tmp_path.chmod(0o755)
    return Place(tmp_path)


def send(place: Place, shell: str, **options: bool) -> subprocess.CompletedProcess[bytes]:
    copy = check_copy(
        place.source, place.target, preserve=options.get("preserve", False), reverse=False, atomic=True
    )  # fmt: skip
    return place.run(atomic.send(copy, (("sh",), ("-c",))), shell)


def fetch(place: Place, shell: str, **options: bool) -> subprocess.CompletedProcess[bytes]:
    copy = check_copy(
        place.source, place.to, preserve=options.get("preserve", False), reverse=True, atomic=True
    )  # fmt: skip
    return place.run(atomic.fetch(copy, (("sh",), ("-c",)), (str(place.target),)), shell)


def local(place: Place, shell: str, **options: bool) -> subprocess.CompletedProcess[bytes]:
    words = atomic.local(
        (str(place.source),), (str(place.target),), ("source",), options.get("preserve", False)
    )  # fmt: skip
    return place.run(words, shell)


COPIERS = pytest.mark.parametrize(
    "copier", [send, fetch, local], ids=lambda copier: copier.__name__
)
IN_SHELLS = pytest.mark.parametrize("shell", SHELLS)


@IN_SHELLS
@COPIERS
@pytest.mark.parametrize("preserve", [False, True])
def test_it_arrives_and_leaves_nothing(
    copier: Copier, shell: str, preserve: bool, place: Place
) -> None:
    os.utime(place.source, (1_000_000_000, 1_100_000_000))
    place.target.write_bytes(b"old")
    done = copier(place, shell, preserve=preserve)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert place.target.read_bytes() == DATA
    assert place.target.stat().st_mode & 0o777 == 0o640
    if preserve:
        assert place.target.stat().st_mtime == 1_100_000_000
    assert os.listdir(place.to) == ["target"]


@IN_SHELLS
@COPIERS
@pytest.mark.parametrize(
    "planted",
    [
        'ln -s "$victim" "$name"',
        'ln -s "$evil" "$name"',
        'ln -s missing "$name"',
        'mkfifo "$name"',
        'echo >"$name"',
        '/bin/mkdir "$name"; mkfifo "$name/$base"',
        '/bin/mkdir "$name"; ln -s "$victim" "$name/$base"',
    ],
)
def test_whatever_has_the_name_already_is_refused_and_kept(
    planted: str, copier: Copier, shell: str, place: Place
) -> None:
    place.attack(before=planted)
    done = copier(place, shell)
    assert done.returncode == 1
    assert b"needs a directory of its own" in done.stdout + done.stderr
    place.check_untouched()
    assert len(leftovers(place.to)) >= 1 and not place.target.exists()
    assert os.listdir(place.evil) == []


@IN_SHELLS
@COPIERS
@pytest.mark.parametrize("owner", ["others may write", "another user's"])
@pytest.mark.parametrize(
    "put",
    [
        'ln -s "$evil" "$name"',
        'ln -s "$evil" "$name"; ln -s "$victim" "$evil/$base"',
        'ln -s "$evil" "$name"; mkfifo "$evil/$base"',
        '/bin/mkdir -m 755 "$name"; ln -s "$victim" "$name/$base"',
        'ln -s "$victim" "$name"',
    ],
)
def test_another_directory_under_the_name_is_not_written_to(
    put: str, owner: str, copier: Copier, shell: str, place: Place
) -> None:
    """Where others may rename files beside the target, the name leads to something else a moment later."""
    if owner == "another user's" and os.geteuid() == 0:
        place.to.chmod(0o755)
        give_away(place.to)
    place.attack(after=f'mv "$name" "$name.away"; {put}')
    done = copier(place, shell)
    assert done.returncode == 1, done
    place.check_untouched()
    assert not place.target.exists()
    assert all(not path.is_file() or path.is_symlink() for path in place.evil.iterdir())


@IN_SHELLS
@COPIERS
def test_a_file_system_without_modes(copier: Copier, shell: str, place: Place) -> None:
    """As FAT does: it is enough that nobody else may make an entry beside the target."""
    place.attack(after='chmod 755 "$name"')
    place.to.chmod(0o755)
    assert copier(place, shell).returncode == 0
    for mode in (0o1777, 0o775):
        place.to.chmod(mode)
        place.target.unlink(missing_ok=True)
        done = copier(place, shell)
        assert done.returncode == 1
        assert b"other users can change what is beside it" in done.stdout + done.stderr
        assert os.listdir(place.to) == []


@IN_SHELLS
@COPIERS
def test_a_file_system_that_shows_us_as_somebody_else(
    copier: Copier, shell: str, place: Place
) -> None:
    """As NFS shows root: by an `id` that prints another number than that of a new file's owner."""
    (place.tools / "id").write_text("#!/bin/sh\necho 65534\n")
    (place.tools / "id").chmod(0o755)
    done = copier(place, shell)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert os.listdir(place.to) == ["target"]


@IN_SHELLS
@COPIERS
def test_the_directory_is_private_before_anything_is_in_it(
    copier: Copier, shell: str, place: Place
) -> None:
    seen = place.tools / "seen"
    place.attack(after=f'ls -ld "$name" >{seen}; ls -A "$name" >>{seen}')
    done = copier(place, shell)
    assert done.returncode == 0, done
    assert seen.read_text().startswith("drwx------") and seen.read_text().count("\n") == 1


@IN_SHELLS
@COPIERS
def test_a_group_that_the_directory_passes_on(copier: Copier, shell: str, place: Place) -> None:
    """mkdir(2) hands the bit on to our directory; a mkdir that changes the mode afterwards takes it away."""
    groups = [OTHER] if os.geteuid() == 0 else [*os.getgroups(), os.getgid()]
    os.chown(place.to, -1, groups[0])
    place.to.chmod(0o2775)
    place.attack(after='chmod g-s "$name"')
    done = copier(place, shell)
    assert done.returncode == 0, done
    assert place.target.stat().st_gid == groups[0]


@IN_SHELLS
@COPIERS
@pytest.mark.parametrize("mv", ["", "exec /bin/mv"])
def test_a_directory_that_takes_the_place_of_the_target(
    mv: str, copier: Copier, shell: str, place: Place
) -> None:
    """Between the look at the target and the rename: nothing is moved into it, nor to where a link leads."""
    if mv:
        # One without -T, as that of a BSD.
        (place.tools / "mv").write_text(
            '#!/bin/sh\ncase $1 in *T*) echo "mv: illegal option -- T" >&2; exit 64;; esac\n'
            f'{mv} "$@"\n'
        )
        (place.tools / "mv").chmod(0o755)
        assert copier(place, shell).returncode == 0
        assert place.target.read_bytes() == DATA
        return
    place.attack(after=f"ln -s {place.evil} {place.target}")
    assert copier(place, shell).returncode == 0
    assert not place.target.is_symlink() and place.target.read_bytes() == DATA
    place.target.unlink()
    place.attack(after=f"/bin/mkdir {place.target}")
    done = copier(place, shell)
    assert done.returncode == 1 and b"target" in done.stdout + done.stderr
    assert os.listdir(place.target) == os.listdir(place.evil) == []
    assert not leftovers(place.to)


@IN_SHELLS
@COPIERS
def test_a_path_through_a_link_and_back(copier: Copier, shell: str, place: Place) -> None:
    """`link/../to` is where the kernel finds it: above the directory that the link leads to."""
    (place.to / "deep").mkdir()
    (place.tools / "link").symlink_to(place.to / "deep")
    place.target = place.tools / "link" / ".." / "target"
    assert copier(place, shell).returncode == 0
    assert (place.to / "target").read_bytes() == DATA
    assert sorted(os.listdir(place.to)) == ["deep", "target"]


@pytest.mark.parametrize(
    ("head", "shown"),
    [
        ("mpshell 5 a[$(touch${IFS}pwned)] 0 0", b"touch"),
        ("mpshell a[$(touch${IFS}pwned)] 644 0 0", b"touch"),
        ("mpshell 5", b"mpshell: "),
        ("Welcome to node", b"Welcome to node"),
        ("mpshell 1:5 644 0 0", b"1:5"),
    ],
)
@IN_SHELLS
def test_a_node_that_sends_a_strange_head_gets_nothing_done_here(
    head: str, shown: bytes, shell: str, place: Place
) -> None:
    """bash and ksh expand a $(command) in the index of an array within arithmetic."""
    copy = check_copy(place.source, place.to, preserve=False, reverse=True, atomic=True)
    node = place.tools / "node"
    node.write_text(f"#!/bin/sh\necho '{head}'\nprintf 12345\n")
    node.chmod(0o755)
    done = place.run(atomic.fetch(copy, ((str(node),),), (str(place.target),)), shell)
    assert done.returncode == 1 and shown in done.stderr + done.stdout
    assert not (place.tools / "pwned").exists() and os.listdir(place.to) == []


@IN_SHELLS
@COPIERS
def test_a_directory_in_which_nothing_can_be_made(copier: Copier, shell: str, place: Place) -> None:
    """A file that could be written, in a directory that cannot: it cannot be replaced in one step."""
    place.target.write_bytes(b"old")
    place.attack(before='echo "mkdir: cannot create: Disk quota exceeded" >&2; exit 1')
    done = copier(place, shell)
    assert done.returncode == 1
    assert b"quota" in done.stdout + done.stderr
    assert b"needs a directory of its own beside it" in done.stdout + done.stderr
    assert place.target.read_bytes() == b"old" and os.listdir(place.to) == ["target"]


def test_a_race_for_all_names_in_a_sticky_directory(solo_task: Task, place: Place) -> None:
    """Another process puts links where it sees a copy's arguments: no copy writes through one."""
    place.to.chmod(0o1777)
    hunter = place.tools / "hunter.py"
    hunter.write_text(
        "import os, re, sys\n"
        "os.geteuid() or os.setresuid(12345, 12345, 12345)\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for pid in filter(str.isdecimal, os.listdir('/proc')):\n"
        "        try:\n"
        "            words = open(f'/proc/{pid}/cmdline').read()\n"
        "        except OSError:\n"
        "            continue\n"
        "        for name in re.findall(r'\\.mpshell-[0-9a-f]+-[0-9]+', words):\n"
        "            try:\n"
        "                os.symlink(sys.argv[2], f'{sys.argv[1]}/{name}-{pid}')\n"
        "            except OSError:\n"
        "                pass\n"
    )
    solo_task.set_default("distant_workername", "exec")
    argv = ["python3", str(hunter), str(place.to), str(place.victim)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        worker = solo_task.copy(place.source, place.to / "target-%h", "n[1-100]", atomic=True)
        solo_task.resume()
        process.kill()
    place.check_untouched()
    codes = dict(worker.iter_node_retcodes())
    assert len(codes) == 100 and set(codes.values()) <= {0, 1}
    for node, code in codes.items():
        target = place.to / f"target-{node}"
        assert target.exists() == (code == 0)
        assert not target.exists() or stat.S_ISREG(target.lstat().st_mode)
