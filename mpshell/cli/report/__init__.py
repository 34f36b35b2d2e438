"""The report of a run: one HTML file, made from the run's journal.

    journal ─► data (columns, groups, texts within bounds) ─► JSON in the page ─► scripts, which only set texts

Loaded with --report alone.
"""
