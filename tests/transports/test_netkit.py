"""The stand-in for netkit's rsh and rcp beside the real ones: the same statuses, messages and protocol."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.transports.conftest import SECOND, RshClient


def run(*words: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    done = subprocess.run(words, input=stdin, capture_output=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_rsh_has_the_statuses_and_messages_of_netkit(
    rsh_server: None, rsh_client: RshClient
) -> None:
    """The expected output is that of netkit 0.17: the test runs with it wherever it can be had."""
    rsh = rsh_client.rsh
    command = "tr a-z A-Z; echo to stderr >&2; exit 5"
    assert run(rsh, SECOND, command, stdin=b"in\n") == (0, b"IN\n", b"to stderr\n")
    words = ("echo", "'a  b'", "c  d", "$((1+1))")
    assert run(rsh, "-l", "root", SECOND, *words) == (0, b"a  b c d 2\n", b"")
    assert run(rsh, "-n", SECOND, "echo x", stdin=b"not read") == (0, b"x\n", b"")
    assert run(rsh, "no.such.invalid", "true") == (1, b"", b"no.such.invalid: Unknown host\n")
    assert run(rsh)[0] == 1 and run(rsh)[2].startswith(b"usage: rsh [-nd] [-l login] host")


def test_rcp_has_the_statuses_and_messages_of_netkit(
    rsh_server: None, rsh_client: RshClient, tmp_path: Path
) -> None:
    rcp, here = rsh_client.rcp, tmp_path / "here"
    here.write_bytes(b"x" * 100_000)
    here.chmod(0o640)
    assert run(rcp, "-p", str(here), f"{SECOND}:{tmp_path}/there") == (0, b"", b"")
    there = tmp_path / "there"
    assert there.read_bytes() == here.read_bytes() and there.stat().st_mode & 0o777 == 0o640
    assert int(there.stat().st_mtime) == int(here.stat().st_mtime)
    missing = f"{tmp_path}/missing"
    assert run(rcp, missing, f"{SECOND}:{tmp_path}/x") == (
        1, b"", f"rcp: {missing}: No such file or directory\n".encode(),
    )  # fmt: skip
    assert run(rcp, f"{SECOND}:{missing}", str(tmp_path / "x")) == (
        1, b"", f"rcp: {missing}: No such file or directory\n".encode(),
    )  # fmt: skip
    assert run(rcp, str(here), f"{SECOND}:/no/such/place") == (
        1, b"", b"rcp: /no/such/place: No such file or directory\n",
    )  # fmt: skip
    assert run(rcp, str(tmp_path), f"{SECOND}:{tmp_path}/x") == (
        1, b"", f"rcp: {tmp_path}: not a plain file\n".encode(),
    )  # fmt: skip
    assert run(rcp, str(here), "no.such.invalid:x") == (1, b"", b"no.such.invalid: Unknown host\n")
    assert run(rcp)[0] == 1 and run(rcp)[2].startswith(b"usage: rcp [-p] f1 f2; or: rcp [-rp]")


@pytest.mark.parametrize("rsh_client", ["netkit"], indirect=True)
@pytest.mark.parametrize("stand_in_is", ["the node's", "the user's"])
def test_a_copy_between_the_two(
    stand_in_is: str, rsh_server: None, rsh_client: RshClient, node_path: Path, tmp_path: Path
) -> None:
    """A tree with odd names, an empty file and an error in the middle goes over in both directions."""
    rcp, stand_in = rsh_client.rcp, str(node_path / "stand-in-rcp")
    if stand_in_is == "the user's":
        rcp = stand_in
    else:
        (node_path / "rcp").unlink()
        (node_path / "rcp").symlink_to(stand_in)
    tree = tmp_path / "tree"
    (tree / "sub dir").mkdir(parents=True, mode=0o750)
    for name, content in (("a b", os.urandom(300_000)), ("empty", b""), ("z:ü", b"z")):
        (tree / "sub dir" / name).write_bytes(content)
    (tree / "bad").symlink_to("nowhere")
    for place, source, target in (
        ("to", str(tree), f"{SECOND}:{tmp_path}/to"),
        ("from", f"{SECOND}:{tree}", f"{tmp_path}/from"),
    ):
        (tmp_path / place).mkdir()
        code, out, err = run(rcp, "-r", "-p", source, target)
        assert (code, out) == (1, b"")
        assert err == f"rcp: {tree}/bad: No such file or directory\n".encode()
        copied = tmp_path / place / "tree" / "sub dir"
        assert {path.name: path.read_bytes() for path in copied.iterdir()} == {
            path.name: path.read_bytes() for path in (tree / "sub dir").iterdir()
        }
        assert copied.stat().st_mode & 0o777 == 0o750
