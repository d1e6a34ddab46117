"""One person's keypoints as a file held them, checked and in our pixels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmrfit.image import undistort_points
from hmrfit.keypoints import keypoint_sets, resolve_set, sets_of_size

MOST_CONFIDENCE = 2.0
"""Greater than this is no confidence any more; between 1 and this it is 1."""


@dataclass(frozen=True, eq=False)
class PersonKeypoints:
    """Pixels of the full image, (0, 0) the corner of the top-left pixel. Confidence 0 means unseen, xy (0, 0) there."""

    names: tuple[str, ...]
    xy: NDArray[np.float64]  # (K, 2) pixels, as the lens made them where `distortion` is given
    confidence: NDArray[np.float64]  # (K,) in [0, 1]
    source: Path  # the file it came from
    person_id: str = "0"
    image: str | None = None  # the image's name or number, where the file says it
    image_size: tuple[int, int] | None = None  # width, height
    box: tuple[float, float, float, float] | None = None  # x, y, width, height, pixels
    intrinsics: NDArray[np.float64] | None = None  # (3, 3), cv2's convention: pixel centres at integers
    distortion: NDArray[np.float64] | None = None  # cv2's coefficients
    mask: str | None = None  # path of the person's mask, relative to `source`

    def __len__(self) -> int:
        return len(self.names)

    @property
    def image_path(self) -> Path | None:
        """The image's file, where it lies at the place that the keypoint file names; None otherwise."""
        path = self.source.parent / self.image if self.image else None
        return path if path is not None and os.path.isfile(path) else None

    @property
    def mask_path(self) -> Path | None:
        """The mask's file, where it lies at the place that the keypoint file names; None otherwise."""
        path = self.source.parent / self.mask if self.mask else None
        return path if path is not None and os.path.isfile(path) else None

    def pinhole(self) -> "PersonKeypoints":
        """The same person without lens distortion; what the lens model cannot invert becomes unseen."""
        if self.intrinsics is None or self.distortion is None:
            return self
        seen = self.confidence > 0
        xy = self.xy.copy()
        xy[seen] = undistort_points(self.xy[seen], self.intrinsics, self.distortion)
        lost = np.isnan(xy).any(1)
        return replace(self, xy=np.where(lost[:, None], 0.0, xy), confidence=self.confidence * ~lost, distortion=None)


def names_for(count: int, said: str | Sequence[str] | None, asked: str | Sequence[str] | None, what: str) -> tuple:
    """The keypoint names of `count` keypoints: what the caller asked for, else what the file said.

    Raises:
        ValueError: neither is there, or the count is another one. Lists the sets of that size.
    """
    choice = said if asked is None else asked
    of_size = sets_of_size(count)
    candidates = " or ".join(f"keypoint_set='{name}'" for name in of_size)
    if choice is None:
        advice = f"Say which set they are: {candidates}." if of_size else _no_such_size(count)
        raise ValueError(f"{what} holds {count} keypoints, but does not say which. {advice}")
    names = resolve_set(choice)
    if len(names) != count:
        label = f"'{choice}'" if isinstance(choice, str) else "the given set"
        advice = f"For {count}: {candidates}." if of_size else _no_such_size(count)
        raise ValueError(f"{what} holds {count} keypoints, but {label} has {len(names)}. {advice}")
    return names


def _no_such_size(count: int) -> str:
    sizes = ", ".join(f"{name} ({len(names)})" for name, names in keypoint_sets().items())
    return (
        f"No known set has {count} keypoints: {sizes}. Add yours with register_keypoint_set(name, names), "
        f"or give the {count} names as keypoint_set."
    )


def clean(xy: ArrayLike, confidence: ArrayLike | None, shift: float, what: str) -> tuple[NDArray, NDArray]:
    """Numbers of a file -> xy (K, 2) in our pixels and confidence (K,) in [0, 1]; unseen ones are zero.

    Raises:
        ValueError: NaN or infinity at a keypoint that counts as seen, or confidences that are none.
    """
    xy = np.array(xy, np.float64)
    finite = np.isfinite(xy).all(1)
    if confidence is None:  # nothing but coordinates: missing ones are NaN, or (0, 0) as some detectors write
        confidence = np.where(finite & (xy != 0).any(1), 1.0, 0.0)
    confidence = np.array(confidence, np.float64)
    confidence[np.isnan(confidence) & ~finite] = 0.0  # a row of NaN: a missing keypoint in a table
    _check_confidence(confidence, what)
    seen = confidence > 0
    if (broken := np.flatnonzero(seen & ~finite)).size:
        raise ValueError(
            f"{what}: keypoint {broken[0]} is at {xy[broken[0]].tolist()} with confidence {confidence[broken[0]]:g}. "
            "Give unseen keypoints confidence 0."
        )
    return np.where(seen[:, None], xy + shift, 0.0), confidence.clip(0, 1)


def _check_confidence(confidence: NDArray, what: str) -> None:
    if np.isnan(confidence).any():
        raise ValueError(f"{what}: keypoint {int(np.isnan(confidence).argmax())} has NaN as its confidence.")
    low, high = confidence.min(initial=0.0), confidence.max(initial=0.0)
    if low < 0 or high > MOST_CONFIDENCE:
        hint = "percentages: divide by 100" if low >= 0 and 10 < high <= 100 else "logits: pass them through a sigmoid"
        raise ValueError(f"{what}: confidences run from {low:g} to {high:g}, expected 0 to 1. They may be {hint}.")
