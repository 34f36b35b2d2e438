"""A program that leads to an outpost over a link that a test can cut: it passes bytes on, or holds them.

    python -m tests.hosts.cutter DIRECTORY WORD...

Runs the words. Bytes that go up are held while DIRECTORY/up exists, those that go down while DIRECTORY/down
does. As over TCP nothing is lost: held bytes arrive when the link heals.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path


def carry(source: int, target: int, gate: Path) -> None:
    """Pass on what comes, while the gate is open."""
    while data := os.read(source, 65536):
        while gate.exists():
            # A file that goes gives no sign that Python could wait for.
            time.sleep(0.02)
        while data:
            data = data[os.write(target, data) :]
    os.close(target)


def main(directory: Path, words: list[str]) -> int:
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    down = (0, process.stdin.fileno(), directory / "down")
    threading.Thread(target=carry, args=down, daemon=True).start()
    carry(process.stdout.fileno(), 1, directory / "up")
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
