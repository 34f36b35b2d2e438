"""An engine on asyncio's loop: it asks nothing of its loop that asyncio does not have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOURCE = """
import asyncio, os, signal
from mpshell.engine.core import Engine
from mpshell.engine.libc import become_subreaper
from mpshell.wire import messages as m
from mpshell.wire.codec import decode, encode
from mpshell.wire.channel import Channel, channel_pair

become_subreaper()
loop = asyncio.new_event_loop()
near, far = channel_pair()
engine = Engine(Channel(far), loop)
loop.add_signal_handler(signal.SIGCHLD, engine.on_children)
events = []
loop.add_reader(near.fileno(), lambda: events.extend(e for f in near.receive() for e in decode(f)))

def job(line, **more):
    spec = m.JobSpec((line,), (), None, False, False, m.GATHER, m.GATHER, False, 0.2, 5.0, False,
        0)
    return spec._replace(**more)

async def until(number):
    while sum(len(e.results) for e in events if isinstance(e, m.Finished)) < number:
        await asyncio.sleep(0.01)

async def begun():
    while not any(isinstance(e, m.Output) for e in events):
        await asyncio.sleep(0.01)

near.send(encode([m.SetSlots(0, 8), m.Submit(1, job("echo hello; exit 3"), 0, ["n"] * 20)]))
loop.run_until_complete(asyncio.wait_for(until(20), 60))
near.send(encode([m.Submit(2, job("sleep 600", timeout=0.2), 0, ["n"])]))
loop.run_until_complete(asyncio.wait_for(until(21), 60))
command = job("setsid sleep 600 & echo begun; sleep 600", stdout_mode=m.STREAM)
near.send(encode([m.Submit(3, command, 0, ["n"])]))
loop.run_until_complete(asyncio.wait_for(begun(), 60))
engine.leave()
loop.call_later(60, loop.stop)
while engine.clients.busy:
    loop.run_forever()
results = [r for e in events if isinstance(e, m.Finished) for r in e.results]
print([r[1:3] for r in results[:20]] == [(m.EXITED, 3)] * 20, results[20][1] == m.TIMED_OUT)
print([b for e in events if isinstance(e, m.Bodies) for _, b in e.bodies])
try:
    os.waitpid(-1, os.WNOHANG)
    print("children left")
except ChildProcessError:
    print("no children")
"""


def test_an_engine_on_an_asyncio_loop() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SOURCE],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.stderr == ""
    assert done.stdout == "True True\n[b'hello\\n']\nno children\n"
