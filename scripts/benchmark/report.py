"""From samples to text: a line for each run, tables for each case, the page of docs. Pure but for notes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.benchmark.model import Case, Sample, Verdict, judge, middle

#: Written by hand: what stands in the way of a target, with a profile. One file a case.
_NOTES = Path(__file__).parent / "notes"

#: How a metric is called in a table; {unit} and {units} are a case's.
_HEADS = {
    "seconds": "seconds",
    "over_least": "time over size/bandwidth",
    "head_sent": "the head sent, times the size",
    "rate": "{units}/s",
    "tree_cpu_us": "CPU of all processes, start included, us a {unit}",
    "cpu_us": "own CPU, us a {unit}",
    "cpu_percent": "own CPU, % of a core",
    "coordinator_cpu_us": "of it the coordinator's, us a {unit}",
    "switchboard_cpu_us": "the switchboard's, us a {unit}",
    "lines_cpu_us": "that of the programs of its lines, us a {unit}",
    "commands_cpu_us": "CPU of commands, us a {unit}",
    "per_cpu_second": "{units} a second of own CPU",
    "memory_mb": "memory at the end, MB",
    "connection_kb": "memory of a connection, KB",
    "peak_memory_mb": "peaks of own processes added, MB",
    "coordinator_memory_mb": "coordinator's peak, MB",
    "efficiency": "ideal time / actual",
    "first_ms": "import and run, ms",
    "process_ms": "whole process, ms",
    "all_cpu_ms": "CPU of all, ms",
    "names_us": "names, us a {unit}",
    "run_us": "run, us a {unit}",
    "results_us": "results read, us a {unit}",
}


def number(value: float | None) -> str:
    """Return a number with three figures that mean something."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def head(metric: str, case: Case) -> str:
    """Return what a metric of a case is called in a table."""
    if metric == "whole_rate":
        return f"{case.unit}/s, start included"
    if metric.endswith("_rate"):
        return f"{metric.removesuffix('_rate')}: {case.unit}/s"
    text = _HEADS.get(metric, metric.replace("_", " "))
    return text.format(units=case.unit, unit=case.unit.removesuffix("s"))


def brief(sample: Sample, case: Case) -> str:
    """Return one run in a line."""
    parts = [f"{number(sample['seconds'])} s"]
    parts += [f"{number(sample[m])} {head(m, case)}" for m in case.shown if m in sample]
    return ", ".join(parts)


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def verdicts(case: Case, found: Mapping[str, Any]) -> list[Verdict]:
    """Return what became of a case's targets, of those that were measured."""
    judged = (judge(target, found["samples"]) for target in case.targets)
    return [verdict for verdict in judged if verdict is not None]


def _medians(case: Case, found: Mapping[str, Any]) -> str:
    samples: dict[str, list[Sample]] = found["samples"]
    measured = {metric for many in samples.values() for sample in many for metric in sample}
    shown = [metric for metric in case.shown if metric in measured]
    rows = []
    for label, many in samples.items():
        note = found["failures"].get(label) or found["notes"].get(label)
        name = f"{label} ({note})" if note else label
        rows.append([name, *(number(middle(many, metric)) for metric in shown)])
    return table(["", *(head(metric, case) for metric in shown)], rows)


def _verdict_row(verdict: Verdict) -> list[str]:
    spread = verdict.spread
    between = "" if spread is None else f"{number(spread.least)} to {number(spread.greatest)}"
    reached = {True: "reached", False: "**not reached**", None: ""}[verdict.reached]
    return [verdict.target.text, number(verdict.value), between, reached]


def case_section(case: Case, found: Mapping[str, Any]) -> str:
    """Return a case in Markdown: contenders with their medians, targets, what was left out."""
    parts = [f"### {case.title}", f"`scripts/bench --only {case.name}`"]
    if found["samples"]:
        parts.append(_medians(case, found))
    if judged := verdicts(case, found):
        heads = ["target", "median", "least to greatest", ""]
        parts.append(table(heads, [_verdict_row(verdict) for verdict in judged]))
    parts += [f"Left out: {line}" for line in found["left_out"]]
    if case.over and found["samples"]:
        parts.append(
            f'<picture><source media="(prefers-color-scheme: dark)" srcset="benchmarks/{case.name}-dark.png">'
            f'<img alt="Growth over {case.over}" src="benchmarks/{case.name}.png"></picture>'
        )
    if (notes := _NOTES / f"{case.name}.md").exists():
        parts.append(notes.read_text().strip())
    return "\n\n".join(parts) + "\n"


_INTRODUCTION = """\
# Benchmarks

mpshell and its alternatives, measured case by case, each in one run on one machine,
by `scripts/bench --write`, which made this page. All samples are in
[benchmarks/benchmarks.json](benchmarks/benchmarks.json), and
`scripts/bench --compare OLD.json NEW.json` shows the changes between two such files.

- Every run is a separate process. Runs alternate (A B C, A B C, ...); the figures are medians. A ratio is
  computed for each round, and its median, least and greatest values are shown. Do not compare absolute times:
  another machine has others, and so has this one when it is busy.
- *Own CPU* is the user and system time of the library's processes: coordinator, fork server and engines here,
  the one process of the others. It does not include the commands' time. It is stable when the machine is busy.
- *Memory at the end* counts shared pages once (PSS, all own processes, engines warm); *peaks* are VmHWM, where
  pages that engines share count for each.
- The clock runs from the making of the worker until the results have been read. Engines are started in that
  time unless the row calls them warm. Every return code and every length is checked, so that a failing run does
  not count as a fast one.
- *C limit* is a C program, one process per core at the same time: posix_spawn, read to the end, wait.
- xargs does not keep the output of commands apart, and GNU parallel and pdsh do not gather it.
"""


def page(record: Mapping[str, Any], cases: Mapping[str, Case]) -> str:
    """Return docs/benchmarks.md."""
    known = {name: found for name, found in record["cases"].items() if name in cases}
    parts = [_INTRODUCTION]
    if record["quick"]:
        parts.append("**Made with `--quick`: small sizes and one round, no result.**\n")
    parts.append("## The machine\n")
    rows = [[what, value] for what, value in record["machine"].items()]
    parts.append(table(["", ""], rows) + "\n")
    parts.append("## Targets\n")
    parts.append(table(["case", "target", "median", "least to greatest", ""], [
        [f"[{name}](#{anchor(cases[name].title)})", *row]
        for name, found in known.items() for row in map(_verdict_row, verdicts(cases[name], found))
    ]) + "\n")  # fmt: skip
    parts.append("## Cases\n")
    parts += [case_section(cases[name], found) for name, found in known.items()]
    return "\n".join(parts)


def anchor(title: str) -> str:
    """Return the anchor that a heading has on common hosts of Markdown."""
    return "".join(_anchor_letters(title.lower()))


def _anchor_letters(title: str) -> Iterator[str]:
    for letter in title:
        if letter.isalnum() or letter in "-_":
            yield letter
        elif letter == " ":
            yield "-"
