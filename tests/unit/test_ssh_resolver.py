"""Configuration files: which are read, how often commands of Match run, the cost of long files."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from mpshell import WorkerError
from mpshell.ssh.check import check_request
from mpshell.ssh.profile import Profile
from mpshell.ssh.reading import Reading
from mpshell.ssh.request import Request
from tests.support import eventually, run_script


def home(tmp_path: Path, **files: str) -> Path:
    """Give a home with files in .ssh."""
    directory = tmp_path / ".ssh"
    directory.mkdir(mode=0o700)
    for name, text in files.items():
        (directory / name).write_text(text)
    return tmp_path


def reading(at: Path, request: Request | None = None) -> Reading:
    return Reading(request or Request(), {}, str(at), lambda command: None)


def profile(at: Path, node: str = "node", request: Request | None = None) -> Profile:
    return reading(at, request).profile(node)


def test_the_user_s_file_and_its_includes(tmp_path: Path) -> None:
    at = home(
        tmp_path, config="Include more ~/.ssh/third\nPort 3\n", more="User one\n", third="Port 5\n"
    )
    found = profile(at)
    assert (found.user, found.port) == ("one", 5)
    assert found.known_files[0] == f"{at}/.ssh/known_hosts"
    assert (f"{at}/.ssh/id_ed25519", False) in found.identities


def kept(at: Path, environ: dict[bytes, bytes] | None = None) -> Reading:
    return Reading.of(Request(), environ or {}, str(at), lambda command: None)


def test_a_reading_serves_as_long_as_nothing_changes(tmp_path: Path) -> None:
    at = home(tmp_path, config="Include *.more\nPort 3\n", **{"a.more": "User one\n"})
    first = kept(at)
    assert kept(at) is first
    assert kept(at, {b"SSH_AUTH_SOCK": b"/run/agent"}) is not first
    (tmp_path / ".ssh" / "a.more").write_text("User two\n")
    second = kept(at)
    assert second.profile("node").user == "two"
    assert kept(at) is second
    (tmp_path / ".ssh" / "b.more").write_text("Compression yes\nPort 5\n")
    third = kept(at)
    assert third.profile("node").port == 5
    (tmp_path / ".ssh" / "config").unlink()
    assert kept(at).profile("node").port == 22
    (tmp_path / ".ssh" / "config").write_text("Port 7\n")
    assert kept(at).profile("node").port == 7
    (tmp_path / ".ssh" / "config").chmod(0o666)
    with pytest.raises(WorkerError, match="bad owner or permissions"):
        kept(at)


def test_a_reading_with_commands_serves_once(tmp_path: Path) -> None:
    at = home(tmp_path, config="Match exec true\nPort 3\n")
    assert kept(at) is not kept(at)


def test_readings_of_long_files_displace_each_other(tmp_path: Path) -> None:
    at = home(tmp_path, config="".join(f"Host n{n}\nPort 3\n" for n in range(30_000)))
    first = kept(at)
    assert kept(at) is first
    other = Reading.of(Request(user="other"), {}, str(at), lambda command: None)
    assert kept(at) is not first and other.size > 30_000


def test_one_environment_is_kept(tmp_path: Path) -> None:
    at = home(tmp_path, config="Port 3\n")
    first = kept(at)
    for number in range(3):
        assert kept(at, {b"NUMBER": b"%d" % number}) is not first
    assert kept(at) is not first


@pytest.mark.needs("root")
def test_a_file_that_could_not_be_read_is_read_when_it_can_be(tmp_path: Path) -> None:
    script = """
        import os, sys
        from mpshell.ssh.reading import Reading
        from mpshell.ssh.request import Request

        def port():
            found = Reading.of(Request(), {}, sys.argv[1], lambda command: None)
            return found.profile("node").port

        os.seteuid(65534)
        before = port()
        os.seteuid(0)
        print(before, port())
        os.seteuid(65534)
        print(port())
    """
    at = home(tmp_path, config="Port 2222\n")
    for directory in (tmp_path, tmp_path / ".ssh"):
        directory.chmod(0o755)
    (tmp_path / ".ssh" / "config").chmod(0o600)
    done = run_script(textwrap.dedent(script), args=[str(at)])
    assert done.stdout.split() == ["22", "2222", "22"], done.stderr


def test_info_keys_go_between_the_words_and_the_files(tmp_path: Path) -> None:
    at = home(tmp_path, config="User file\nConnectTimeout 99\nForwardAgent yes\n")
    found = profile(at, "node", Request(user="info", connect_timeout=2.5))
    assert (found.user, found.connect_timeout) == ("info", 3)
    found = profile(at, "node", Request("info", 5, ("-l", "word", "-oConnectTimeout=7")))
    assert (found.user, found.connect_timeout) == ("word", 7)
    assert profile(at, "you@node", Request(user="info")).user == "info"
    assert profile(at, "you@node").user == "you"


def test_files_that_include_each_other_are_an_error(tmp_path: Path) -> None:
    at = home(tmp_path, config="Include config\n")
    with pytest.raises(WorkerError, match="too many files within files"):
        reading(at)


def test_no_files_at_all(tmp_path: Path) -> None:
    at = home(tmp_path, config="Port 3\n")
    assert profile(at, "node", Request(options=("-F", "none"))).port == 22


def test_a_command_of_match_is_executed_once_in_the_user_s_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    text = f'Match exec "echo %u >> {log}"\n Port 3\nMatch exec "test %n = b"\n Port 4\n'
    at = home(tmp_path, config=text + "Host *\n Port 5\n")
    request = check_request(Request(), ["a", "b", "c"], {}, str(at))
    assert len(log.read_text().splitlines()) == 1
    assert sorted(answer for _, answer in request.execs) == [False, False, True, True]
    found = Reading(request, {}, str(at), dict(request.execs).get)
    assert [found.profile(node).port for node in ("a", "b")] == [3, 3]


def test_a_command_that_does_not_end_leaves_the_node_to_ssh(tmp_path: Path) -> None:
    duration = f"9191{os.getpid()}"
    at = home(tmp_path, config=f"Match exec 'sleep {duration}; true'\n Port 3\n")
    before = time.monotonic()
    request = check_request(Request(), ["a", "b"], {}, str(at))
    assert request.execs == ()
    assert time.monotonic() - before < 60

    def sleeping() -> list[int]:
        found = psutil.process_iter(["cmdline"])
        return [process.pid for process in found if duration in (process.info["cmdline"] or [])]

    assert eventually(lambda: not sleeping())


def test_where_children_are_ignored_ssh_looks_at_the_command_itself(tmp_path: Path) -> None:
    """Their status is lost, and would be that of a success (waitpid(2), SIGCHLD ignored)."""
    at = home(tmp_path, config="Match exec false\n Port 3\n")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert check_request(Request(), ["a"], {}, str(at)).execs == ()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_section_is_for_its_hosts_in_any_surroundings(tmp_path: Path) -> None:
    names = "\n".join(f"Host n{n} m{n}\n Port {1000 + n}" for n in range(500))
    at = home(tmp_path, config=f"{names}\nHost n* !n7\n User wild\nHost *\n Compression yes\n")
    found = reading(at)
    assert [found.profile(f"n{n}").port for n in (0, 7, 499)] == [1000, 1007, 1499]
    assert [found.profile(node).user == "wild" for node in ("n0", "n7", "m0")] == [
        True,
        False,
        False,
    ]
    assert found.profile("other").compression


def test_hosts_that_differ_in_their_name_alone_are_made_once(tmp_path: Path) -> None:
    text = "".join(f"Host n{n}\n HostName 10.0.0.{n}\n" for n in range(1, 4))
    at = home(tmp_path, config=f"{text}Host n3\n Port 23\nHost *\n User me\n")
    read = reading(at)
    one, two, three = (read.settings(f"n{n}")[0] for n in (1, 2, 3))
    assert one is two and one is not three
    places = [(read.profile(f"n{n}").host, read.profile(f"n{n}").port) for n in (1, 2, 3)]
    assert places == [("10.0.0.1", 22), ("10.0.0.2", 22), ("10.0.0.3", 23)]


def test_a_node_of_a_long_file_costs_as_little_as_of_a_short_one(tmp_path: Path) -> None:
    """Of 500 sections, one with tokens of its own for all: some 0.1 ms a node, of a connection of 3."""
    names = "\n".join(f"Host n{n}\n HostName 10.0.0.{n}\n Port 22" for n in range(500))
    at = home(tmp_path, config=f"{names}\nHost *\n IdentityFile ~/.ssh/%h\n")
    found = reading(at)
    assert found.profile("n1").host == "10.0.0.1"
    before = time.process_time()
    for n in range(500):
        found.profile(f"n{n}")
    # Each node alone was 12 ms with a parser that reads all of it.
    assert (time.process_time() - before) / 500 < 0.003


@pytest.mark.parametrize("node", ["a/b", "ssh://a", "@a", "a@"])
def test_a_node_that_is_no_name(tmp_path: Path, node: str) -> None:
    from mpshell.ssh.resolver import Undecided

    with pytest.raises(Undecided, match="node"):
        profile(home(tmp_path), node)
