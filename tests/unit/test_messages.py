"""Messages in frames: exactly the messages that go in come out."""

from __future__ import annotations

import os
import pickle
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpshell.engine.report import Report
from mpshell.errors import ProtocolError
from mpshell.wire import files
from mpshell.wire import messages as m
from mpshell.wire.codec import decode, encode
from mpshell.wire.connect import Connect, FileCopy
from mpshell.wire.logformat import LogFormat, Redial

JOB = m.JobSpec(
    ("echo ", m.NODE), (), 1.5, True, False, m.GATHER, m.STREAM, False, 1.0, None, False, 255
)
REDIAL = Redial(10.0, ("Connecting",), ("Next",), ("Authenticated",), ("closed",), "not reached")
LOGGED = JOB._replace(
    log=LogFormat(("():", "): "), ("Authenticated",), ("debug1: ",), redial=REDIAL)
)
CONNECTED = JOB._replace(
    connect=Connect("asyncssh", "true", "", 1.5, ("-p", "22"), "prefer", (("true", True),))
)
COPY = FileCopy("/from", ("/to/", m.NODE), "from", True, False, ("sh ", m.RANK), (".t-", m.RANK))
COPYING = JOB._replace(connect=CONNECTED.connect and CONNECTED.connect._replace(copy=COPY))
EVERY: list[m.Message] = [
    m.Configure(b"/tmp", 0o22, {b"A": b"\xff"}),
    m.Configure(b"/tmp", None, None),
    m.Submit(1, JOB, 3, ["n1", "n2"]),
    m.Submit(1, LOGGED, 3, ["n1", "n2"], ("a", "b")),
    m.Submit(1, CONNECTED, 3, ["n1", "n2"]),
    m.Submit(1, COPYING, 3, ["n1", "n2"]),
    m.Submit(1, None, 5, ["n3"]),
    m.Write(1, b"data"),
    m.Write(1, b"data", 3),
    m.Stored(1, 10, 2, 3),
    files.StoredAt(1, 10, "/tmp/stage/input"),
    files.Keep("/tmp/stage/input", 0, b"data"),
    files.KeepEnd("/tmp/stage/input", 0o640, 1, 2),
    files.Drop("/tmp/stage/input"),
    m.CloseStdin(1),
    m.CloseStdin(1, 3),
    m.SetSlots(0, 32),
    m.Cancel(None, m.TIMED_OUT, True),
    m.Withdraw(1),
    m.ForgetJob(1),
    m.EndRun(),
    m.ConnectLimits(16, 2.5),
    m.PasswordGiven(1, "correct horse"),
    m.PasswordState(1, m.UNPROVEN, 0, 3),
    m.Ping(),
    m.Lease(1.5),
    m.Located(1.5, 8, "/tmp/stage", "why"),
    m.Ready(1, 2, "0.1.0"),
    m.Starting([1, 2]),
    m.Output([(1, m.STDOUT, b"line\n")]),
    m.Written([(1, 10)]),
    m.Bodies([(0, b"body\n")], 0),
    m.Finished([(1, m.EXITED, 0, 0, -1, 1.0, 0.5, None)]),
    m.SlotsHeld(0, 3),
    m.Trace([(1, "echo")]),
    m.Pong(),
    m.Warn("text"),
    m.InputLost(1, "text"),
    files.Kept("/tmp/stage/input", files.WHOLE, ""),
    m.Notices([("text", 3)]),
    m.HostKeys([("/file", "line")]),
    m.PasswordNews([(1, m.ASKED)]),
    m.EngineFailed("traceback"),
    m.RunEnded(),
]


def test_all_messages_cross_as_they_are() -> None:
    crossed = decode(encode(EVERY))
    assert crossed == EVERY
    assert [type(message) for message in crossed] == [type(message) for message in EVERY]
    assert {type(message) for message in EVERY} == MESSAGES


