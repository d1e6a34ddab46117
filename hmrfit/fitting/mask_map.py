"""A person's mask made ready for the fit: a coarse map of signed distances, the outline, and which keypoints it shows.

    phi(x) = distance from x to the mask's edge, > 0 outside, a share of the person's box       (cv2.distanceTransform)

Where the image's border cuts the person, the mask goes on beyond it as it was at the border. A keypoint is trusted
where it is seen and lies in the mask: behind something that stands in front of the person, it does not.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.fitting.evidence import MaskEvidence
from hmrfit.io.opencv import cv2
from hmrfit.types import Keypoints

NODES = 128
"""Of the map, along each side. Between them it is bilinear: an edge is off by less than a tenth of a cell."""

OUTLINE = 64
"""Points on the outline, evenly spaced."""

MARGIN = 0.35
"""Of the box, around mask and keypoints, that the map covers."""

FINEST = 512
"""Pixels of the longer side at which distances are measured."""

NEAR = 0.02
"""Of the box: a keypoint so near to the mask lies in it."""

SMALLEST = 0.03
"""Of all outlines: a hole or an island with less is left out."""


def mask_evidence(masks: Sequence[NDArray[np.bool_] | None], keypoints: Keypoints) -> MaskEvidence:
    """Masks (H, W) of B people, None where there is none, each with at least one pixel set."""
    box = keypoints.box_size().clamp_min(1.0)
    parts = [
        _nothing(len(keypoints.names)) if mask is None else _prepared(mask, keypoints[i], box[i].item())
        for i, mask in enumerate(masks)
    ]
    return MaskEvidence(*(torch.stack(column) for column in zip(*parts, strict=True)))


def _prepared(mask: NDArray[np.bool_], person: Keypoints, box: float) -> tuple[Tensor, ...]:
    """The fields of one person's `MaskEvidence`."""
    seen = person.presence[0].numpy()
    xy = person.xy[0].numpy()
    low, side = _region(mask, xy[seen > 0.5], box)
    distance, cell = _signed_distance(mask, low, side)
    nodes = np.linspace(0, side, NODES)
    grid = _sample(distance, *np.meshgrid(nodes / cell, nodes / cell)) / box
    outline, normal, length = _outline(distance, cell, mask.shape, low)
    inside = _sample(distance, *((xy - low) / cell).T[:, None])[0] <= NEAR * box
    double = lambda a: torch.as_tensor(np.ascontiguousarray(a, np.float64))  # noqa: E731
    return (
        torch.as_tensor(grid.astype(np.float32)), double(low), torch.tensor(side / (NODES - 1)).double(),
        double(outline), double(normal), double(length), double(seen * inside),
    )  # fmt: skip


def _nothing(keypoints: int) -> tuple[Tensor, ...]:
    """The fields of a person without a mask: nothing is outside, nothing has to be reached."""
    zeros = lambda *shape: torch.zeros(*shape, dtype=torch.float64)  # noqa: E731
    return (
        torch.zeros(NODES, NODES), zeros(2), torch.ones((), dtype=torch.float64),
        zeros(OUTLINE, 2), zeros(OUTLINE, 2), zeros(OUTLINE), zeros(keypoints),
    )  # fmt: skip


def _region(mask: NDArray[np.bool_], seen: NDArray, box: float) -> tuple[NDArray, float]:
    """The square that the map covers: its low corner (2,) and its side, pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    corners = np.array([[columns[0], rows[0]], [columns[-1] + 1.0, rows[-1] + 1.0]])
    corners = np.concatenate([corners, seen])
    low, high = corners.min(0), corners.max(0)
    side = float((high - low).max() + 2 * MARGIN * box)
    return (low + high - side) / 2, side


def _signed_distance(mask: NDArray[np.bool_], low: NDArray, side: float) -> tuple[NDArray, float]:
    """The signed distance in pixels of the image over the square, and how many of them one of its own pixels is."""
    cell = max(side / FINEST, 1.0)
    count = int(np.ceil(side / cell)) + 1
    shift = (0.5 - low) / cell - 0.5  # from pixel centres to pixel centres
    turn = np.array([[1 / cell, 0, shift[0]], [0, 1 / cell, shift[1]]])
    blurred = cv2.blur(mask.astype(np.float32), (int(cell), int(cell))) if cell >= 2 else mask.astype(np.float32)
    share = cv2.warpAffine(blurred, turn, (count, count), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    part = share > 0.5 if (share > 0.5).any() else share >= share.max()  # a mask thinner than a cell has its best cells
    if part.all():  # no edge is near: all of the square lies in the mask, as deep as it is wide
        return np.full(part.shape, -side, np.float32), cell
    outside, inside = (cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L2, 5) for m in (~part, part))
    # the transform counts from pixel centre to pixel centre; the edge lies half a pixel before the first one
    signed = np.where(part, 0.5 - inside, outside - 0.5)
    return signed * cell, cell


def _sample(image: NDArray, x: NDArray, y: NDArray) -> NDArray:
    """Bilinear, at places counted from the corner of the first pixel; beyond the edge as at the edge."""
    maps = (np.asarray(v, np.float32) - np.float32(0.5) for v in (x, y))
    return cv2.remap(image.astype(np.float32), *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _outline(distance: NDArray, cell: float, size: tuple[int, int], low: NDArray) -> tuple[NDArray, ...]:
    """(points (Q, 2) pixels of the image, outward normals (Q, 2), 1 or 0 (Q,)), evenly spaced along all outlines."""
    found, _ = cv2.findContours((distance <= 0).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    total = sum(len(c) for c in found)
    kept = [c[:, 0] for c in found if len(c) > SMALLEST * total]
    if not kept:
        return np.zeros((OUTLINE, 2)), np.zeros((OUTLINE, 2)), np.zeros(OUTLINE)
    steps = np.concatenate(kept)
    steps = steps[np.linspace(0, len(steps) - 1, OUTLINE).round().astype(int)]
    smooth = cv2.GaussianBlur(distance.astype(np.float32), (0, 0), 2.0)
    slopes = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)], -1)
    slope = slopes[steps[:, 1], steps[:, 0]]
    normal = slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)
    points = low + (steps + 0.5) * cell
    points = points - normal * distance[steps[:, 1], steps[:, 0]][:, None]  # from the pixel's centre to the edge
    edge = 1.5 * cell
    own = ((points > edge) & (points < np.array(size[::-1]) - edge)).all(1)  # elsewhere the image ends, not the person
    return points, normal, own
