"""FreiHAND's own scores (v1 of its scorer): keypoints and mesh, as they are and aligned, AUC, F-scores.

The formulas are in `hand_scores`; numbers agree with the public scorer's on the same file of predictions to rounding
(it prints centimetres). The alignment is a similarity that may be a reflection: "PA" here is not that of bodies.
"""

from pathlib import Path
from typing import ClassVar

from hmrfit.datasets import read_hands
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.evaluate.hand_predictions import HandPredictions, PublicFormat
from hmrfit.evaluate.hand_protocol import (
    BOX,
    HandProtocol,
    check_rows,
    fraction,
    millimetres,
    register_hands,
    vertices_of,
)
from hmrfit.evaluate.hand_scores import HandScores
from hmrfit.evaluate.protocol import Measure, Summary

ERRORS = {
    "joints": "MPJPE",
    "aligned joints": "PA-MPJPE",
    "scale-translation joints": "ST-MPJPE",
    "vertices": "MPVPE",
    "aligned vertices": "PA-MPVPE",
}
"""What `HandScores` calls an error -> what papers do."""

F_SCORES = {"F@5": "F@5", "F@15": "F@15", "aligned F@5": "PA-F@5", "aligned F@15": "PA-F@15"}


class PublicScores(HandProtocol):
    """What FreiHAND and HO-3D share."""

    joint_set: ClassVar[str]
    alignment: ClassVar[str] = "PA: best similarity of each hand, reflections allowed; the others: none"
    samples: ClassVar[dict[int, str]] = {}  # how many the published evaluation has -> what that edition is called
    wrist_aligned: ClassVar[bool] = False
    meshes = True

    def __init__(self) -> None:
        self._scores, self._missing = HandScores(self.wrist_aligned), 0

    def update(self, predictions: HandPredictions, data: HandDataset) -> None:
        """Adds N hands."""
        check_rows(predictions, data)
        done = predictions.done
        self._missing += int((~done).sum())
        for row in done.nonzero()[0].tolist():
            truth = None if data.vertices is None else data.vertices[row]
            self._scores.update(predictions.joints[row], vertices_of(predictions, row), data.joints[row], truth)

    def summary(self) -> Summary:
        """See `HandProtocol`."""
        numbers = self._scores.numbers()
        measures: list[Measure] = []
        for name, called in ERRORS.items():
            if name in numbers:
                measures += [millimetres(called, numbers[name]), fraction(f"{called} AUC", numbers[f"{name} AUC"])]
        measures += [fraction(called, numbers[name]) for name, called in F_SCORES.items() if name in numbers]
        count = len(self._scores)
        edition = self.samples.get(count + self._missing, "not the whole published evaluation")
        return Summary(
            self.name,
            tuple(measures),
            f"{self.joint_set}; {edition}",
            "none: points and vertices of the predictions themselves",
            self.alignment,
            BOX,
            count,
            self._missing,
            mean="over the hands of each point, then over points",
        )


@register_hands
class FreiHand(PublicScores):
    """The evaluation's 3,960 hands."""

    name, order, tips = "freihand", "hand21", "freihand"
    title = "FreiHAND: keypoints, mesh, F-scores, AUC, as its public scorer has them"
    joint_set = "21 points of hand21, on MANO's mesh FreiHAND's tips"
    public_format: ClassVar[PublicFormat | None] = "freihand"
    samples: ClassVar[dict[int, str]] = {3960: "the whole evaluation"}

    def load(self, root: Path) -> HandDataset:
        """The evaluation of a download."""
        return read_hands("freihand", root)
