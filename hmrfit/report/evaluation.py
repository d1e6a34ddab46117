"""A page about an evaluation: the numbers beside the published ones, how the errors spread, and whom they are made on.

    write_report(folder, [Run("initial estimate", summary, details), Run("fit", summary, details)], cases=show)

Everything about one protocol is one section; a page may have several. The page is `folder/index.html`, complete in
itself.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmrfit.evaluate.protocol import Details, Measure, Summary
from hmrfit.evaluate.published_numbers import Published, published
from hmrfit.io.image import Image
from hmrfit.io.own_files import own_file
from hmrfit.report.charts import Svg, bars, histogram, matrix
from hmrfit.report.page import Entry, thumbnail, write_page

CASES = 3
"""How many of the best, the median and the worst are shown."""

MOST_GROUPS = 40
"""More actions or sequences than that make no chart."""

Show = Callable[[str, int], Image]
"""Draws a predictor's answer for a row of the data over its image: (predictor, row) -> picture."""


@dataclass(frozen=True)
class Run:
    """One predictor under one protocol."""

    predictor: str
    summary: Summary
    details: Details
    rows: NDArray[np.int64] | None = None  # (N,) of the data, whom the details' samples are of; None: all, in order


def write_report(
    folder: str | PathLike,
    runs: Sequence[Run],
    show: Show | None = None,
    title: str = "hmrfit evaluate",
    text: str = "",
) -> Path:
    """Writes `index.html` into the folder; returns its path.

    Args:
        runs: of any protocols, all of the same people; predictors in the order they are to be shown.
        show: draws single people; without it there are no cases.
    Raises:
        ValueError: no runs. FileExistsError: there is a page that hmrfit did not write. OSError: see `own_file`.
    """
    if not runs:
        raise ValueError("A report needs at least one run of a protocol, but there is none.")
    by_protocol: dict[str, list[Run]] = {}
    for run in runs:
        by_protocol.setdefault(run.summary.protocol, []).append(run)
    entries = []
    for own in by_protocol.values():
        entries += [_numbers(own), *_spread(own)]
        entries += _cases(own[-1], show) if show is not None else []
    path = Path(folder) / "index.html"
    with own_file(path, "page") as temporary:
        write_page(temporary, entries, title, text)
    return path


# ---- the table


def _numbers(runs: Sequence[Run]) -> Entry:
    """Our rows, then the published ones of the same quantity."""
    first = runs[0].summary
    names = [measure.name for measure in first.measures]
    rows = [_row(f"hmrfit: {r.predictor}", {m.name: m for m in r.summary.measures}, "this run", names) for r in runs]
    rows += [_published_row(p, first.measures) for p in published(first.protocol)]
    text = (
        f"{first.samples} scored, {first.missing} missing. Joints or classes: {first.joint_set}. From: "
        f"{first.regressor}. Alignment: {first.alignment}. Mean: {first.mean}. Box: {first.box_source}. "
        f"hmrfit {first.version}."
    )
    if published(first.protocol) and "synthetic" in str(first.run.get("dataset", "")):
        text += " The published rows are of the real data set: other people, other pictures, other keypoints."
    return Entry(first.protocol, rows=rows, text=text)


def _row(method: str, measures: Mapping[str, Measure], source: str, names: Sequence[str]) -> dict[str, str]:
    numbers = {f"{n} ({measures[n].unit})" if n in measures else n: _written(measures.get(n)) for n in names}
    return {"method": method, **numbers, "source": source}


def _published_row(row: Published, measures: Sequence[Measure]) -> dict[str, str]:
    """With the measures that the source has, and an empty place for the others."""
    numbers = {f"{m.name} ({m.unit})": f"{row.values[m.name]:g}" if m.name in row.values else "" for m in measures}
    doubts = [row.note] if row.note else []
    doubts += [] if row.checked else ["recalled, not checked at the source"]
    return {"method": row.method, **numbers, "source": row.source + (f" ({'; '.join(doubts)})" if doubts else "")}


def _written(measure: Measure | None) -> str:
    if measure is None or not math.isfinite(measure.value):
        return ""
    return f"{measure.value:.4f}" if measure.unit == "of 1" else f"{measure.value:.2f}"


