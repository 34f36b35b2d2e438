"""What is read from /proc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mpshell.runtime.procfs import status_field, status_of


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8192, 70_000])
def test_a_status_of_any_length_is_read_whole(size: int, tmp_path: Path) -> None:
    """That of a process with 65,536 groups has some hundred thousand bytes."""
    text = (b"Name:\tx\nGroups:\t" + b"1234 " * (size // 5 + 4))[:size]
    (tmp_path / "status").write_bytes(text)
    assert status_of(f"self/root{tmp_path}") == text


def test_the_fields_of_this_process() -> None:
    status = status_of("self")
    assert status_field(status, b"Pid") == str(os.getpid()).encode()
    assert status_field(status, b"Tgid") == str(os.getpid()).encode()
    assert status_field(status, b"NoSuchField") == b""
