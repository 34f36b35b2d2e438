"""Plots of the cases that have points: rate, own CPU and memory over a size; each light and dark."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

from scripts.benchmark import look
from scripts.benchmark.cases import CASES
from scripts.benchmark.model import Case, middle
from scripts.benchmark.report import head

#: The case whose figures are shown in the README.
_HEADLINE = "tiny"

#: So many sizes each have their own place on the axis.
_FEW = 4

_PANELS = ("over_least", "rate", "cpu_us", "coordinator_memory_mb", "memory_mb")


def draw(record: Mapping[str, Any], directory: Path) -> None:
    """Write NAME.png and NAME-dark.png for each case that is over something."""
    matplotlib.use("Agg")
    directory.mkdir(parents=True, exist_ok=True)
    if _HEADLINE in record["cases"]:
        for scheme in look.SCHEMES:
            _draw_headline(record["cases"][_HEADLINE], directory, scheme)
    for name, found in record["cases"].items():
        case = CASES.get(name)
        if case is not None and case.over and found["samples"]:
            for scheme in look.SCHEMES:
                suffix = "" if scheme == "light" else f"-{scheme}"
                _draw_case(case, found, directory / f"{name}{suffix}.png", scheme)


def _lines(found: Mapping[str, Any], metric: str) -> dict[str, list[tuple[float, float]]]:
    """Return points by the name of their line, in order."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for label, (line, x) in found["points"].items():
        y = middle(found["samples"].get(label, []), metric)
        if y is not None:
            lines.setdefault(line, []).append((x, y))
    return {line: sorted(points) for line, points in lines.items()}


def _draw_case(case: Case, found: Mapping[str, Any], path: Path, scheme: str) -> None:
    from matplotlib import pyplot

    with pyplot.rc_context(look.style(scheme)):
        _draw_panels(case, found, path, scheme)


def _draw_panels(case: Case, found: Mapping[str, Any], path: Path, scheme: str) -> None:
    from matplotlib import pyplot

    panels = [metric for metric in _PANELS if metric in case.shown and _lines(found, metric)]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.6), squeeze=False)
    for axis, metric in zip(axes[0], panels, strict=True):
        plotted = _lines(found, metric)
        for (line, points), drawn in zip(
            plotted.items(), look.lines(scheme, len(plotted)), strict=True
        ):
            axis.plot(
                *zip(*points, strict=True), color=drawn.colour, marker=drawn.marker,
                linestyle=drawn.dash, markersize=5, label=line,
            )  # fmt: skip
        sizes = sorted({x for points in plotted.values() for x, _ in points})
        if len(sizes) > _FEW:
            axis.set_xscale("log")
        else:
            axis.set_xticks(sizes)
        if metric == "cpu_us":
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.set_xlabel(case.over)
        axis.set_title(head(metric, case), fontsize=10)
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    # Without the version of matplotlib in it: a plot changes when its data do.
    figure.savefig(path, dpi=90, metadata={"Software": None})
    pyplot.close(figure)


def _draw_headline(found: Mapping[str, Any], directory: Path, scheme: str) -> None:
    """Write headline.png: the rate of each program as a bar."""
    from matplotlib import pyplot

    rates = {label: middle(samples, "rate") for label, samples in found["samples"].items()}
    bars = sorted((rate, label) for label, rate in rates.items() if rate is not None)
    colours = look.colours(scheme)
    with pyplot.rc_context(look.style(scheme)):
        figure, axis = pyplot.subplots(figsize=(8, 0.45 * len(bars) + 1.1))
        drawn = axis.barh(
            [label for _, label in bars], [rate for rate, _ in bars],
            color=[colours["focus" if label == "mpshell" else "not-run"] for _, label in bars],
        )  # fmt: skip
        axis.bar_label(drawn, labels=[f"{rate:,.0f}" for rate, _ in bars], padding=4, fontsize=9)
        axis.set_xlabel("commands a second: a tiny program on 10,000 nodes")
        axis.margins(x=0.12)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        figure.tight_layout()
        suffix = "" if scheme == "light" else f"-{scheme}"
        figure.savefig(directory / f"headline{suffix}.png", dpi=90, metadata={"Software": None})
        pyplot.close(figure)
