"""Segmentation by pixels, pooled over all images and then divided, as SPIN counts it.

    foreground   accuracy = #[g = p] / #pixels
                 F1_c = 2 tp_c / (2 tp_c + fp_c + fn_c),   F1 = mean of F1_0 and F1_1
    parts        tp_c = M_cc,   fp_c = Σ_{g ≠ c, 255} M_gc,   fn_c = Σ_{p ≠ c} M_cp,   c = 0..6
                 F1 = mean of all seven,   accuracy = (Σ_c M_cc + M_255,0) / #pixels

with M the confusion matrix: M_gp pixels have the true class g and the predicted class p. 255 in the truth means
"ignore": such a pixel adds to no tp, fp or fn, and yet in SPIN's accuracy it counts as background. That quirk is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmrfit.ops.check import check_shape

PART_CLASSES = ("background", "head", "torso", "right_arm", "left_arm", "right_leg", "left_leg")
"""Labels 0 to 6; right and left are the person's."""

IGNORE = 255


@dataclass(frozen=True)
class Masks:
    """The segmentation of one picture, at the size of its image."""

    foreground: NDArray[np.bool_]  # (H, W)
    parts: NDArray[np.uint8] | None = None  # (H, W) 0..6, and 255 for pixels that are not counted


class PixelCounts:
    """The confusion matrix of all images so far, and SPIN's numbers from it.

    matrix: (C + 1, C + 1) pixels, the truth's class in rows, the prediction's in columns, 255 the last of both.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.matrix = np.zeros((classes + 1, classes + 1), np.int64)

    def add(self, prediction: NDArray, target: NDArray) -> NDArray[np.int64]:
        """Adds the pixels of two label images (H, W); returns the matrix of this image alone.

        Raises:
            ValueError: the images differ in size, or a label is no class.
        """
        check_shape(target, "H W", "The true mask")
        check_shape(prediction, "H W", "The predicted mask", dict(zip("HW", target.shape, strict=True)))
        size = self.classes + 1
        truth, guess = self._classes_of(target, "The true mask"), self._classes_of(prediction, "The predicted mask")
        one = np.bincount((truth * size + guess).ravel(), minlength=size * size).reshape(size, size)
        self.matrix += one
        return one

    def _classes_of(self, labels: NDArray, name: str) -> NDArray[np.int64]:
        """Labels, with 255 as the class after the last."""
        known = np.full(256, -1)
        known[: self.classes], known[IGNORE] = np.arange(self.classes), self.classes
        classes = known[labels.astype(np.uint8)]
        if classes.min(initial=0) < 0:
            raise ValueError(
                f"{name} should hold the labels 0 to {self.classes - 1} and {IGNORE}, but has "
                f"{np.unique(labels).tolist()[:20]}."
            )
        return classes

    @property
    def f1(self) -> NDArray[np.float64]:
        """(classes,) F1 of each; NaN for a class that is in neither truth nor prediction."""
        return f1_scores(self.matrix)

    @property
    def mean_f1(self) -> float:
        """Over the classes that are anywhere; NaN where nothing was counted."""
        scores = self.f1
        return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")

    @property
    def accuracy(self) -> float:
        """Fraction of the pixels that agree; ignored ones count as background."""
        return accuracy(self.matrix)


def f1_scores(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Confusion (C + 1, C + 1), ignored pixels last -> (C,) F1 of each class; NaN where it is in neither."""
    counted = matrix[:-1]
    tp = counted.diagonal()
    fp, fn = counted.sum(0)[:-1] - tp, counted.sum(1) - tp
    with np.errstate(invalid="ignore"):
        return 2 * tp / (2 * tp + fp + fn)


def accuracy(matrix: NDArray[np.int64]) -> float:
    """Confusion (C + 1, C + 1) -> fraction of the pixels that agree, 255 taken for background; NaN without any."""
    agree = matrix.diagonal().sum() + matrix[-1, 0] + matrix[0, -1]
    with np.errstate(invalid="ignore"):
        return float(agree / np.float64(matrix.sum()))


class SegmentationCounts:
    """Foreground and parts of many pictures: what every segmentation protocol's `update` does."""

    def __init__(self) -> None:
        self.foreground, self.parts = PixelCounts(2), PixelCounts(len(PART_CLASSES))
        self.of_image: dict[str, list[float]] = {"FG F1": [], "parts F1": []}  # of each image alone
        self.images = 0
        self.problems: dict[str, str] = {}  # number of the picture -> why it was not counted

    def update(self, prediction: Sequence[Masks | str], target: Sequence[Masks | str]) -> None:
        """Adds pictures. A text in the place of a picture says why there is none."""
        for guess, truth in zip(prediction, target, strict=True):
            number = str(self.images + len(self.problems))
            try:
                self._add(guess, truth)
            except ValueError as error:
                self.problems[number] = str(error)
            else:
                self.images += 1

    def _add(self, guess: Masks | str, truth: Masks | str) -> None:
        """Adds both or neither: a picture with bad part labels does not count in the foreground either.

        Raises:
            ValueError: why the picture is not counted.
        """
        if isinstance(truth, str):
            raise ValueError(truth)
        if isinstance(guess, str):
            raise ValueError(guess)
        parts = PixelCounts(len(PART_CLASSES))
        if guess.parts is not None and truth.parts is not None:
            parts.add(guess.parts, truth.parts)
        foreground = PixelCounts(2)
        foreground.add(guess.foreground, truth.foreground)
        for total, one, name in ((self.foreground, foreground, "FG F1"), (self.parts, parts, "parts F1")):
            total.matrix += one.matrix
            self.of_image[name].append(one.mean_f1)
