"""A page about an evaluation: the numbers beside published ones, the distribution of the errors, and single people.

    write_report(folder, [score("initial estimate", ...), score("fit", ...)], CasePictures(body, data, predictions))

Each protocol has its own sections. The page is `folder/index.html`, complete in itself.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmrfit.body.smpl import SmplBody
from hmrfit.evaluate.predictions import Predictions
from hmrfit.evaluate.protocol import EvaluationData, Measure
from hmrfit.evaluate.published_numbers import Published, published_numbers
from hmrfit.evaluate.scoring import ScoredRun
from hmrfit.io.image import Image, read_image
from hmrfit.io.own_files import own_file
from hmrfit.render.overlay import overlay, side_by_side
from hmrfit.report.charts import Svg, bars, histogram, matrix
from hmrfit.report.page import Entry, thumbnail, write_page

CASES = 3
"""How many of the best, of the median and of the worst people are shown."""

MOST_GROUPS = 40
"""With more actions or sequences there is no chart of them."""

Show = Callable[[str, int], Image]
"""Draws a predictor's answer for a row of the data over its image: (predictor, row) -> picture."""


@dataclass(frozen=True)
class CasePictures:
    """A `Show`: the image of a person, and the prediction over it."""

    body: SmplBody
    data: EvaluationData
    predictions: Mapping[str, Predictions]  # by predictor

    def __call__(self, predictor: str, row: int) -> Image:
        """Both side by side."""
        found = self.predictions[predictor][row]
        picture = read_image(self.data.image_path(row))
        over = overlay(picture, self.body(found.params).mesh, self.body.faces, found.camera)
        return side_by_side([picture, over])


def write_report(
    folder: str | PathLike,
    runs: Sequence[ScoredRun],
    show: Show | None = None,
    title: str = "hmrfit evaluate",
    text: str = "",
) -> Path:
    """Writes `index.html` into the folder; returns its path.

    Args:
        runs: of any protocols, all of the same people; the page keeps the order of predictors.
        show: draws single people; without it the page shows none.
    Raises:
        ValueError: there are no runs. FileExistsError: there is a page that hmrfit did not write. OSError: see
            `own_file`.
    """
    if not runs:
        raise ValueError("A report needs at least one run of a protocol, but there is none.")
    by_protocol: dict[str, list[ScoredRun]] = {}
    for run in runs:
        by_protocol.setdefault(run.summary.protocol, []).append(run)
    entries = []
    for own in by_protocol.values():
        entries += [_numbers(own), *_distributions(own)]
        entries += _cases(own[-1], show) if show is not None else []
    path = Path(folder) / "index.html"
    with own_file(path, "page") as temporary:
        write_page(temporary, entries, title, text)
    return path


# ---- the table


def _numbers(runs: Sequence[ScoredRun]) -> Entry:
    """This evaluation's rows, then the published ones of the same quantity."""
    first, known = runs[0].summary, published_numbers(runs[0].summary.protocol)
    rows = [_row(f"hmrfit: {run.predictor}", run.summary.measures, "this run") for run in runs]
    rows += [_published_row(one, first.measures) for one in known]
    text = first.conditions
    if known and "synthetic" in str(first.run.get("dataset", "")):
        text += " The published rows are of the real data set: other people, other pictures, other keypoints."
    return Entry(first.protocol, rows=rows, text=text)


def _row(method: str, measures: Sequence[Measure], source: str) -> dict[str, str]:
    numbers = {m.heading: m.written if math.isfinite(m.value) else "" for m in measures}
    return {"method": method, **numbers, "source": source}


def _published_row(row: Published, measures: Sequence[Measure]) -> dict[str, str]:
    """The measures that the source has, and an empty place for the others."""
    numbers = {m.heading: f"{row.values[m.name]:g}" if m.name in row.values else "" for m in measures}
    remarks = [row.note] if row.note else []
    remarks += [] if row.checked else ["recalled, not checked at the source"]
    return {"method": row.method, **numbers, "source": row.source + (f" ({'; '.join(remarks)})" if remarks else "")}


# ---- charts


