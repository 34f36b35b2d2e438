"""The data that the parts of the benchmark exchange: cases, contenders, samples, targets.

A case is one row of the table: some contenders do the same work, one after the other, round by round.
A sample has the measurements of one run of one contender. Pure.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

#: The measurements of a run, by name: `seconds`, `cpu` (own CPU seconds), `units`, and more.
Sample = dict[str, float]

MPSHELL = "mpshell"
CLUSTERSHELL = "ClusterShell"
LIMIT = "C limit"


@dataclass(frozen=True)
class Invocation:
    """One process to run and measure."""

    argv: list[str]
    #: What is done: nodes, lines, bytes; rates are by this.
    units: float
    stdin: bytes = b""
    env: dict[str, str] = field(default_factory=dict)
    #: Seconds, then it is killed and the benchmark fails.
    timeout: float = 180
    #: It is one of the drivers and measures itself.
    driver: bool = False


@dataclass(frozen=True)
class Contender:
    """A program that does the work of a case."""

    label: str
    invocation: Invocation
    #: What is not the same for it, for a reader.
    note: str = ""
    #: Rounds it takes part in at most.
    rounds: int = 1000
    #: Where it stands in a plot: the name of its line, and how many nodes, slots, engines.
    point: tuple[str, float] | None = None


@dataclass(frozen=True)
class Target:
    """The required value of a metric: relative to another contender's, round by round, or absolute.

    Without bounds it is only shown.
    """

    text: str
    metric: str
    at_least: float | None = None
    at_most: float | None = None
    against: str | None = None
    who: str = MPSHELL


@dataclass(frozen=True)
class Case:
    """A row: `contenders` makes its contenders for a workplace, whose size is small for a quick try."""

    name: str
    title: str
    #: What a unit is, in the plural.
    unit: str
    contenders: Callable[[Any], list[Contender]]
    targets: tuple[Target, ...] = ()
    #: Metrics that a report shows, in this order.
    shown: tuple[str, ...] = ("rate", "cpu_us", "memory_mb")
    #: Rounds at most.
    rounds: int = 1000
    #: For a plot of its contenders' points: what they are over.
    over: str = ""


def derive(sample: Sample) -> Sample:
    """Return a sample with derived values: rates, and sizes in common units."""
    derived = dict(sample)
    units = sample["units"]
    derived["rate"] = units / sample["seconds"]
    # Where a unit is the least time that the work can take.
    derived["over_least"] = sample["seconds"] / units
    if sample.get("cpu"):
        derived["cpu_us"] = sample["cpu"] / units * 1e6
        derived["per_cpu_second"] = units / sample["cpu"]
    if sample.get("process_seconds"):
        derived["whole_rate"] = units / sample["process_seconds"]
    if sample.get("tree_cpu"):
        derived["tree_cpu_us"] = sample["tree_cpu"] / units * 1e6
    for name in ("coordinator_cpu", "switchboard_cpu", "lines_cpu", "commands_cpu"):
        if name in sample:
            derived[f"{name}_us"] = sample[name] / units * 1e6
    for name in ("memory", "peak_memory", "coordinator_memory"):
        if name in sample:
            derived[f"{name}_mb"] = sample[name] / 1e6
    return derived


def middle(samples: list[Sample], metric: str) -> float | None:
    """Return the median of a metric, or None if it was not measured."""
    values = [sample[metric] for sample in samples if metric in sample]
    return median(values) if values else None


@dataclass(frozen=True)
class Ratio:
    """The median, the least and the greatest of what was compared round by round."""

    median: float
    least: float
    greatest: float


def ratio(ours: list[Sample], theirs: list[Sample], metric: str) -> Ratio | None:
    """Return ours / theirs of a metric, round by round; fewer rounds of one are repeated in turn."""
    if not ours or not theirs:
        return None
    quotients = []
    for number, sample in enumerate(ours):
        other = theirs[number % len(theirs)]
        if metric in sample and other.get(metric):
            quotients.append(sample[metric] / other[metric])
    if not quotients:
        return None
    return Ratio(median(quotients), min(quotients), max(quotients))


@dataclass(frozen=True)
class Verdict:
    """A target, what came out, and whether that reaches it."""

    target: Target
    value: float
    #: None for a target without bounds.
    reached: bool | None
    spread: Ratio | None = None


def judge(target: Target, samples: dict[str, list[Sample]]) -> Verdict | None:
    """Return the verdict on a target, or None if it was not measured."""
    ours = samples.get(target.who, [])
    spread = None
    if target.against is None:
        value = middle(ours, target.metric)
    else:
        spread = ratio(ours, samples.get(target.against, []), target.metric)
        value = None if spread is None else spread.median
    if value is None:
        return None
    bounds = []
    if target.at_least is not None:
        bounds.append(value >= target.at_least)
    if target.at_most is not None:
        bounds.append(value <= target.at_most)
    return Verdict(target, value, all(bounds) if bounds else None, spread)
