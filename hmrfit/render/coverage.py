"""How much of each pixel a surface covers, from its triangles: exact along rows, ROWS lines to a pixel across them.

On a line at height y a triangle covers the columns from x0(y) to x1(y), so a pixel from column j on is covered to

    c(j) = min(1, j + 1 − x0)₊ − min(1, j + 1 − x1)₊,

and the surface to the sum over its triangles. A line's c has four changes along the row, two at either end; they are
summed up in the row's table of changes, whose running sum is the coverage: the work is a few numbers for each line of
each triangle, whatever its length. Surfaces one behind the other add up to more than 1, which is cut off.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROWS = 4
"""Lines to a pixel's height."""


def coverage(points: Tensor, faces: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) in [0, 1], of triangles that do not overlap but at depths that hide each other.

    Args:
        points: (V, 2) pixels x, y. faces: (F, 3), in front of the camera. size: width, height.
    """
    width, height = size
    corners = points.double()[faces].transpose(0, 1)  # (3, F, 2)
    corners = corners * corners.new_tensor([1.0, ROWS])  # y in lines, whose middles are at k + 0.5
    a, b, c = _by_height(*corners)
    first = (a[:, 1] - 0.5).ceil().clamp_min(0).long()
    last = (c[:, 1] - 0.5).ceil().clamp_max(ROWS * height).long()  # excluded
    counts = (last - first).clamp_min(0)
    face = torch.repeat_interleave(torch.arange(len(faces)), counts)
    line = torch.arange(len(face)) - (counts.cumsum(0) - counts)[face] + first[face]
    y = line + 0.5
    long = _at(y, a, c, face)
    short = torch.where(y < b[face, 1], _at(y, a, b, face), _at(y, b, c, face))
    changes = np.zeros(height * (width + 2), np.float64)
    start = torch.div(line, ROWS, rounding_mode="floor").numpy() * (width + 2)
    for end, sign in ((torch.minimum(long, short), 1.0), (torch.maximum(long, short), -1.0)):
        x = end.clamp(0, width).numpy()
        column = x.astype(np.int64)
        part = sign * (1 - (x - column))
        changes += np.bincount(start + column, part, len(changes))
        changes += np.bincount(start + column + 1, sign - part, len(changes))
    covered = changes.reshape(height, width + 2)[:, :width].cumsum(1) / ROWS
    return covered.clip(0, 1).astype(np.float32)


def _by_height(*corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three corners (F, 2) each, sorted by y."""
    a, b, c = corners
    a, b = _in_order(a, b)
    b, c = _in_order(b, c)
    a, b = _in_order(a, b)
    return a, b, c


def _in_order(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    swap = (a[:, 1] > b[:, 1])[:, None]
    return torch.where(swap, b, a), torch.where(swap, a, b)


def _at(y: Tensor, low: Tensor, high: Tensor, face: Tensor) -> Tensor:
    """x at the height y of the edge from low to high (F, 2); of an edge that is level, its beginning."""
    rise = high[:, 1] - low[:, 1]
    slope = torch.where(rise > 0, (high[:, 0] - low[:, 0]) / rise, 0.0)
    return low[face, 0] + (y - low[face, 1]) * slope[face]
