"""InterHand2.6M's scores: MPJPE about each hand's own wrist, for single and interacting hands, and MRRPE.

    MPJPE   mean over 42 points of the mean over hands of |(x_k − x_wrist) − (y_k − y_wrist)|, valid points only
    MRRPE   mean over pictures of |(x_left − x_right) − (y_left − y_right)| of the wrists, where both are valid

The authors give a network the true depth of the wrist and project its points back with it; here a prediction is points
in the camera's frame, and whatever depth it has itself is scored by the MRRPE.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmrfit.datasets import read_hands
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.datasets.interhand import WRIST
from hmrfit.evaluate.hand_predictions import HandPredictions
from hmrfit.evaluate.hand_protocol import BOX, HandProtocol, check_rows, millimetres, register_hands
from hmrfit.evaluate.hand_scores import relative_root_error
from hmrfit.evaluate.protocol import MILLIMETRES, Summary
from hmrfit.ops.how_many import how_many

SIDES = ("right", "left")
KINDS = ("single", "interacting")


@register_hands
class InterHand(HandProtocol):
    """Test or validation."""

    name, order, two_hands = "interhand", "interhand21", True
    title = "InterHand2.6M: MPJPE about the wrist, single and interacting hands, and MRRPE"

    def __init__(self) -> None:
        self._errors: dict[tuple[str, str], list[NDArray[np.float64]]] = defaultdict(list)  # (kind, side) -> (21,) each
        self._roots: list[float] = []
        self._missing = 0

    def load(self, root: Path) -> HandDataset:
        """The test split of a download."""
        return read_hands("interhand", root)

    def update(self, predictions: HandPredictions, data: HandDataset) -> None:
        """Adds N hands; the two of one picture belong into one update."""
        check_rows(predictions, data)
        done = predictions.done
        self._missing += int((~done).sum())
        pairs: dict[int, dict[str, int]] = defaultdict(dict)
        for row in done.nonzero()[0].tolist():
            x, y = predictions.joints[row], data.joints[row]
            error = np.linalg.norm((x - x[WRIST]) - (y - y[WRIST]), axis=1)
            side, kind = str(data.side[row]), str(data.group[row])
            self._errors[kind, side].append(np.where(data.valid[row], error, np.nan))
            if kind == "interacting" and data.valid[row, WRIST]:
                pairs[int(data.picture[row])][side] = row
        for own in pairs.values():
            if len(own) == len(SIDES):
                left, right = own["left"], own["right"]
                x, y = predictions.joints[:, WRIST], data.joints[:, WRIST]
                self._roots.append(relative_root_error(x[left], x[right], y[left], y[right]))

    def summary(self) -> Summary:
        """See `HandProtocol`."""
        count = sum(map(len, self._errors.values()))
        if not count:
            raise ValueError("No hand was scored. Is the data set empty, or did every prediction fail?")
        found = {"MPJPE": self._mean(KINDS), **{f"MPJPE {kind}": self._mean((kind,)) for kind in KINDS}}
        found["MRRPE"] = MILLIMETRES * float(np.mean(self._roots)) if self._roots else np.nan
        return Summary(
            self.name,
            tuple(millimetres(name, value) for name, value in found.items()),
            "21 points of each hand, those that are valid",
            "none: points of the predictions themselves",
            "MPJPE: each hand's wrist at the origin; MRRPE: the left wrist relative to the right one",
            BOX,
            count,
            self._missing,
            mean="over the hands of each point, then over points; MRRPE over "
            f"{how_many(len(self._roots), 'pictures')} of two hands",
        )

    def _mean(self, kinds: tuple[str, ...]) -> float:
        """Over those of the 42 points that any hand has."""
        means = []
        for side in SIDES:
            rows = [error for kind in kinds for error in self._errors[kind, side]]
            if rows:
                table = np.stack(rows)
                seen = np.isfinite(table)
                means += [float(np.mean(table[seen[:, k], k])) for k in range(table.shape[1]) if seen[:, k].any()]
        return MILLIMETRES * float(np.mean(means)) if means else np.nan
