"""Lists of nodes as Slurm writes and reads them, asked of its own scontrol(1)."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

#: Literals before and after the number of a node's name.
_BEFORE = ("n", "cn", "r1n", "r2-", "gpu0x", "a.b", "n0", "", "x9y", "node-a_")
_AFTER = ("", "", "", "", "", "", "-ib", ".cluster", "x1")

#: Numbers at which a run of nodes begins: most are just below one with a digit more.
_FIRST = (0, 1, 7, 8, 9, 95, 98, 99, 100, 995, 998, 999, 1000, 9995, 65530, 4294967290)


class Scontrol:
    """The program with a configuration of its own: without one it asks the network for it."""

    def __init__(self, directory: Path) -> None:
        conf = directory / "slurm.conf"
        conf.write_text("ClusterName=c\nSlurmctldHost=localhost\n")
        self._env = {"PATH": os.environ["PATH"], "SLURM_CONF": str(conf), "LC_ALL": "C.UTF-8"}

    def _show(self, what: str, text: str) -> list[str]:
        command = ["scontrol", "show", what, text]
        done = subprocess.run(
            command, env=self._env, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.split()

    def write(self, names: list[str]) -> str:
        """Return the list of the names as Slurm writes it."""
        (text,) = self._show("hostlist", ",".join(names))
        return text

    def read(self, text: str) -> list[str]:
        """Return the names of a list as Slurm reads it."""
        return self._show("hostnames", text)


def some_names(chance: random.Random) -> list[str]:
    """Return the nodes of a job: a few runs of numbers, with gaps, of any width, in any order."""
    names: list[str] = []
    for _ in range(chance.randint(1, 4)):
        before, after = chance.choice(_BEFORE), chance.choice(_AFTER)
        first, width = chance.choice(_FIRST), chance.randint(0, 6)
        last = first + chance.randint(1, 8) * chance.choice((1, 1, 2, 15))
        there = chance.choice((0.9, 1.0))
        names += [
            f"{before}{number:0{width}d}{after}"
            for number in range(first, last)
            if chance.random() < there
        ]
    if chance.random() < 0.4:
        chance.shuffle(names)
    return names or ["n1"]
