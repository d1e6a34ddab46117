"""What the numbers of a keypoint mean, one rule for every format and for arrays: missing points, and scores.

A keypoint is missing (it comes out as (0, 0) with confidence 0) where

    x and y are both NaN or null                      whatever its confidence
    (x, y) is exactly (0, 0)                          whatever its confidence: what detectors write for "none"
    x = y < 0, as (−1, −1)                            whatever its confidence: a mark, no place
    x and y are both negative, or one is NaN          where there is no confidence; else it is a place, or broken
    its confidence is 0, negative, or null with x, y  (visibility 0 is confidence 0)

A point slightly outside of the image, as (−3.2, 200), is a point. Scores s of a file become confidences c in [0, 1]:

    0 ≤ s ≤ 1                  c = s
    greatest s in (1, 10]      c = min(s, 1)          heat-map peaks (RTMPose, detectron2); visibility 2 is "seen"
    greatest s in (10, 100]    c = s / 100            percentages
    greatest s above 100       c = s / greatest
    s < 0                      c = 0                  unbounded scores: below 0 is unlikely

The greatest is that of the whole file or array. Each is monotone and leaves low scores low. Other scores than those of
the first line, and than visibilities 0, 1, 2, are warned of.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmrfit.io.budget import brief

PEAKS, PERCENT = 10.0, 100.0
"""The greatest score that is still a heat map's peak, and a percentage."""

ROUNDING = 1e-6
"""Of a score of 1 in float32."""

FARTHEST = 1e9
"""Pixels. No image reaches that far: such a coordinate is a broken number."""


def numbers_of(values: ArrayLike, what: str) -> NDArray[np.float64]:
    """A (nested) list of numbers, where null means NaN -> float64; always a copy.

    Raises:
        ValueError: something else than numbers, lists of unequal length, numbers beyond float64.
    """
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{what}: expected lists of numbers of equal length ({brief(str(error))}).") from error


def size_of(values: Any, what: str) -> tuple[int, int] | None:
    """(width, height) in pixels; None where there is none."""
    if values is None or None in tuple(values):
        return None
    size = numbers_of(values, f"{what}, size")
    if size.shape != (2,) or not ((size >= 1) & (size < FARTHEST)).all():
        raise ValueError(f"{what}: an image's size should be a positive width and height, but is {values}.")
    return int(size[0]), int(size[1])


class Scores:
    """How the scores of one file become confidences: the rule above, and a sentence where it had to be used."""

    def __init__(self, people: Iterable[NDArray[np.float64]], what: str) -> None:
        """people: (K, 3) each, every person of the file; the scores of missing points say nothing."""
        self.divisor, self.warning = 1.0, None
        people = list(people)
        if all(p[:, 2].min(initial=0) >= 0 and p[:, 2].max(initial=0) <= 1 for p in people):
            return  # the usual case, of thousands of people at once
        found = [p[~marked_missing(p[:, :2]) & np.isfinite(p[:, 2]), 2] for p in people]
        low = min((float(s.min()) for s in found if s.size), default=0.0)
        high = max((float(s.max()) for s in found if s.size), default=0.0)
        if (low >= 0 and high <= 1 + ROUNDING) or all(np.isin(s, (-1, 0, 1, 2)).all() for s in found):
            return
        if high <= 0:
            raise ValueError(
                f"{what}: the confidences run from {low:g} to {high:g}, and none is above 0, so no keypoint counts as "
                "seen. They may be logarithms or distances: give confidences from 0 (unseen) to 1 (certain)."
            )
        if high > PEAKS:
            self.divisor = PERCENT if high <= PERCENT else high
        taken = f"divided by {self.divisor:g}" if high > PEAKS else "taken as 1 where they are greater"
        below = ", and as 0 where they are negative" if low < 0 else ""
        self.warning = f"The confidences run from {low:g} to {high:g}, not from 0 to 1: they were {taken}{below}."
        if high <= 1:
            self.warning = f"The confidences run from {low:g} to {high:g}: the negative ones were taken as 0."

    def confidence(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K,) in [0, 1]; NaN stays."""
        return np.clip(scores / self.divisor, 0.0, 1.0)


def marked_missing(xy: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(K,) which points are missing by their coordinates alone."""
    x, y = xy[:, 0], xy[:, 1]
    return (np.isnan(x) & np.isnan(y)) | ((x == 0) & (y == 0)) | ((x == y) & (x < 0))


def seen_points(
    xy: NDArray[np.float64], confidence: NDArray[np.float64] | None, what: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """xy (K, 2) and confidence (K,) as a file has them -> the same with missing points as (0, 0), 0.

    Raises:
        ValueError: a keypoint that counts as seen has a broken coordinate, or NaN as its confidence.
    """
    if confidence is not None and xy.size and xy.min() > 0 and xy.max() < FARTHEST and confidence.min() > 0:
        return xy, confidence  # the usual case
    x, y = xy[:, 0], xy[:, 1]
    finite = np.isfinite(x) & np.isfinite(y)
    missing = marked_missing(xy)
    if confidence is None:
        missing = missing | ((x < 0) & (y < 0)) | ~finite
        confidence = np.ones(len(xy))
    confidence = np.where(missing, 0.0, confidence)
    confidence[np.isnan(confidence) & ~finite] = 0.0
    if (unknown := np.isnan(confidence)).any():
        raise ValueError(f"{what}: keypoint {int(unknown.argmax())} has NaN as its confidence.")
    seen = confidence > 0
    broken = seen & ~(finite & (np.abs(x) < FARTHEST) & (np.abs(y) < FARTHEST))
    if broken.any():
        first = int(broken.argmax())
        raise ValueError(
            f"{what}: keypoint {first} is at {xy[first].tolist()} with confidence {confidence[first]:g}, which is no "
            "place in an image. Give unseen keypoints confidence 0."
        )
    return np.where(seen[:, None], xy, 0.0), np.where(seen, confidence, 0.0)
