"""Values that are given at the corners of triangles, at the pixels where these are seen: each a plane over the screen.

A value divided by the depth is linear over the screen, so on one triangle, with corner a and the pixel centre (x, y),

    v(x, y) / z(x, y) = v_a / z_a + s · (x − x_a, y − y_a).

The slopes s are found once a triangle, in float64; a pixel then costs one row of a table and two products a value, in
float32. That is a sixth of what barycentric coordinates and three corners take (`ops.raster.interpolate_seen`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def plane_table(screen: Tensor, faces: Tensor, values: Tensor, flat: Tensor | None = None) -> Tensor:
    """(F, 3 C + 2 + D) float32, what `at_pixels` takes a row of.

    Args:
        screen: (V, 3) pixels x, y and depth. faces: (F, 3). values: (V, C). flat: (F, D), the same all over a triangle.
    """
    corners = screen.double()[faces]  # (F, 3, 3)
    at = values.double()[faces] / corners[..., 2:]
    (ax, ay), (bx, by), (cx, cy) = (corners[:, i, :2].T for i in range(3))
    first, to_b, to_c = at[:, 0], at[:, 1] - at[:, 0], at[:, 2] - at[:, 0]
    ux, uy, vx, vy = bx - ax, by - ay, cx - ax, cy - ay
    area = (ux * vy - vx * uy)[:, None]
    across = (to_b * vy[:, None] - to_c * uy[:, None]) / area
    down = (to_c * ux[:, None] - to_b * vx[:, None]) / area
    parts = [first, across, down, ax[:, None], ay[:, None], *([] if flat is None else [flat])]
    return torch.cat(parts, 1).float()


def at_pixels(
    table: Tensor, face: Tensor, x: Tensor, y: Tensor, depth: Tensor, sizes: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """(values (P, C), flat (P, D)) at pixel centres x, y (P,) whose faces and depths are seen. sizes: C, D."""
    C, D = sizes
    row = table.index_select(0, face)
    dx, dy = (x - row[:, 3 * C])[:, None], (y - row[:, 3 * C + 1])[:, None]
    values = (row[:, :C] + row[:, C : 2 * C] * dx + row[:, 2 * C : 3 * C] * dy) * depth[:, None]
    return values, row[:, 3 * C + 2 : 3 * C + 2 + D]
