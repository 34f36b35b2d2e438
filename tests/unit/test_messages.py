"""Messages in frames: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpshell.engine.report import Report
from mpshell.errors import ProtocolError
from mpshell.wire import messages as m

JOB = m.JobSpec(
    1, 0, ("echo ", m.NODE), (), 1.5, True, False, m.GATHER, m.STREAM, False, 1.0, None, False, True
)
EVERY: list[m.Message] = [
    m.Configure(b"/tmp", 0o22, {b"A": b"\xff"}),
    m.Submit(1, JOB, 3, ["n1", "n2"]),
    m.Submit(1, None, 5, ["n3"]),
    m.Write(1, b"data"),
    m.CloseStdin(1),
    m.SetSlots(0, 32),
    m.Cancel(None, m.TIMED_OUT, True),
    m.Withdraw(1),
    m.ForgetJob(1),
    m.EndRun(),
    m.Ping(),
    m.Shutdown(1.0),
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
    m.EngineFailed("traceback"),
    m.Drained(),
]


def test_all_messages_cross_as_they_are() -> None:
    crossed = m.decode(m.encode(EVERY))
    assert crossed == EVERY
    assert [type(message) for message in crossed] == [type(message) for message in EVERY]
    assert {type(message) for message in EVERY} == set(m.Message.__args__)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("evil",)


def test_a_frame_makes_no_other_object(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    with pytest.raises(ProtocolError, match="mkdir"):
        m.decode(pickle.dumps([Evil()]))
    assert not os.path.exists("evil")


@pytest.mark.parametrize("frame", [b"", b"\x00", b"garbage", m.encode(EVERY)[:-5], pickle.dumps(7)])
def test_bytes_that_are_no_frame(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        m.decode(frame)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_protocol_error(frame: bytes) -> None:
    try:
        assert isinstance(m.decode(frame), list)
    except ProtocolError:
        pass


@given(st.integers(0, 2**31), st.integers(0, 2**32 - 1))
def test_a_client_id_holds_job_and_index(job: int, index: int) -> None:
    assert m.job_and_index(m.client_id(job, index)) == (job, index)


def test_what_was_written_goes_before_what_may_be_the_answer() -> None:
    report = Report()
    report.output.append((1, m.STDOUT, b"answer\n"))
    report.written.append((1, 9))
    assert [type(message) for message in report.take()] == [m.Written, m.Output]


@pytest.mark.parametrize(
    "content", [[1, 2], ["Drained"], [(1, 2)], [None], [m.Drained(), b"x"], [m.Drained]]
)
def test_a_list_of_what_is_no_message_is_none(content: list[object]) -> None:
    with pytest.raises(ProtocolError):
        m.decode(pickle.dumps(content))
