"""Where a video is cut: the picture changes at once, by much more than it moves, and stays changed.

    change_t = mean |thumbnail_t − thumbnail_(t−1)|,    a cut:  change_t > LEAST,  change_t > OFTEN · its neighbours',
                                                                and so it is from t−1 to t+1, and from t−2 to t

The last keeps photographers' flashes from being cuts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.image import Image
from hmrfit.io.opencv import cv2

THUMBNAIL = (16, 12)
"""Pixels (width, height) by which two frames are compared."""

LEAST, OFTEN, BESIDE = 0.07, 4.0, 5
"""The change of a cut, of 1; how many times its neighbours' it is; how many neighbours on each side."""

STAYS = 0.6
"""Of the change, that is still there one frame later."""


def thumbnail_of(image: Image) -> NDArray[np.uint8]:
    """(12, 16, 3) the frame as cuts are found by."""
    return np.asarray(cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8)


def find_cuts(thumbnails: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> list[int]:
    """The places of the first frames after a cut, from the (12, 16, 3) thumbnails of consecutive frames."""
    if len(thumbnails) < 3:
        return []
    small = np.asarray(thumbnails, np.float32) / 255
    change = np.abs(np.diff(small, axis=0)).mean((1, 2, 3))  # (T - 1,) of frame t + 1 against t
    found = []
    for t in np.flatnonzero(change > LEAST).tolist():
        beside = np.concatenate([change[max(0, t - BESIDE) : t], change[t + 1 : t + 1 + BESIDE]])
        later = np.abs(small[min(t + 2, len(small) - 1)] - small[t]).mean()
        earlier = np.abs(small[t + 1] - small[max(t - 1, 0)]).mean()
        if change[t] > OFTEN * np.median(beside) and min(earlier, later) > STAYS * change[t]:
            found.append(t + 1)
    return found
