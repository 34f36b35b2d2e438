"""The output that a journal keeps: a leaf, which the command line imports without anything of a run."""

KEEPS = KEEPS_NONE, KEEPS_FAILED, KEEPS_ALL = "none", "failed", "all"
