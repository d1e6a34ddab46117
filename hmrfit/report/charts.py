"""Charts for pages, as small plain SVG. Each function returns the element to put into a page.

The colours (Okabe and Ito's) differ for readers with red-green blindness too. Lines differ in their dashes as well, and
bars stand in the order of the legend, so that no colour need be told from another.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
DASHES = ("", "8 3", "2 2", "8 3 2 3", "4 4", "12 3 2 3 2 3", "1 4")
WIDTH = 440
"""Pixels of a chart; a page may shrink it, a phone's by a fifth, at which the smallest text is 9 pixels high."""
GREY, LINE = "#666", "#ddd"


Scale = Callable[[float], float]
"""From a value to a pixel of the chart."""


class Svg(str):
    """An <svg> element as text."""


def histogram(series: Mapping[str, ArrayLike], unit: str, bins: int = 40, height: int = 220) -> Svg:
    """The distribution of errors: a line for each series, its median a thin line with a dot.

    The axis ends at the largest 98th percentile of the series, or at 2.5 times the least, so that one bad series does
    not hide the good ones. Values beyond it are in the last bin, which may be cut off.

    Args:
        series: name -> values, NaN left out. unit: of the values.
    """
    values = {name: _finite(v) for name, v in series.items()}
    values = {name: v for name, v in values.items() if len(v)}
    if not values:
        return _nothing(height)
    low = min(0.0, *(v.min() for v in values.values()))
    ends = [float(np.percentile(v, 98)) for v in values.values()]
    high = min(max(ends), 2.5 * min(ends))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    fractions = {n: np.histogram(v.clip(edges[0], edges[-1]), edges)[0] / len(v) for n, v in values.items()}
    head, left = 14 + 16 * len(values), 44
    # the last bin may hold all values beyond the axis: it does not set the scale
    highest = max(float(f[:-1].max()) for f in fractions.values())
    top, bottom = highest or max(float(f.max()) for f in fractions.values()), height + head - 46

    def x(value: float) -> float:
        return left + (WIDTH - left - 12) * (value - edges[0]) / (edges[-1] - edges[0])

    def y(fraction: float) -> float:
        return bottom - (bottom - head) * min(fraction / top, 1.0)

    parts = [
        _axis_x(edges[0], edges[-1], x, (head, bottom), unit),
        _text(left - 6, head + 4, f"{100 * top:.0f} %", "end"),
    ]
    for i, (color, (name, fraction)) in enumerate(zip(_colors(), fractions.items(), strict=False)):
        middle = float(np.median(values[name]).clip(edges[0], edges[-1]))
        parts += [
            f'<polyline fill="none" stroke="{color}" stroke-width="2"{_dashes(i)} '
            f'points="{_steps(edges, fraction, x, y)}"/>',
            f'<line x1="{x(middle):.1f}" x2="{x(middle):.1f}" y1="{head}" y2="{bottom}" stroke="{color}"{_dashes(i)}/>',
            f'<circle cx="{x(middle):.1f}" cy="{head + 8 * i}" r="4" fill="{color}"/>',
        ]
    labels = [f"{name}, median {np.median(v):.4g}" for name, v in values.items()]
    return _svg(bottom + 34, [*parts, *_legend(labels, left, lines=True)])


def bars(rows: Mapping[str, Mapping[str, float]], unit: str) -> Svg:
    """A group of horizontal bars for each row, a bar for each series; a NaN leaves its place empty.

    Args:
        rows: label -> series -> value; every row has the same series. unit: of the values.
    """
    names = list(next(iter(rows.values()), {}))
    known = [v for row in rows.values() for v in row.values() if math.isfinite(v)]
    if not known:
        return _nothing(60)
    thick, top = max(10, 16 - 2 * len(names)), max([*known, 1e-12])
    left = min(240, 12 + max(int(6.6 * len(label)) for label in rows))
    head = 18 * len(names) if len(names) > 1 else 0
    group = thick * len(names) + 8
    bottom = head + group * len(rows) + 10

    def x(value: float) -> float:
        return left + (WIDTH - left - 52) * value / top

    parts = [_axis_x(0.0, top, x, (head + 4, bottom), unit)]
    for i, (label, row) in enumerate(rows.items()):
        up = head + 6 + i * group
        parts.append(_text(left - 6, up + thick * len(names) / 2 + 4, label, "end"))
        for j, (color, name) in enumerate(zip(_colors(), names, strict=False)):
            if math.isfinite(value := row.get(name, math.nan)):
                length = max(0.0, x(max(value, 0.0)) - left)
                parts.append(
                    f'<rect x="{left}" y="{up + j * thick}" width="{length:.1f}" height="{thick - 1}" fill="{color}"/>'
                )
                parts.append(_text(left + length + 4, up + j * thick + thick - 3, f"{value:.3g}", size=11))
    legend = _legend(names, left) if len(names) > 1 else []
    return _svg(bottom + 34, [*parts, *legend])


