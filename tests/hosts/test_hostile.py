"""A host that does not keep to the protocol: its engines are lost, and the run goes on elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mpshell import Task
from mpshell.hosts.launcher import HostsLauncher
from mpshell.hosts.packets import Way
from tests.hosts.conftest import OUTPOST

#: An outpost that greets as it should, confirms the start of an engine, and then does as `evil` says.
SOURCE = """
import json, struct, sys, time
import mpshell
from mpshell.hosts import frames
from mpshell.runtime.boottime import now
from mpshell.wire import messages as m
from mpshell.wire.codec import encode
out = sys.stdout.buffer
def send(kind, engine=0, body=b""):
    out.write(frames.pack(kind, engine, body)); out.flush()
def say(engine, *events):
    send(frames.LAST, engine, encode(list(events)))
out.write(frames.GREETING)
send(frames.HELLO, 0, json.dumps({"version": mpshell.__version__, "cpus": 1, "boottime": now(),
                                  "monotonic": time.monotonic(), "stage": "/nonexistent",
                                  "lacks": {}}).encode())
reader = frames.Frames(greeted=True)
engine = None
while engine is None:
    for kind, number, body in reader.feed(sys.stdin.buffer.raw.read(65536)):
        if kind == frames.START:
            engine = number
from mpshell.wire.files import Kept
READY = m.Ready(engine, 1, mpshell.__version__)
EVIL
while sys.stdin.buffer.raw.read(65536):
    send(frames.BEAT, 0, frames.pack_clock(now()))
"""

EVILS = {
    "a frame of two gigabytes": "out.write((1 << 31).to_bytes(4, 'big') + b'P' + bytes(4)); out.flush()",
    "a frame without end": "[send(frames.PIECE, engine, b'x' * 65536) for _ in range(400)]",
    "a pickle of a callable": "import os, pickle; send(frames.LAST, engine, pickle.dumps(os.system))",
    "garbage for an engine": "send(frames.LAST, engine, b'garbage')",
    "an unknown kind": "send(b'?', engine, b'x'); say(engine, READY); sys.exit(3)",
    "credit that was not used": "send(frames.CREDIT, engine, frames.pack_number(1 << 31))",
    "a short number": "send(frames.CREDIT, engine, b'x')",
    "a second greeting": "send(frames.HELLO, 0, b'{}')",
    "another engine's frames": "say(engine + 1, READY); sys.exit(3)",
    "a client that it does not have": "say(engine, READY, m.Starting([(9 << 32) | 1]))",
    "the switchboard's own words": "say(engine, READY, m.Located(0.0, 1000000, '/', ''))",
    "a file that it was not sent": "say(engine, READY, Kept('/etc/passwd', 3, ''))",
    "a command": "say(engine, READY, m.EndRun())",
    "an end of what never started": "say(engine, READY); send(frames.GONE, engine, b'!lies'); sys.exit(3)",
    "a clock without end": "send(frames.BEAT, 0, frames.pack_clock(float('inf')))",
    "a clock that is none": "send(frames.BEAT, 0, b'12345678' * 3)",
}


@pytest.mark.parametrize("evil", EVILS)
def test_a_hostile_host_costs_no_more_than_its_own_nodes(
    evil: str, task: Task, tmp_path: Path
) -> None:
    script = tmp_path / "evil.py"
    script.write_text(SOURCE.replace("EVIL\n", EVILS[evil] + "\n"))
    launcher = HostsLauncher(
        [Way("evil", (sys.executable, str(script)), 60.0), Way("gw1", OUTPOST, 60.0)], 1
    )
    task.set_info("launcher", launcher)
    task.set_info("fanout", 4)
    worker = task.shell("echo %h; sleep 0.1", nodes="n[1-60]", remote=False)
    task.resume()
    outcomes = list(worker.outcomes())
    assert len({outcome.node for outcome in outcomes}) == len(outcomes) == 60
    for outcome in outcomes:
        assert (outcome.reason, outcome.host) in (("exit", "gw1"), ("lost", "evil"))
    assert sum(outcome.ok for outcome in outcomes) >= 52
