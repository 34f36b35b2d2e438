"""The words of `ssh_options` for the transport asyncssh, and where each ends (ssh(1), OPTIONS)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpshell import WorkerError
from mpshell.ssh.check import check_request
from mpshell.ssh.request import Request
from mpshell.ssh.words import read_options


def test_letters_and_their_arguments() -> None:
    read = read_options(("-F", "file", "-p2222", "-i", "key", "-l", "me", "-J", "a,b", "-oPort=3"))
    assert read.file == "file"
    assert read.identities == ("key",)
    assert [line for line, _ in read.lines] == [
        'Port "2222"', 'IdentityFile "key"', 'User "me"', 'ProxyJump "a,b"', "Port=3",
    ]  # fmt: skip
    assert read.for_ssh is None


def test_letters_together() -> None:
    read = read_options(("-4CTq", "-axk", "-Cp", "7"))
    lines = [line for line, _ in read.lines]
    assert set(lines) >= {
        "AddressFamily inet",
        "Compression yes",
        "RequestTTY no",
        "LogLevel QUIET",
    }
    assert lines[-1] == 'Port "7"'


@pytest.mark.parametrize(
    "words", [("-A",), ("-tt",), ("-Cv",), ("-L", "1:a:2"), ("-E", "x", "-C"), ("-S", "a")]
)
def test_letters_that_only_ssh_honours(words: tuple[str, ...]) -> None:
    read = read_options(words)
    assert read.for_ssh is not None
    assert read.for_ssh.startswith("option -")


@pytest.mark.parametrize("words", [("-Z",), ("-C9",), ("word",), ("--", "x"), ("-",), ("--long",)])
def test_a_word_that_is_no_option_of_ssh(words: tuple[str, ...]) -> None:
    with pytest.raises(WorkerError, match=f"ssh_options: .*{words[0][-1]}"):
        read_options(words)


def test_an_option_without_its_value() -> None:
    with pytest.raises(WorkerError, match="-p has no value"):
        read_options(("-C", "-p"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("-p", "abc"), "option -p: .*'abc' is not a port"),
        (("-o", "Port abc"), "option -o Port abc: .*'abc' is not a port"),
        (
            ("-oHost=a",),
            "option -oHost=a: host is for files only|option -o Host=a: host is for files",
        ),
        (("-i", "/no/such/key"), "-i /no/such/key: No such file"),
        (("-F", "/no/such/file"), "/no/such/file: No such file"),
        (("-o", "User"), "option -o User: "),
    ],
)
def test_an_error_names_the_wrong_word(tmp_path: Path, words: tuple[str, ...], text: str) -> None:
    with pytest.raises(WorkerError, match=text):
        check_request(Request(options=words), ["node"], {}, str(tmp_path))


def test_files_are_named_as_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines run in another directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").write_text("Port 3\n")
    (tmp_path / "key").touch()
    words = ("-CF", "config", "-ikey", "-p", "3", "-o", "User=i", "-Fnone")
    request = check_request(Request(options=words), ["node"], {}, str(tmp_path))
    there = str(tmp_path)
    assert request.options == (
        "-CF", f"{there}/config", "-i", f"{there}/key", "-p", "3", "-o", "User=i", "-F", "none",
    )  # fmt: skip


def test_a_key_exchange_policy_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="ssh_kex 'never'"):
        check_request(Request(kex="never"), ["node"], {}, str(tmp_path))


def test_a_named_key_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    config = tmp_path / "config"
    config.write_text(f"IdentityFile {tmp_path}/not-there\nIdentityFile {tmp_path}/directory\n")
    with pytest.raises(WorkerError, match=f"IdentityFile {tmp_path}/directory: "):
        check_request(Request(options=("-F", str(config))), ["node"], {}, str(tmp_path))


def test_a_file_that_others_may_write_to(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    config = tmp_path / ".ssh" / "config"
    config.write_text("Port 3\n")
    config.chmod(0o666)
    with pytest.raises(WorkerError, match="bad owner or permissions"):
        check_request(Request(), ["node"], {}, str(tmp_path))
