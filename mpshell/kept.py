"""The output that a journal keeps: a leaf, which the command line imports without anything of a run."""

from __future__ import annotations

KEEPS = KEEPS_NONE, KEEPS_FAILED, KEEPS_ALL = "none", "failed", "all"