# ---- charts


def _spread(runs: Sequence[Run]) -> list[Entry]:
    """Histograms, joints, groups and the confusion matrix, where the protocol keeps what they are made of."""
    charts = _histograms(runs) | _joints(runs) | _groups(runs) | _confusions(runs)
    return [Entry(f"{runs[0].summary.protocol}: how the errors spread", charts)] if charts else []


def _histograms(runs: Sequence[Run]) -> dict[str, Svg]:
    units = {m.name: m.unit for m in runs[0].summary.measures}
    charts = {}
    for name in runs[0].details.samples:
        series = {run.predictor: run.details.samples[name] for run in runs if name in run.details.samples}
        if any(np.isfinite(values).any() for values in series.values()):
            charts[f"{name} of single people"] = histogram(series, units.get(name, ""))
    return charts


def _joints(runs: Sequence[Run]) -> dict[str, Svg]:
    """Means over people of every joint."""
    charts, units = {}, {m.name: m.unit for m in runs[0].summary.measures}
    for measure in runs[0].details.joints:
        means = {r.predictor: _joint_means(r, measure) for r in runs if measure in r.details.joints}
        names = runs[0].details.joint_names
        rows = {name: {who: float(mean[i]) for who, mean in means.items()} for i, name in enumerate(names)}
        charts[f"{measure} of each joint, mean over people"] = bars(rows, units.get(measure, ""))
    return charts


def _joint_means(run: Run, measure: str) -> np.ndarray:
    values = run.details.joints[measure]
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(0)
    return np.divide(total, known.sum(0), out=np.full(values.shape[1], np.nan), where=known.any(0))


def _groups(runs: Sequence[Run]) -> dict[str, Svg]:
    """The protocol's first measure, by action, activity or sequence, sorted by the last predictor's value."""
    groups, measure = runs[-1].summary.groups, runs[0].summary.measures[0]
    if not 1 < len(groups) <= MOST_GROUPS:
        return {}
    groups = sorted(groups, key=lambda group: _value(groups[group], measure.name), reverse=True)
    rows = {
        group: {r.predictor: _value(r.summary.groups.get(group, ()), measure.name) for r in runs} for group in groups
    }
    return {f"{measure.name} by action or sequence": bars(rows, measure.unit)}


def _value(measures: Sequence[Measure], name: str) -> float:
    return next((m.value for m in measures if m.name == name), math.nan)


def _confusions(runs: Sequence[Run]) -> dict[str, Svg]:
    charts = {}
    for run in runs:
        counts, names = run.details.confusion, list(run.details.class_names)
        if counts is not None:
            names += ["ignored"] * (len(counts) - len(names))
            shown = matrix(counts, names, names, "true \\ found")
            charts[f"{run.predictor}: of each true class, what its pixels were taken for, per cent"] = shown
    return charts


# ---- single people


def _cases(run: Run, show: Show) -> list[Entry]:
    """The best, the median and the worst by the first measure that is kept for single people."""
    if not run.details.samples:
        return []
    name, values = next(iter(run.details.samples.items()))
    measure = next((m for m in run.summary.measures if m.name == name), None)
    order = np.argsort(values, kind="stable")[: np.isfinite(values).sum()]
    if measure is not None and measure.better == "higher":
        order = order[::-1]
    rows = np.arange(len(values)) if run.rows is None else run.rows
    entries = []
    for said, chosen in _chosen(order).items():
        unit = measure.unit if measure else ""
        pictures = {
            f"row {rows[i]}: {values[i]:.4g} {unit}": thumbnail(show(run.predictor, int(rows[i])), 220) for i in chosen
        }
        entries.append(Entry(f"{run.summary.protocol}, {run.predictor}: the {said} by {name}", pictures))
    return entries


def _chosen(order: np.ndarray) -> dict[str, list[int]]:
    """From samples ordered best first: best, median, worst, none of them twice."""
    count, middle = len(order), len(order) // 2
    if count <= 3 * CASES:
        return {"people, best first": order.tolist()}
    half = CASES // 2
    return {
        "best": order[:CASES].tolist(),
        "median": order[middle - half : middle - half + CASES].tolist(),
        "worst": order[::-1][:CASES].tolist(),
    }
