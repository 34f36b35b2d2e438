"""Files of host keys: their cost, and new keys in them. The verdicts are in tests/ssh/test_ssh_hostkeys.py."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpshell.ssh.accepted import append_line
from mpshell.ssh.agent import string
from mpshell.ssh.hostkeys import (
    CHANGED,
    KNOWN,
    REVOKED,
    UNDECIDED,
    UNKNOWN,
    KnownHosts,
    hash_name,
    host_name,
    is_hash_of,
    rsa_bits,
)

MANY = 20_000


def key(number: int) -> bytes:
    """Return the blob of a key."""
    return string(b"ssh-ed25519") + string(number.to_bytes(32, "big"))


def line(names: bytes, number: int) -> bytes:
    return names + b" ssh-ed25519 " + base64.b64encode(key(number)) + b"\n"


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hosts") / "known_hosts"
    path.write_bytes(b"".join(line(hash_name(f"node{n}"), n) for n in range(MANY)))
    return path


def test_a_long_file_of_hashed_names_costs_a_connection_little(long_file: Path) -> None:
    hosts = KnownHosts([str(long_file)])
    before = time.process_time()
    for number in range(0, MANY, 100):
        assert hosts.check_key(f"node{number}", key(number)).state == KNOWN
    # A hundredth of a millisecond each; all the lines for each would be 40 ms.
    assert (time.process_time() - before) / len(range(0, MANY, 100)) < 0.002


def test_a_long_file_is_looked_through_for_keys_that_are_not_found(long_file: Path) -> None:
    hosts = KnownHosts([str(long_file)])
    assert hosts.check_key("node7", key(8)).state == UNDECIDED
    assert hosts.known_types("node7") is None
    slices = sum(1 for _ in hosts.slices("node7"))
    assert slices >= MANY // 1000
    verdict = hosts.check_key("node7", key(8))
    assert verdict.state == CHANGED
    assert verdict.line is not None
    assert hosts.place(verdict.line) == f"{long_file} line 8"
    assert hosts.known_types("node7") == (frozenset({"ssh-ed25519"}), False)
    assert sum(1 for _ in hosts.slices("nobody")) == slices
    assert hosts.check_key("nobody", key(8)).state == UNKNOWN


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_bytes(line(b"a", 1))
    first = KnownHosts.of([str(path)])
    assert KnownHosts.of([str(path)]) is first
    with open(path, "ab") as file:
        file.write(line(b"b", 2))
    second = KnownHosts.of([str(path)])
    assert second is not first
    assert second.check_key("b", key(2)).state == KNOWN


def test_lines_with_one_key_are_all_looked_at(tmp_path: Path) -> None:
    """Of one file and of several, hashed and not, for one name and for others."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(line(hash_name("a"), 1) + line(hash_name("b"), 1) + line(b"c", 1) + b"|1|x\n")
    second.write_bytes(line(hash_name("d"), 1) + line(b"e", 1) + line(hash_name("f"), 2))
    hosts = KnownHosts([str(first), str(second)])
    for name in "abcde":
        assert hosts.check_key(name, key(1)).state == KNOWN
    assert hosts.check_key("f", key(1)).state == CHANGED
    assert hosts.check_key("g", key(1)).state == UNKNOWN


def test_a_key_in_a_long_file_is_found_wherever_it_stands(tmp_path: Path) -> None:
    """Beside many others: with a comment behind it, with the key of another host, with a marker."""
    many = [line(hash_name(f"node{n}"), n) for n in range(200)]
    comment = line(hash_name("commented"), 1000).rstrip() + b" root@node and more words\n"
    both = [line(hash_name("shared"), 7), line(hash_name("shared2"), 7).rstrip() + b"\tcomment\n"]
    revoked = b"@revoked " + line(hash_name("node9"), 9)
    last = line(hash_name("last"), 1001).rstrip()
    for name, order in (("a", [*many, comment, *both, revoked, last]),
                        ("b", [revoked, comment, *both, *many, last])):  # fmt: skip
        (tmp_path / name).write_bytes(b"".join(order))
        hosts = KnownHosts([str(tmp_path / name)])
        for host, number in (("commented", 1000), ("shared", 7), ("shared2", 7), ("node7", 7),
                             ("last", 1001), ("node8", 8)):  # fmt: skip
            assert hosts.check_key(host, key(number)).state == KNOWN, (name, host)
        assert hosts.check_key("node9", key(9)).state == REVOKED
        assert hosts.check_key("node8", key(7)).state == UNDECIDED
    two = KnownHosts([str(tmp_path / "a"), str(tmp_path / "b")])
    assert two.check_key("shared2", key(7)).state == KNOWN
    assert two.check_key("node9", key(9)).state == REVOKED


