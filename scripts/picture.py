"""The picture of the architecture, as SVG, in the colours of the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scripts.benchmark import look

#: Width and height; then boxes: left, top, width, height, and their lines.
_SIZE = 860, 300
_BOXES: tuple[tuple[int, int, int, int, tuple[str, ...]], ...] = (
    (10, 70, 230, 150, ("your program", "Task: coordinator", "handlers, results, journal")),
    (330, 20, 190, 70, ("engine", "poll loop, a slice of the fanout")),
    (330, 115, 190, 70, ("engine", "poll loop, a slice of the fanout")),
    (330, 210, 190, 70, ("engine", "on this host or another one")),
)
_FANS = ((520, 55, 20), (520, 150, 115), (520, 245, 210))


def architecture(scheme: str) -> str:
    """Return the picture in a scheme of colours."""
    colours = look.colours(scheme)
    parts = [_box(*box, colours) for box in _BOXES]
    for left, top, first in _FANS:
        parts.append(_arrow(240, 145, 330, top, colours["focus"]))
        for number in range(4):
            parts.append(_arrow(left, top, 640, first + 10 + 17 * number, colours["ok"]))
            parts.append(
                _word(
                    652,
                    first + 14 + 17 * number,
                    f"node{first // 95 * 4 + number + 1}",
                    colours["soft"],
                )
            )
    parts.append(_word(205, 40, "slices of the nodes", colours["soft"]))
    parts.append(_word(205, 55, "output, verdicts", colours["soft"]))
    parts.append(_word(720, 154, "over ssh, exec, rsh, ...", colours["text"]))
    width, height = _SIZE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" '
        f'font-family="DejaVu Sans, sans-serif">'
        f'<rect width="{width}" height="{height}" fill="{colours["page"]}"/>'
        + "".join(parts)
        + "</svg>\n"
    )


def _box(
    left: int, top: int, width: int, height: int, lines: tuple[str, ...], colours: Mapping[str, str]
) -> str:  # fmt: skip
    """Return a box with its lines in the middle, the first one larger."""
    first = top + height // 2 - 9 * (len(lines) - 1) + 5
    words = [
        f'<text x="{left + width // 2}" y="{first + 19 * at}" text-anchor="middle" '
        f'font-size="{12 if at else 15}" fill="{colours["soft" if at else "text"]}">{line}</text>'
        for at, line in enumerate(lines)
    ]
    return (
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="8" '
        f'fill="{colours["panel"]}" stroke="{colours["line"]}"/>' + "".join(words)
    )


def _arrow(x: int, y: int, to_x: int, to_y: int, colour: str) -> str:
    return f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" stroke="{colour}" stroke-width="1.5"/>'


def _word(x: int, y: int, word: str, colour: str, size: int = 11) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}">{word}</text>'


def write(directory: Path) -> None:
    for scheme in look.SCHEMES:
        (directory / f"architecture-{scheme}.svg").write_text(architecture(scheme))
