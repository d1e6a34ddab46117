"""Mask files, and the way back of a mask from SPIN's 224-pixel crop into its image.

    upper left = ⌊center − side/2⌋₀,    lower right = ⌊center + side/2⌋₀        ⌊·⌋₀ cuts off towards zero, as SPIN does
    uncrop[y, x] = crop[row(y − upper), column(x − left)]      nearest neighbour, with PIL's own sums of pixel positions

The window is whole pixels, so it differs from the requested box by part of a pixel: SPIN's numbers contain that.
"""

from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmrfit.datasets.spin_npz import BOX_UNIT
from hmrfit.io.bounded import read_bytes
from hmrfit.io.budget import TooLarge
from hmrfit.io.image import decode_pixels
from hmrfit.io.opencv import cv2
from hmrfit.ops.how_many import how_many

SPIN_RESOLUTION = 224


def read_mask(path: str | PathLike) -> NDArray[np.uint8]:
    """An image of labels (H, W), unchanged; colours become grey as cv2 weighs them, which is how SPIN reads masks.

    Raises:
        FileNotFoundError: there is no such file. ValueError: it is damaged or no image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no mask '{path}'.")
    data = read_bytes(path)
    try:
        return decode_pixels(data, f"'{path}'", cv2.IMREAD_GRAYSCALE)
    except TooLarge:
        raise
    except ValueError as error:
        raise ValueError(
            f"'{path}' is damaged, cut off, or no image ({how_many(len(data), 'bytes')}). Copy it again."
        ) from error


def spin_window(center: NDArray, scale: float, resolution: int = SPIN_RESOLUTION) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the whole pixels that SPIN cuts out; right and bottom are not part of it.

    The borders come from the inverse of a matrix, as in SPIN: where a border falls on a whole number, the last digit
    decides.

    Args:
        center: (2,) of the box, pixels. scale: side of the box in units of `BOX_UNIT` pixels.
    """
    x, y = (float(c) for c in np.asarray(center, np.float32))
    side = BOX_UNIT * float(scale)
    forward = np.eye(3)
    forward[0, 0] = forward[1, 1] = resolution / side
    forward[0, 2], forward[1, 2] = resolution * (-x / side + 0.5), resolution * (-y / side + 0.5)
    backward = np.linalg.inv(forward)
    corners = [backward @ np.array([p, p, 1.0]) for p in (0.0, float(resolution))]
    (left, top), (right, bottom) = ((int(c[0]), int(c[1])) for c in corners)
    return left, top, right, bottom


def nearest_positions(source: int, target: int) -> NDArray[np.int64]:
    """(target,) which of `source` pixels each of `target` pixels takes when PIL resizes to the nearest.

    PIL adds up the step in float64, pixel by pixel; the rounding of that sum decides ties.
    """
    step = source / target
    return np.cumsum(np.concatenate([[step * 0.5], np.full(target - 1, step)])).astype(np.int64).clip(max=source - 1)


def uncrop(crop: NDArray, window: tuple[int, int, int, int], size: tuple[int, int]) -> NDArray:
    """A square crop (R, R) -> the image (H, W) from which it was cut, zero outside of the window.

    Args:
        window: as `spin_window` gives it. size: (width, height) of the image, pixels.
    """
    left, top, right, bottom = window
    width, height = size
    image = np.zeros((height, width), crop.dtype)
    x0, x1, y0, y1 = max(0, left), min(width, right), max(0, top), min(height, bottom)
    if x0 >= x1 or y0 >= y1:
        return image
    columns = nearest_positions(crop.shape[1], right - left)[x0 - left : x1 - left]
    rows = nearest_positions(crop.shape[0], bottom - top)[y0 - top : y1 - top]
    image[y0:y1, x0:x1] = crop[rows[:, None], columns]
    return image