def test_a_key_that_was_accepted_is_known_from_then_on(tmp_path: Path) -> None:
    for hashed in (False, True):
        hosts = KnownHosts([str(tmp_path / "none")])
        assert hosts.check_key("[a]:2", key(1)).state == UNKNOWN
        text = hosts.accept("[a]:2", key(1), hashed)
        assert hosts.check_key("[a]:2", key(1)).state == KNOWN
        assert hosts.check_key("[a]:2", key(2)).state == CHANGED
        (tmp_path / "file").write_text(text + "\n")
        assert KnownHosts([str(tmp_path / "file")]).check_key("[a]:2", key(1)).state == KNOWN


def test_names() -> None:
    assert host_name("Node", 22, None) == "node"
    assert host_name("Node", 23, None) == "[node]:23"
    assert host_name("::1", 22, None) == "::1"
    assert host_name("::1", 23, None) == "[::1]:23"
    assert host_name("node", 23, "Alias") == "alias"
    assert is_hash_of(hash_name("[node]:23"), "[node]:23")
    assert not is_hash_of(hash_name("node"), "other")
    assert not is_hash_of(b"|1|broken", "node")
    # The example of ssh-keygen -H for "localhost" would hold a salt of its own: this one is sshd(8)'s form.
    assert hash_name("node").startswith(b"|1|") and hash_name("node") != hash_name("node")


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe\x00", b"a\n@\n|1|\n|1| x y\n@revoked\nx ssh-ed25519 =\n"]
)
def test_a_bad_line_counts_for_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "known").write_bytes(data + b"\n" + line(b"node", 1))
    hosts = KnownHosts([str(tmp_path / "known")])
    assert hosts.check_key("node", key(1)).state == KNOWN
    assert hosts.check_key("x", key(1)).state == UNKNOWN


def test_the_size_of_a_key_that_is_cut_short() -> None:
    assert rsa_bits(string(b"ssh-rsa") + string(b"\1\0\1") + string(b"\0" + b"\xff" * 256)) == 2048
    assert rsa_bits(string(b"ssh-rsa")) == 0
    assert rsa_bits(key(1)) is None
    assert rsa_bits(b"") is None


#: Appends lines, every second of which the other process appends too.
APPEND = """
import sys
from mpshell.ssh.accepted import append_line
for number in range(200):
    name = number if number % 2 == 0 else int(sys.argv[2]) + number
    append_line(sys.argv[1], f"node{name} ssh-ed25519 AAAA{'x' * 2000}")
"""


def test_processes_that_append_at_once_lose_and_mix_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "known_hosts"
    words = [sys.executable, "-c", APPEND, str(path)]
    running = [subprocess.Popen([*words, start]) for start in ("1000", "2000")]
    assert [process.wait(100) for process in running] == [0, 0]
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == len(set(lines)) == 300
    assert all(text.count(b"ssh-ed25519") == 1 for text in lines)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_line_is_appended_once_and_after_a_line_without_end(tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_bytes(b"# no end")
    assert append_line(str(path), "a b c")
    assert not append_line(str(path), "a b c")
    assert path.read_bytes() == b"# no end\na b c\n"
    with pytest.raises(OSError):
        append_line(os.fspath(tmp_path), "a b c")


def test_a_line_is_there_as_a_whole_or_not(tmp_path: Path) -> None:
    path = tmp_path / "known"
    for before, there in (
        (b"x a b c\na b c d\n", False),
        (b"a b c d\nx a b c\na b c", True),
        (b"a b c\n", True),
        (b"", False),
        (b"x a b c\na b c\r\n", False),
    ):
        path.write_bytes(before)
        assert append_line(str(path), "a b c") is not there, before
        end = b"" if not before or before.endswith(b"\n") else b"\n"
        assert path.read_bytes() == before + (b"" if there else end + b"a b c\n")


def test_a_hashed_name_is_added_to_a_long_file_at_no_cost(long_file: Path, tmp_path: Path) -> None:
    (tmp_path / "known").write_bytes(long_file.read_bytes() * 5)
    before = time.process_time()
    for number in range(50):
        append_line(str(tmp_path / "known"), os.fsdecode(line(hash_name("new"), number)).rstrip())
    # To read the file would be 10 ms each.
    assert time.process_time() - before < 0.2
