"""From a protocol, its data and a predictions file to numbers; several runs of one protocol as a table.

run = score("fit", protocol, data, predictions, fingerprint)      run.summary, run.details
compared({"initial estimate": first.summary, "fit": run.summary})
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from hmrfit.evaluate.predictions import Fingerprint, Predictions
from hmrfit.evaluate.protocol import Details, EvaluationData, Protocol, Summary, markdown
from hmrfit.ops.how_many import how_many

SCORED_AT_ONCE = 32
"""People; the meshes of more take much memory and little less time."""


@dataclass(frozen=True)
class ScoredRun:
    """One predictor under one protocol."""

    predictor: str
    summary: Summary
    details: Details
    rows: NDArray[np.int64] | None = None  # (N,) the data's rows of the details' samples; None: all, in order


def score(
    predictor: str,
    protocol: Protocol[Any],
    data: EvaluationData,
    predictions: Predictions,
    fingerprint: Fingerprint | None = None,
    rows: NDArray[np.int64] | None = None,
) -> ScoredRun:
    """Adds all people to a new protocol.

    Args:
        protocol: a new instance. fingerprint: of the predictions, for the summary.
        rows: (N,) by which numbers a page names the data's people; default their own.
    Raises:
        ValueError: there are predictions for another number of people, or no person was scored.
    """
    if len(predictions) != len(data):
        raise ValueError(
            f"There are predictions for {how_many(len(predictions), 'people')}, but {len(data)} are to be scored: of "
            "another run?"
        )
    for chunk in tqdm(torch.arange(len(data)).split(SCORED_AT_ONCE), desc=protocol.name, unit="chunk", disable=None):
        part, truth = predictions[chunk], data[chunk.numpy()]
        protocol.update(protocol.prediction(part, truth), protocol.target(truth))
    summary, details = protocol.summary(), protocol.details()
    if fingerprint is not None:
        problems = {**summary.problems, **fingerprint.problems}
        summary = replace(summary, run=dict(fingerprint.run), problems=problems)
    rows = np.arange(len(data)) if rows is None else rows
    return ScoredRun(predictor, summary, details, None if details.rows is None else rows[details.rows])


def compared(summaries: Mapping[str, Summary]) -> str:
    """Runs of one protocol in Markdown, a line each; below, the difference of the last one and the first."""
    first = next(iter(summaries.values()))
    rows = [["", *(m.heading for m in first.measures), "scored"]]
    rows += [[name, *(m.written for m in s.measures), str(s.samples)] for name, s in summaries.items()]
    if len(summaries) > 1:
        last = list(summaries.values())[-1]
        pairs = zip(first.measures, last.measures, strict=True)
        rows.append(["last − first", *(f"{b.value - a.value:+.{a.digits}f}" for a, b in pairs), ""])
    return markdown(rows)


def headline_table(runs: Sequence[ScoredRun], names: Sequence[str] = ()) -> str:
    """Runs of one protocol in Markdown, a line for each predictor.

    Args:
        names: of the measures, as `Protocol.headline`; () for all of them.
    """
    measures = [{measure.name: measure for measure in run.summary.measures} for run in runs]
    chosen = [[own[name] for name in names or own] for own in measures]
    head = [runs[0].summary.protocol, *(m.heading for m in chosen[0]), "scored"]
    lines = [
        [run.predictor, *(m.written for m in own), str(run.summary.samples)]
        for run, own in zip(runs, chosen, strict=True)
    ]
    return markdown([head, *lines])