def matrix(counts: ArrayLike, rows: Sequence[str], columns: Sequence[str], corner: str = "") -> Svg:
    """A table of counts (R, C), each shaded and labelled by its percentage of its row.

    Args:
        rows, columns: R and C names. corner: the label of both.
    """
    counts = np.asarray(counts, np.float64)
    total = counts.sum(1, keepdims=True)
    fractions = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    left, cell, head = 100, min(62, (WIDTH - 100) // max(1, len(columns))), 26
    parts = [_text(left - 8, 16, corner, "end", size=11)]
    for j, name in enumerate(columns):
        parts.append(_text(left + (j + 0.5) * cell, 16, _broken(name), "middle", size=11))
    for i, name in enumerate(rows):
        y = head + 26 * i
        parts.append(_text(left - 8, y + 17, name, "end"))
        for j, fraction in enumerate(fractions[i]):
            ink = "#fff" if fraction > 0.55 else "#222"
            parts.append(
                f'<rect x="{left + j * cell}" y="{y}" width="{cell - 1}" height="25" fill="{_shade(fraction)}">'
                f"<title>{escape(name)} taken for {escape(columns[j])}: {counts[i, j]:.0f}</title></rect>"
            )
            parts.append(_text(left + (j + 0.5) * cell, y + 17, _percent(fraction), "middle", size=11, fill=ink))
    return _svg(head + 26 * len(rows) + 6, parts)


# ---- pieces


def _svg(height: float, parts: Sequence[str]) -> Svg:
    return Svg(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )


def _nothing(height: float) -> Svg:
    return _svg(height, [_text(WIDTH / 2, height / 2, "nothing to draw", "middle")])


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12, fill: str = GREY) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'
    )


def _legend(names: Sequence[str], left: float, lines: bool = False) -> list[str]:
    """A row for each series, below each other: a piece of its line, or a square of its bars' colour."""
    parts: list[str] = []
    for i, (color, name) in enumerate(zip(_colors(), names, strict=False)):
        y, sample = 6 + 16 * i, f'<rect x="{left}" y="{6 + 16 * i}" width="10" height="10" fill="{color}"/>'
        if lines:
            ends = f'x1="{left}" x2="{left + 28}" y1="{y + 5}" y2="{y + 5}"'
            sample = f'<line {ends} stroke="{color}" stroke-width="2"{_dashes(i)}/>'
        parts += [sample, _text(left + (33 if lines else 15), y + 9, name)]
    return parts


def _dashes(series: int) -> str:
    """The attribute of a line; the first series' is whole."""
    dashes = DASHES[series % len(DASHES)]
    return f' stroke-dasharray="{dashes}"' if dashes else ""


def _colors() -> list[str]:
    """The colours, repeated: more than a chart has series."""
    return list(COLORS) * 5


def _axis_x(low: float, high: float, x: Scale, rows: tuple[float, float], unit: str) -> str:
    """The axis with its unit, and three to eight round numbers with lines from the first to the second of `rows`."""
    top, y = rows
    marks = [
        f'<line x1="{x(t):.1f}" x2="{x(t):.1f}" y1="{top}" y2="{y}" stroke="{LINE}"/>'
        + _text(x(t), y + 14, f"{t:g}", "middle", size=11)
        for t in ticks(low, high)
    ]
    line = f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}" stroke="{GREY}"/>'
    return "".join(marks) + line + _text(x(high), y + 28, unit, "end", size=11)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, in steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _steps(edges: NDArray, fractions: NDArray, x: Scale, y: Scale) -> str:
    """The outline of a histogram, as the points of a polyline."""
    across, up = np.repeat(edges, 2)[1:-1], np.repeat(fractions, 2)
    return " ".join(f"{x(a):.1f},{y(s):.1f}" for a, s in zip(across, up, strict=True))


def _shade(fraction: float) -> str:
    """From white at 0 to the first colour at 1."""
    low, high = np.array([255, 255, 255]), np.array([0, 114, 178])
    red, green, blue = (low + (high - low) * min(1.0, max(0.0, fraction))).round().astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _percent(fraction: float) -> str:
    """A fraction in per cent; empty where it is 0."""
    return "" if fraction == 0 else "<0.1" if fraction < 0.0005 else f"{100 * fraction:.1f}"


def _broken(name: str) -> str:
    return name if len(name) < 10 else name.replace("background", "backgr.")


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(values, np.float64).ravel()
    return values[np.isfinite(values)]
