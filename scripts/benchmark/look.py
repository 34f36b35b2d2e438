"""The colours of plots, light and dark: those of the report, read from its style sheet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

_STYLE = Path(__file__).parents[2] / "mpshell/cli/report/page.css"

#: Variables of the style sheet, by what they are in a plot; the lines differ by more than their colour.
_LINES = ("focus", "failed", "timed-out", "transport-failed", "unreachable", "ok", "lost")
_MARKERS = "osD^vPX"
_DASHES = ("-", "--", "-.", ":")

SCHEMES = ("light", "dark")


class Line(NamedTuple):
    """How a line is drawn: readable in grey too."""

    colour: str
    marker: str
    dash: str


def colours(scheme: str) -> Mapping[str, str]:
    """Return the colours of a scheme by the names of the style sheet."""
    blocks = re.findall(r":root \{(.*?)\}", _STYLE.read_text(), re.DOTALL)
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[SCHEMES.index(scheme)]))


def lines(scheme: str, number: int) -> list[Line]:
    """Return how so many lines of a plot are drawn."""
    found = colours(scheme)
    drawn = zip(cycle(_LINES), cycle(_MARKERS), cycle(_DASHES), strict=False)
    return [Line(found[name], marker, dash) for name, marker, dash in islice(drawn, number)]


def style(scheme: str) -> dict[str, str]:
    """Return the settings of matplotlib for a scheme."""
    found = colours(scheme)
    return {
        "figure.facecolor": found["page"], "axes.facecolor": found["page"], "savefig.facecolor": found["page"],
        "text.color": found["text"], "axes.labelcolor": found["text"], "axes.titlecolor": found["text"],
        "xtick.color": found["soft"], "ytick.color": found["soft"], "axes.edgecolor": found["line"],
        "grid.color": found["line"], "legend.facecolor": found["page"], "legend.edgecolor": found["line"],
    }  # fmt: skip
