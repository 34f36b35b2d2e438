"""Slurm's own lists of nodes, against its scontrol(1)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mpshell.nodeset import NodeSet
from tests.system.slurm import Scontrol, some_names

pytestmark = pytest.mark.needs("scontrol")


@pytest.mark.parametrize("seed", range(6))
def test_lists_are_read_as_slurm_reads_them(seed: int, tmp_path: Path) -> None:
    scontrol = Scontrol(tmp_path)
    chance = random.Random(seed)
    for _ in range(50):
        names = some_names(chance)
        text = scontrol.write(names)
        assert set(NodeSet(text)) == set(scontrol.read(text)) == set(names), text


def test_lists_that_are_written_here_are_read_by_slurm(tmp_path: Path) -> None:
    scontrol = Scontrol(tmp_path)
    chance = random.Random(99)
    for _ in range(50):
        # Slurm takes no text behind brackets.
        names = {n for n in some_names(chance) if n[-1].isdigit() and n[-2:] != "x1"} or {"n1"}
        text = str(NodeSet.fromlist(names))
        assert set(scontrol.read(text)) == names, text


@pytest.mark.parametrize(
    "text", ["r[1-2]n[08-100]", "a[001-003]b[1-2]c[098-101]", "r[1-2,5]n[1-3]x[1-2]", "[08-11]"]
)
def test_several_brackets_are_read_as_slurm_reads_them(text: str, tmp_path: Path) -> None:
    assert set(NodeSet(text)) == set(Scontrol(tmp_path).read(text))
