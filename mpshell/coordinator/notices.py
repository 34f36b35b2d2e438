"""Messages of engines for the user: warnings, once each, and counts of nodes, once a run."""

from __future__ import annotations

import warnings
from collections import Counter

from mpshell.coordinator.job import Job
from mpshell.coordinator.run import Run

#: The number of reasons that are named: each node may have its own, since it may contain a path or a name.
_REASONS = 4


class NoticeCounts:
    """The warnings of one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._warned: set[str] = set()
        #: Texts about nodes, and the number of nodes for which each is true.
        self._counts: Counter[str] = Counter()

    def warn(self, text: str) -> None:
        """Warn at once, but only once in this run."""
        if text not in self._warned:
            self._warned.add(text)
            self._run.call(warnings.warn, text, RuntimeWarning)

    def count(self, counts: list[tuple[str, int]]) -> None:
        """Count nodes for which a text is true."""
        self._counts.update(dict(counts))

    def count_job(self, job: Job) -> None:
        """Count the clients of a job that has a notice."""
        if job.notice:
            self._counts[job.notice] += sum(stop - first for first, stop in job.chosen)

    def add_host_keys(self, lines: list[tuple[str, str]]) -> None:
        """Add lines to files of host keys, as ssh(1) does; warn if a file cannot be written."""
        # Late: only for runs over connections of engines.
        from mpshell.ssh.accepted import append_line

        for path, line in lines:
            try:
                append_line(path, line)
            except OSError as error:
                self.warn(f"a new host key cannot be added to {path}: {error.strerror}")

    def tell_counts(self) -> None:
        """Warn about everything that was counted, in one line, most nodes first."""
        if not self._counts:
            return
        # Late: most runs have none.
        from mpshell.wire.notices import NOTICE_REASON

        groups: dict[str, list[tuple[str, int]]] = {}
        for text, count in self._counts.most_common():
            head, _, reason = text.partition(NOTICE_REASON)
            groups.setdefault(head, []).append((reason, count))
        self._counts.clear()
        self.warn("; ".join(_sentence(head, reasons) for head, reasons in groups.items()))


def _sentence(head: str, reasons: list[tuple[str, int]]) -> str:
    """Return a sentence about `total` nodes, with the commonest reasons."""
    total = sum(count for _, count in reasons)
    sentence = f"{total} {'node' if total == 1 else 'nodes'} {head}"
    if not reasons[0][0]:
        return sentence
    if len(reasons) == 1:
        return f"{sentence}: {reasons[0][0]}"
    shown = [f"{reason} ({count})" for reason, count in reasons[:_REASONS]]
    if rest := reasons[_REASONS:]:
        others = "another reason" if len(rest) == 1 else f"{len(rest)} other reasons"
        shown.append(f"{others} ({sum(count for _, count in rest)})")
    return f"{sentence}: {', '.join(shown)}"
