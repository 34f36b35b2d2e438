"""The lines of a relay copy: each answer of docs and protocol, and none that is not one."""

from __future__ import annotations

import pytest

from mpshell.coordinator import relaywire as w


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"mpshell ready sha256 -\n", w.ReadyAnswer("sha256", None)),
        (b"mpshell ready cksum 40022\n", w.ReadyAnswer("cksum", 40022)),
        (b"mpshell shared 3\n", w.SharedAnswer(3)),
        (b"mpshell at 25000000\n", w.AtAnswer(25000000)),
        (
            b"mpshell need 4 17 login n5: Permission denied (publickey).\n",
            w.NeedAnswer(4, 17, "login", "n5: Permission denied (publickey)."),
        ),
        (b"mpshell need 4 0 cut\n", w.NeedAnswer(4, 0, "cut", "")),
        (b"mpshell take 7 1024\r\n", w.TakeAnswer(7, 1024)),
        (b"mpshell bad 9\n", w.BadAnswer(9)),
        (b"mpshell done\n", w.DoneAnswer()),
        (b"mpshell fail no space left for 5 bytes\n", w.FailAnswer("no space left for 5 bytes")),
        (b"mpshell fail a\x1b[2Jb\xff\n", w.FailAnswer("a?[2Jb\\xff")),
    ],
)
def test_an_answer_is_read(line: bytes, answer: w.Answer) -> None:
    assert w.parse(line) == answer


@pytest.mark.parametrize("line", [b"Welcome!\n", b"done\n", b"\n", b"mpshell: done\n"])
def test_output_of_a_start_up_file_is_no_answer(line: bytes) -> None:
    assert w.parse(line) is None


def test_the_first_answer_may_stand_behind_what_a_start_up_file_writes() -> None:
    assert w.parse(b"a prompt> mpshell ready sha256 -\n") == w.ReadyAnswer("sha256", None)
    assert w.parse(b"\xffmpshell fail no ssh here\n") == w.FailAnswer("no ssh here")
    assert w.parse(b"a prompt> mpshell at 5\n") is None


@pytest.mark.parametrize(
    "line",
    [
        b"mpshell \n", b"mpshell ready\n", b"mpshell ready md5 -\n", b"mpshell ready sha256 0\n",
        b"mpshell ready sha256 65536\n", b"mpshell at -1\n", b"mpshell at 1_0\n", b"mpshell at\n",
        b"mpshell need 1 2 else x\n", b"mpshell need 1\n", b"mpshell take 1\n", b"mpshell take 1 2 3\n",
        b"mpshell done 1\n", b"mpshell bad x\n", b"mpshell hello\n", b"mpshell shared \xd9\xa1\n",
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_an_error_with_its_text(line: bytes) -> None:
    with pytest.raises(ValueError, match="unexpected answer of the node"):
        w.parse(line)


def test_orders_are_lines_of_words() -> None:
    assert w.rank_order(5) == b"rank 5\n"
    assert w.sum_order("sha256", "ab") == b"sum sha256 ab\n"
    assert w.pull_order(3, 5, "user@n5", "part", None) == b"pull 3 5 part - user@n5\n"
    assert w.pull_order(4, 5, "n5", "done", 40022) == b"pull 4 5 done 40022 n5\n"
    assert w.feed_order(2) == b"feed 2\n"
