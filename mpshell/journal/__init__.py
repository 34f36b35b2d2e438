"""The journal: runs, their nodes and verdicts in one SQLite file (docs/journal.md)."""
