"""A photograph of two people and their fit, which the tests of results and of result files share."""

from pathlib import Path

import numpy as np
from helpers.bodies import demo_points

import hmrfit
from hmrfit.io.image import write_image

SIZE = (320, 240)


def plain_image() -> np.ndarray:
    """One colour, of this size."""
    return np.full((SIZE[1], SIZE[0], 3), (40, 90, 60), np.uint8)


def write_photo(folder: Path) -> Path:
    """The plain image as a file with a space in its name."""
    path = folder / "ein bild.png"
    write_image(path, plain_image())
    return path


def fit_two_people(photo: Path) -> hmrfit.FitResult:
    """Two people in one photograph, the second with a keypoint far off."""
    one = demo_points(SIZE[1])
    other = one * [0.6, 0.6, 1]
    other[0] = [SIZE[0], 0, 0.9]
    return hmrfit.fit(photo, np.stack([one, other]), keypoint_set="coco17")