def test_classes_that_few_runs_need_come_with_the_first_frame_that_has_one() -> None:
    """And no other name of their modules does."""
    frame = encode(EVERY)
    source = (
        "import sys\nfrom mpshell.wire import codec, messages as m\n"
        "late = ['mpshell.wire.' + name for name in ('connect', 'files', 'logformat')]\n"
        "codec.decode(codec.encode([m.Submit(1, None, 0, [])]))\n"
        "print(*(name in sys.modules for name in late))\n"
        "print(len(codec.decode(sys.stdin.buffer.read())))\n"
        "for name in late:\n"
        "    for inner in 'NamedTuple', 'checks', 'absent':\n"
        "        try: print(codec.decode(f'c{name}\\n{inner}\\n.'.encode()))\n"
        "        except codec.ProtocolError as error: print('refused' if inner in str(error) else error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], input=frame, capture_output=True, check=True
    )
    lines = done.stdout.decode().splitlines()
    assert lines == ["False False False", str(len(EVERY)), *["refused"] * 9]


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("evil",)


def test_a_frame_makes_no_other_object(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    with pytest.raises(ProtocolError, match="mkdir"):
        decode(pickle.dumps([Evil()]))
    assert not os.path.exists("evil")


@pytest.mark.parametrize("frame", [b"", b"\x00", b"garbage", encode(EVERY)[:-5], pickle.dumps(7)])
def test_bytes_that_are_no_frame(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(frame)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_protocol_error(frame: bytes) -> None:
    try:
        assert isinstance(decode(frame), list)
    except ProtocolError:
        pass


@given(st.integers(0, 2**31), st.integers(0, 2**32 - 1))
def test_a_client_id_holds_job_and_index(job: int, index: int) -> None:
    assert m.job_and_index(m.client_id(job, index)) == (job, index)


def test_written_input_is_reported_before_output_that_may_answer_it() -> None:
    report = Report()
    report.output.append((1, m.STDOUT, b"answer\n"))
    report.written.append((1, 9))
    assert [type(message) for message in report.take()] == [m.Written, m.Output]


@pytest.mark.parametrize(
    "content", [[1, 2], ["RunEnded"], [(1, 2)], [None], [m.RunEnded(), b"x"], [m.RunEnded]]
)
def test_a_list_of_other_things_than_messages_is_no_frame(content: list[object]) -> None:
    with pytest.raises(ProtocolError):
        decode(pickle.dumps(content))


def nested(depth: int) -> bytes:
    """Return a frame of lists within lists."""
    return b"\x80\x05" + b"]" * (depth + 1) + b"a" * depth + b"."


@pytest.mark.parametrize("depth", [1, 10, 2_000, 100_000])
def test_a_frame_that_nests_deeply_is_none(depth: int) -> None:
    assert pickle.loads(nested(3)) == [[[[]]]]
    with pytest.raises(ProtocolError):
        decode(nested(depth))


#: Values of every type that a pickle without classes can hold, and some that look like another one.
ODD = [
    None,
    5,
    -1,
    1 << 70,
    1.5,
    True,
    "text",
    b"data",
    (),
    (1,),
    [],
    [1],
    [(1,)],
    {},
    {b"a": 1},
    {1},
    [None],
]


#: The classes of all messages: the alias holds their names, as some are loaded late.
MESSAGES = set(get_args(eval(f"{m.Command} | {m.Event}", {**vars(files), **vars(m)})))


def replaced(message: Any, name: str, value: object) -> Any:
    return message._replace(**{name: value})


def variants(message: m.Message) -> list[m.Message]:
    """Return a message with each field, and each field of its job, replaced by each odd value."""
    found: list[m.Message] = []
    for name, value in zip(message._fields, message, strict=True):
        values: list[object] = list(ODD)
        if isinstance(value, m.JobSpec):
            values += [replaced(value, field, odd) for field in value._fields for odd in ODD]
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            [row] = value
            rows = [row[:i] + (odd,) + row[i + 1 :] for i in range(len(row)) for odd in ODD]
            values += [[*value, other] for other in (*rows, row[:-1], (*row, 1), list(row))]
        elif isinstance(value, list):
            values += [[*value, odd] for odd in ODD]
        found += [replaced(message, name, other) for other in values]
    return found


def is_(value: object, *types: type) -> bool:
    return type(value) in types


def template(value: object) -> bool:
    return type(value) is tuple and all(is_(word, str, int) for word in value)


def rows(value: object, *types: type | tuple[type, ...]) -> bool:
    """Return whether a value is a list of tuples of these types."""
    return type(value) is list and all(
        type(row) is tuple
        and len(row) == len(types)
        and all(
            is_(v, *(t if isinstance(t, tuple) else (t,))) for v, t in zip(row, types, strict=True)
        )
        for row in value
    )


def texts(value: object) -> bool:
    return type(value) is tuple and all(is_(text, str) for text in value)


NONE = type(None)
JOB_FIELDS: dict[str, Any] = {
    **dict.fromkeys(("stdout_mode", "stderr_mode", "diagnose"), (int,)),
    **dict.fromkeys(("stdin", "separate_stderr", "report_written", "trace", "tree"), (bool,)),
    **dict.fromkeys(("own_slots", "stdin_each"), (bool,)),
    "timeout": (float, int, NONE), "drain": (float, int, NONE), "grace": (float, int),
    "shell": lambda v: v is None or template(v),
    "argv": lambda v: type(v) is tuple and all(map(template, v)),
    "env": lambda v: type(v) is tuple and rows(list(v), str, str),
    "log": lambda v: v is None or typed(v),
    "connect": lambda v: v is None or typed(v),
}  # fmt: skip
#: The declared types, stated again independently of the code under test.
FIELDS: dict[tuple[type, str], Any] = {
    (m.Configure, "cwd"): (bytes,),
    (m.Configure, "umask"): (int, NONE),
    (m.Configure, "env"): lambda v: (
        v is None or (type(v) is dict and rows(list(v.items()), bytes, bytes))
    ),
    (m.Lease, "until"): (float,),
    (m.Located, "offset"): (float,),
    (m.Submit, "job"): lambda v: v is None or typed(v),
    (m.Submit, "nodes"): lambda v: type(v) is list and all(is_(node, str) for node in v),
    (m.Submit, "parts"): lambda v: texts(v),
    (m.PasswordGiven, "text"): (str,),
    (m.PasswordState, "state"): (str,),
    (m.PasswordNews, "events"): lambda v: rows(v, int, str),
    (LogFormat, "tag"): lambda v: v is None or texts(v),
    (LogFormat, "noted"): lambda v: texts(v),
    (LogFormat, "private"): lambda v: texts(v),
    (LogFormat, "apart"): (bool,),
    (LogFormat, "named"): lambda v: texts(v),
    (LogFormat, "redial"): lambda v: v is None or typed(v),
    (Redial, "limit"): (int, float),
    (Redial, "notice"): (str,),
    **{
        (Redial, name): lambda v: texts(v)
        for name in ("connecting", "secured", "opened", "dropped")
    },
    (Connect, "ssh_library"): (str,),
    (Connect, "command"): (str,),
    (Connect, "user"): (str,),
    (Connect, "kex"): (str,),
    (Connect, "execs"): lambda v: type(v) is tuple and rows(list(v), str, bool),
    (Connect, "copy"): lambda v: v is None or typed(v),
    **dict.fromkeys(((FileCopy, name) for name in ("source", "name")), (str,)),
    **dict.fromkeys(((FileCopy, name) for name in ("preserve", "reverse")), (bool,)),
    **dict.fromkeys(
        ((FileCopy, name) for name in ("target", "script", "temporary")), lambda v: template(v)
    ),
    (FileCopy, "first"): (int, NONE),
    (m.HostKeys, "lines"): lambda v: rows(v, str, str),
    (Connect, "timeout"): (float, int),
    (Connect, "keep"): (float, int),
    (Connect, "keep_password"): (bool,),
    (Connect, "options"): lambda v: texts(v),
    (m.Notices, "counts"): lambda v: rows(v, str, int),
    (m.ConnectLimits, "rate"): (float, int, NONE),
    (m.Write, "data"): (bytes,),
    (m.Write, "only"): (int, NONE),
    (m.CloseStdin, "only"): (int, NONE),
    (m.Cancel, "job_id"): (int, NONE),
    (m.Cancel, "kill"): (bool,),
    (m.Ready, "version"): (str,),
    (m.Starting, "client_ids"): lambda v: type(v) is list and all(is_(i, int) for i in v),
    (m.Output, "blocks"): lambda v: rows(v, int, int, bytes),
    (m.Written, "writes"): lambda v: rows(v, int, int),
    (m.Bodies, "bodies"): lambda v: rows(v, int, bytes),
    (m.Finished, "results"): lambda v: rows(v, int, int, int, int, int, float, float, (str, NONE)),
    (m.Trace, "lines"): lambda v: rows(v, int, str),
    (m.Warn, "text"): (str,),
    (m.InputLost, "text"): (str,),
    **{(message, "path"): (str,) for message in (*files.KEEPING, files.StoredAt, files.Kept)},
    (files.Keep, "data"): (bytes,),
    (files.Kept, "text"): (str,),
    (m.Located, "stage"): (str,),
    (m.Located, "lacks"): (str,),
    (m.EngineFailed, "traceback"): (str,),
    **{(m.JobSpec, name): check for name, check in JOB_FIELDS.items()},
}


def typed(message: object) -> bool:
    """Return whether it is a message with fields of the declared types; int, unless FIELDS names another."""
    if not isinstance(message, tuple):
        return False
    names: tuple[str, ...] = getattr(type(message), "_fields", ())
    if (
        type(message) not in (m.JobSpec, LogFormat, Redial, Connect, FileCopy)
        and type(message) not in MESSAGES
    ):
        return False
    for name, value in zip(names, message, strict=True):
        check = FIELDS.get((type(message), name), (int,))
        if not (is_(value, *check) if isinstance(check, tuple) else check(value)):
            return False
    return True


@pytest.mark.parametrize("message", EVERY, ids=lambda message: type(message).__name__)
def test_a_message_with_other_fields_is_none(message: m.Message) -> None:
    assert typed(message)
    for other in variants(message):
        frame = encode([other])
        if typed(other):
            assert decode(frame) == [other]
        else:
            with pytest.raises(ProtocolError, match=type(message).__name__):
                decode(frame)


@pytest.fixture(scope="module")
def bounded_memory() -> Iterator[None]:
    """CPython's unpickler makes room for as many objects as a frame names: an error where there is a limit."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


FRAMES = [encode([message]) for message in EVERY] + [encode(EVERY)]
#: Operations of a pickle, which make another object of what is there rather than none.
OPERATIONS = [b"]", b"a", b"\x85", b"(", b"t", b"N", b"K\x05", b"\x88", b"."]


def damaged(chance: random.Random) -> bytes:
    """Return a frame with one to eight changes."""
    frame, other = chance.choice(FRAMES), chance.choice(FRAMES)
    for _ in range(chance.randint(1, 8)):
        change = chance.choice(["set", "insert", "delete", "repeat", "graft"])
        where = chance.random()
        data = chance.choice([chance.randbytes(chance.randint(0, 6)), chance.choice(OPERATIONS)])
        at = int(where * len(frame))
        if change == "set":
            frame = frame[:at] + data + frame[at + len(data) :]
        elif change == "insert":
            frame = frame[:at] + data + frame[at:]
        elif change == "delete":
            frame = frame[:at] + frame[at + len(data) :]
        elif change == "repeat":
            frame = frame[:at] + frame[at : at + 9] * 3 + frame[at + 9 :]
        else:
            frame = frame[:at] + other[int(where * len(other)) :]
    return frame


@given(st.integers(0, 1 << 32))
@settings(max_examples=100)
def test_a_damaged_frame_is_an_error_or_holds_messages_of_their_types(
    bounded_memory: None, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(20):
        frame = damaged(chance)
        try:
            messages = decode(frame)
        except ProtocolError:
            continue
        assert type(messages) is list and all(map(typed, messages)), frame
