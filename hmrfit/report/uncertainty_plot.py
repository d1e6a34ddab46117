"""The uncertainty plot: the skeleton from the front and from the side, with an ellipse about every joint.

    { p : (p − x)ᵀ S⁻¹ (p − x) = q },     S the 2×2 part of the joint's covariance that a view shows, q = −2 log(1 − P)

With P = 0.9 nine in ten of a Gaussian's errors lie inside. Joints are relative to the pelvis, whose ellipse is a point.
The front view shows the camera's x and y, the side view its depth and y.
"""

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.image import Image
from hmrfit.io.opencv import cv2
from hmrfit.render.overlay import side_by_side

INSIDE = 0.9
"""P, the fraction of errors inside an ellipse."""

PAPER, BONE, FRONT, SIDE = (244, 244, 244), (70, 74, 84), (74, 120, 200), (200, 96, 60)
"""Colours: paper, bones, and the ellipses of both views."""

SHIFT = 4
"""cv2 draws with this many binary places."""


def uncertainty_plot(joints: NDArray, covariance: NDArray, parents: tuple[int, ...], height: int = 480) -> Image:
    """Front and side view of one person.

    Args:
        joints: (J, 3) metres, camera axes. covariance: (J, 3, 3) metres², of their positions relative to the first.
        parents: of the J joints, the first's is negative. height: pixels.
    """
    relative = joints - joints[:1]
    reach = 1.15 * max(0.5, np.abs(relative).max() + 2 * np.sqrt(np.trace(covariance, axis1=1, axis2=2).max()))
    views = (((0, 1), FRONT), ((2, 1), SIDE))
    return side_by_side([_view(relative, covariance, parents, axes, color, height, reach) for axes, color in views])


def _view(
    joints: NDArray,
    covariance: NDArray,
    parents: tuple[int, ...],
    axes: tuple[int, int],
    color: tuple[int, int, int],
    height: int,
    reach: float,
) -> Image:
    """One view.

    Args:
        axes: of the camera, to the right and down. reach: metres from the middle to the border.
    """
    paper: Image = np.full((height, height, 3), PAPER, np.uint8)
    scale = 0.5 * height / reach
    places = 0.5 * height + scale * joints[:, axes]
    ellipses = paper.copy()
    for place, own in zip(places, covariance[:, axes][:, :, axes], strict=True):
        _ellipse(ellipses, place, scale**2 * own, color)
    canvas = np.asarray(cv2.addWeighted(ellipses, 0.45, paper, 0.55, 0), np.uint8)
    for j, parent in enumerate(parents):
        if parent >= 0:
            cv2.line(canvas, _fixed(places[parent]), _fixed(places[j]), BONE, 2, cv2.LINE_AA, SHIFT)
    return canvas


def _ellipse(canvas: Image, place: NDArray, covariance: NDArray, color: tuple[int, int, int]) -> None:
    """The filled ellipse of a 2×2 covariance, pixels²; one too small to see is left out."""
    values, vectors = np.linalg.eigh(covariance)
    axes = np.sqrt(np.clip(values, 0, None) * -2 * np.log(1 - INSIDE))
    if not np.isfinite(axes).all() or axes[1] < 1:
        return
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    size = _fixed(np.clip(axes[::-1], 0.5, 4 * len(canvas)))
    cv2.ellipse(canvas, _fixed(place), size, angle, 0, 360, color, -1, cv2.LINE_AA, SHIFT)


def _fixed(xy: NDArray) -> tuple[int, int]:
    """Pixels in cv2's fixed point."""
    x, y = np.clip(xy, -1e5, 1e5) * 2**SHIFT
    return round(float(x)), round(float(y))
