"""A protocol from its data and a predictions file to its numbers; and several runs of it in one table."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from tqdm import tqdm

from hmrfit.evaluate.predictions import Predictions, Stamp
from hmrfit.evaluate.protocol import EvaluationData, Protocol, Summary, markdown

SCORED_AT_ONCE = 32
"""People; meshes of more take much memory and little less time."""


def score(protocol: Protocol, data: EvaluationData, predictions: Predictions, stamp: Stamp | None = None) -> Summary:
    """Counts everybody into a fresh protocol; returns its summary, with who predicted.

    Raises:
        ValueError: predictions for another number of people, or nobody was scored.
    """
    if len(predictions) != len(data):
        raise ValueError(
            f"There are predictions for {len(predictions)} people, but {len(data)} are to be scored: of another run?"
        )
    for rows in tqdm(torch.arange(len(data)).split(SCORED_AT_ONCE), desc=protocol.name, unit="chunk", disable=None):
        part, truth = predictions[rows], data[rows.numpy()]
        protocol.update(protocol.prediction(part, truth), protocol.target(truth))
    summary = protocol.summary()
    if stamp is None:
        return summary
    return replace(summary, run=dict(stamp.run), problems={**summary.problems, **stamp.problems})


def compared(summaries: Mapping[str, Summary]) -> str:
    """Runs of one protocol, a line each, in Markdown; what the last one gained or lost on the first, below."""
    first = next(iter(summaries.values()))
    rows = [["", *(m.heading for m in first.measures), "scored"]]
    rows += [[name, *(m.written for m in s.measures), str(s.samples)] for name, s in summaries.items()]
    if len(summaries) > 1:
        last = list(summaries.values())[-1]
        pairs = zip(first.measures, last.measures, strict=True)
        rows.append(["last − first", *(f"{b.value - a.value:+.{a.digits}f}" for a, b in pairs), ""])
    return markdown(rows)
