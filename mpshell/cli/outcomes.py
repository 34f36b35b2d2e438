"""The outcomes of the nodes: their kinds, the exit status, the summary.

Counted in the thread of the Task while it runs, read by the main thread after it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence

from mpshell.nodeset import NodeSet
from mpshell.outcome import RELAY_DETAIL as DETAIL
from mpshell.outcome import NodeOutcome

#: Return code of a node without one: it timed out, was lost, or could not be reached.
UNKNOWN = 255

#: The name of each reason, in the order of the summary.
_KINDS = {
    "ok": "ok",
    "exit": "failed",
    "signal": "failed",
    "timeout": "timed out",
    "unreachable": "unreachable",
    "auth": "refused",
    "hostkey": "host key refused",
    "transport": "transport failed",
    "lost": "lost",
    "may have run": "may have run",
    "not started": "not started",
    "cancelled": "stopped",
}
#: Reasons that are shown with their detail.
_EXPLAINED = ("not started", "lost", "transport")
ORDER = (*dict.fromkeys(_KINDS.values()), "not run")


def never_run(node: str) -> NodeOutcome:
    """Return the outcome of a node whose command was never started."""
    return NodeOutcome(node, "cancelled", None, None, None, 0.0, False, None, -1, attempt=0)


def never_ran(outcome: NodeOutcome) -> bool:
    """Return whether a node's command was never started, and will not be."""
    return outcome.reason == "cancelled" and outcome.started_at is None


def kind(outcome: NodeOutcome) -> str:
    """Return the name of an outcome in the summary."""
    if outcome.ok:
        return "ok"
    if never_ran(outcome):
        return "not run"
    return _KINDS[outcome.reason]


def sentence(outcome: NodeOutcome) -> str:
    """Return a phrase for the outcome of a node that is not ok."""
    what = kind(outcome)
    if outcome.reason == "exit" and (outcome.detail or "").startswith(DETAIL):
        return str(outcome.detail)
    if outcome.reason == "exit":
        return f"exited with code {outcome.returncode}"
    if outcome.reason == "signal" and outcome.signal is not None:
        return f"ended by {_signal_name(outcome.signal)}"
    if outcome.detail and (what == "not run" or outcome.reason in _EXPLAINED):
        return f"{what} ({outcome.detail.strip().splitlines()[-1]})"
    return what


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def exit_code(outcome: NodeOutcome) -> int:
    """Return the contribution of a node to the exit status of the program."""
    if outcome.reason == "cancelled":
        return 0
    return UNKNOWN if outcome.returncode is None else outcome.returncode


def worst(outcomes: Sequence[NodeOutcome]) -> NodeOutcome:
    """Return the final one of a node's outcomes: a bad one before a good one."""
    return max(outcomes, key=lambda o: (not o.ok, not never_ran(o), exit_code(o)))


class Tally:
    """Nodes of a run: which run, and since when; which have ended, and how those that failed did."""

    def __init__(self, nodes: NodeSet) -> None:
        self.nodes = nodes
        #: Start on the monotonic clock, by node.
        self.running: dict[str, float] = {}
        self.ended: set[str] = set()
        self.failures: dict[str, NodeOutcome] = {}
        #: Nodes that wait for another try.
        self.retrying: set[str] = set()
        self.max_code = 0

    def start(self, node: str) -> None:
        self.retrying.discard(node)
        self.running.setdefault(node, time.monotonic())

    def retry(self, node: str) -> None:
        """A try has failed, and another one follows."""
        self.running.pop(node, None)
        self.retrying.add(node)

    def end(self, outcome: NodeOutcome) -> None:
        """Count an outcome, once a node."""
        self.running.pop(outcome.node, None)
        self.retrying.discard(outcome.node)
        self.ended.add(outcome.node)
        if not outcome.ok:
            self.failures[outcome.node] = outcome
            self.max_code = max(self.max_code, exit_code(outcome))

    @property
    def done(self) -> int:
        return len(self.ended)

    @property
    def failed(self) -> int:
        return len(self.failures)

    @property
    def waiting(self) -> int:
        """How many nodes have not been started yet."""
        return len(self.nodes) - len(self.ended) - len(self.running) - len(self.retrying)

    def not_started(self) -> list[str]:
        """Return the nodes that have not been started yet."""
        known = self.ended.union(self.running, self.retrying)
        return [node for node in self.nodes if node not in known]

    def counts(self) -> dict[str, int]:
        """Return how many nodes ended in which way, the good one first."""
        found = {"ok": self.done - self.failed}
        for outcome in self.failures.values():
            what = kind(outcome)
            found[what] = found.get(what, 0) + 1
        return {name: found[name] for name in ORDER if name in found}

    def summary(self, seconds: float) -> str:
        """Return the last line: how many of each kind, in which time."""
        counts = self.counts()
        ran = self.done - counts.get("not run", 0)
        rate = ran / seconds if seconds > 0 else 0.0
        parts = ", ".join(f"{name} {count}" for name, count in counts.items())
        return f"{parts}, in {seconds:.1f} s ({rate:.{0 if rate >= 10 else 1}f}/s)"

    def failures_by_sentence(self) -> Iterator[tuple[str, NodeSet]]:
        """Yield (phrase, nodes), with all nodes of one kind together, folded."""
        groups: dict[tuple[int, str], list[str]] = {}
        for node, outcome in self.failures.items():
            key = (ORDER.index(kind(outcome)), sentence(outcome))
            groups.setdefault(key, []).append(node)
        for (_, what), nodes in sorted(groups.items(), key=lambda item: item[0]):
            yield what, NodeSet.fromnames(nodes)
