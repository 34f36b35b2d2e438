"""Two records side by side: what has become better or worse. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.benchmark.model import MPSHELL, Case, judge, middle
from scripts.benchmark.report import head, number, table

#: A change of less than this is noise.
_NOISE = 0.10

#: Of which more is better; of other metrics less is.
_MORE_IS_BETTER = ("rate", "per_cpu_second", "efficiency")


def more_is_better(metric: str) -> bool:
    return metric in _MORE_IS_BETTER or metric.endswith("_rate")


def change(old: float, new: float, more: bool) -> str:
    """Return "worse" or "better" for a change beyond noise, else nothing."""
    if old == new:
        return ""
    if not old or not new:
        return "?"
    gain = new / old if more else old / new
    if gain < 1 - _NOISE:
        return "**worse**"
    return "better" if gain > 1 / (1 - _NOISE) else ""


def table_rows(
    old: Mapping[str, Any], new: Mapping[str, Any], cases: Mapping[str, Case]
) -> Iterator[list[str]]:
    """Yield case, what, old, new, new / old and the change, for what both records hold."""
    for name, case in cases.items():
        if name not in old["cases"] or name not in new["cases"]:
            continue
        before, after = old["cases"][name]["samples"], new["cases"][name]["samples"]
        values = []
        for label in before:
            if label in after and label.startswith(MPSHELL):
                for metric in case.shown:
                    what = f"{label}: {head(metric, case)}"
                    pair = (middle(before[label], metric), middle(after[label], metric))
                    values.append((what, *pair, more_is_better(metric)))
        for target in case.targets:
            one, other = judge(target, before), judge(target, after)
            if target.against is not None and one is not None and other is not None:
                more = target.at_most is None
                values.append((f"ratio: {target.text}", one.value, other.value, more))
        for what, was, now, more in values:
            if was is not None and now is not None:
                ratio = number(now / was) if was else "-"
                yield [name, what, number(was), number(now), ratio, change(was, now, more)]


def compare_table(old: Mapping[str, Any], new: Mapping[str, Any], cases: Mapping[str, Case]) -> str:
    """Return the comparison in Markdown. Ratios and CPU times are what to look at."""
    heads = ["case", "what", "old", "new", "new / old", ""]
    return table(heads, list(table_rows(old, new, cases)))
