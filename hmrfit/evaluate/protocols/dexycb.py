"""DexYCB's scores of hands: MPJPE and AUC, absolute, about the wrist, and aligned as FreiHAND aligns.

    RR      (X − X_wrist) − (Y − Y_wrist)
    PA      best similarity, reflections allowed

A missing hand of the truth (the hand is not in the picture) is scored nowhere.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hmrfit.datasets import read_hands
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.evaluate.hand_predictions import HandPredictions, PublicFormat
from hmrfit.evaluate.hand_protocol import BOX, HandProtocol, check_rows, fraction, millimetres, register_hands
from hmrfit.evaluate.hand_scores import Similarity, auc
from hmrfit.evaluate.protocol import MILLIMETRES, Measure, Summary

KINDS = ("", "RR-", "PA-")


@register_hands
class DexYcb(HandProtocol):
    """The test of setup s0."""

    name, order, tips = "dexycb", "hand21", "manopth"
    title = "DexYCB s0 test: MPJPE and AUC, absolute, about the wrist and aligned, as its public scorer has them"
    public_format: ClassVar[PublicFormat | None] = "dexycb"
    split: ClassVar[str] = "s0_test"

    def __init__(self) -> None:
        self._errors: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in KINDS}
        self._missing = 0

    def load(self, root: Path) -> HandDataset:
        """The split of a download."""
        return read_hands("dexycb", root, self.split)

    def update(self, predictions: HandPredictions, data: HandDataset) -> None:
        """Adds N hands."""
        check_rows(predictions, data)
        done = predictions.done
        self._missing += int((~done).sum())
        for row in done.nonzero()[0].tolist():
            # in millimetres, as the public code: what it adds to norms is no number without a unit
            x, y = MILLIMETRES * predictions.joints[row], MILLIMETRES * data.joints[row]
            sides = {"": (x, y), "RR-": (x - x[0], y - y[0]), "PA-": (Similarity.of(x, y).own(x), y)}
            for kind, (found, truth) in sides.items():
                self._errors[kind].append(np.linalg.norm(found - truth, axis=1) / MILLIMETRES)

    def summary(self) -> Summary:
        """See `HandProtocol`."""
        count = len(self._errors[""])
        if not count:
            raise ValueError("No hand was scored. Is the data set empty, or did every prediction fail?")
        measures: list[Measure] = []
        for kind, errors in self._errors.items():
            table = np.stack(errors)
            measures.append(millimetres(f"{kind}MPJPE", float(MILLIMETRES * table.mean(0).mean())))
            measures.append(fraction(f"{kind}AUC", auc(table)))
        return Summary(
            self.name,
            tuple(measures),
            "21 points of hand21, on MANO's mesh manopth's tips",
            "none: points of the predictions themselves",
            "PA: best similarity of each hand, reflections allowed; RR: the wrist at the origin",
            BOX,
            count,
            self._missing,
            mean="over the hands of each point, then over points",
        )