def _distributions(runs: Sequence[ScoredRun]) -> list[Entry]:
    """Histograms, joints, groups and the confusion matrix, where the protocol keeps these details."""
    charts = _histograms(runs) | _joints(runs) | _groups(runs) | _confusions(runs)
    return [Entry(f"{runs[0].summary.protocol}: distribution of the errors", charts)] if charts else []


def _histograms(runs: Sequence[ScoredRun]) -> dict[str, Svg]:
    units = {m.name: m.unit for m in runs[0].summary.measures}
    charts = {}
    for name in runs[0].details.samples:
        series = {run.predictor: run.details.samples[name] for run in runs if name in run.details.samples}
        if any(np.isfinite(values).any() for values in series.values()):
            charts[f"{name} of single people"] = histogram(series, units.get(name, ""))
    return charts


def _joints(runs: Sequence[ScoredRun]) -> dict[str, Svg]:
    """Means over people of every joint."""
    charts: dict[str, Svg] = {}
    units = {m.name: m.unit for m in runs[0].summary.measures}
    for measure in runs[0].details.joints:
        means = {r.predictor: _joint_means(r, measure) for r in runs if measure in r.details.joints}
        names = runs[0].details.joint_names
        rows = {name: {who: float(mean[i]) for who, mean in means.items()} for i, name in enumerate(names)}
        charts[f"{measure} of each joint, mean over people"] = bars(rows, units.get(measure, ""))
    return charts


def _joint_means(run: ScoredRun, measure: str) -> NDArray[np.float64]:
    values = run.details.joints[measure]
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(0)
    return np.divide(total, known.sum(0), out=np.full(values.shape[1], np.nan), where=known.any(0))


def _groups(runs: Sequence[ScoredRun]) -> dict[str, Svg]:
    """The protocol's first measure, by action, activity or sequence, sorted by the last predictor's value."""
    last, measure = runs[-1].summary.groups, runs[0].summary.measures[0]
    if not 1 < len(last) <= MOST_GROUPS:
        return {}
    groups = sorted(last, key=lambda group: _value(last[group], measure.name), reverse=True)
    rows = {
        group: {r.predictor: _value(r.summary.groups.get(group, ()), measure.name) for r in runs} for group in groups
    }
    return {f"{measure.name} by action or sequence": bars(rows, measure.unit)}


def _value(measures: Sequence[Measure], name: str) -> float:
    return next((m.value for m in measures if m.name == name), math.nan)


def _confusions(runs: Sequence[ScoredRun]) -> dict[str, Svg]:
    charts = {}
    for run in runs:
        counts, names = run.details.confusion, list(run.details.class_names)
        if counts is not None:
            names += ["ignored"] * (len(counts) - len(names))
            shown = matrix(counts, names, names, "true \\ found")
            charts[f"{run.predictor}: of each true class, what its pixels were taken for, per cent"] = shown
    return charts


# ---- single people


def _cases(run: ScoredRun, show: Show) -> list[Entry]:
    """The best, the median and the worst people by the first measure that is kept for single people."""
    if not run.details.samples:
        return []
    name, values = next(iter(run.details.samples.items()))
    measure = next((m for m in run.summary.measures if m.name == name), None)
    order = np.argsort(values, kind="stable")[: np.isfinite(values).sum()]
    if measure is not None and measure.better == "higher":
        order = order[::-1]
    rows = np.arange(len(values)) if run.rows is None else run.rows
    entries = []
    for heading, chosen in _chosen(order).items():
        unit = measure.unit if measure else ""
        pictures = {
            f"row {rows[i]}: {values[i]:.4g} {unit}": thumbnail(show(run.predictor, int(rows[i])), 220) for i in chosen
        }
        entries.append(Entry(f"{run.summary.protocol}, {run.predictor}: the {heading} by {name}", pictures))
    return entries


def _chosen(order: NDArray[np.int64]) -> dict[str, list[int]]:
    """From samples ordered best first: best, median and worst, none of them twice."""
    count, middle = len(order), len(order) // 2
    if count <= 3 * CASES:
        return {"people, best first": order.tolist()}
    half = CASES // 2
    return {
        "best": order[:CASES].tolist(),
        "median": order[middle - half : middle - half + CASES].tolist(),
        "worst": order[::-1][:CASES].tolist(),
    }
