"""What `hmrfit evaluate --report` needs: a protocol's run with its details, and the page with single people drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmrfit.body.smpl import SmplBody
from hmrfit.evaluate.predictions import Predictions, Stamp
from hmrfit.evaluate.protocol import EvaluationData, Protocol
from hmrfit.evaluate.run import score
from hmrfit.io.image import Image, read_image
from hmrfit.render.overlay import overlay, side_by_side
from hmrfit.report.evaluation import Run, write_report


def scored(
    name: str,
    protocol: Protocol,
    data: EvaluationData,
    predictions: Predictions,
    stamp: Stamp,
    rows: NDArray[np.int64] | None = None,
) -> Run:
    """A fresh protocol's run over all of the data, with what it keeps of single people.

    Args:
        rows: (N,) what to call the data's people on a page; their numbers by default.
    """
    summary = score(protocol, data, predictions, stamp)
    details = protocol.details()
    rows = np.arange(len(data)) if rows is None else rows
    return Run(name, summary, details, None if details.rows is None else rows[details.rows])


@dataclass(frozen=True)
class Report:
    """The people of an evaluation and what each predictor said of them, to be drawn."""

    body: SmplBody
    data: EvaluationData
    predictions: Mapping[str, Predictions]  # by predictor

    def show(self, predictor: str, row: int) -> Image:
        """The image, and the prediction over it."""
        found = self.predictions[predictor][row]
        picture = read_image(self.data.image_path(row))
        return side_by_side(
            [picture, overlay(picture, self.body(found.params).vertices, self.body.faces, found.camera)]
        )

    def write(self, folder: str | PathLike, runs: Sequence[Run], title: str, text: str = "") -> Path:
        """The page, see `hmrfit.report.evaluation.write_report`."""
        return write_report(folder, runs, self.show, title, text)
