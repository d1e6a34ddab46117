"""Masks of hands: GrabCut's from keypoints, and two losses of vertices that lie outside.

    published    L = 1 − (1/V) Σ_v M[round x_v]          Boukhayma et al., CVPR 2019; the look-up has no gradient
    distance     L = (1/V) Σ_v d(x_v) / (SIGMA R)        d pixels to the mask, 0 inside, between pixels bilinear

Both ask that the hand lies in the mask, neither that it covers it. M is 0 outside of the crop; d grows there by the way
out of it.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hmrfit.camera import PIXEL_CENTER
from hmrfit.io.image import Image
from hmrfit.io.opencv import cv2
from hmrfit.ops.check import check_shape

SIGMA = 0.1
"""Of the crop's side: so far outside counts as 1."""

BONES = tuple((0 if k % 4 == 1 else k - 1, k) for k in range(1, 21))
"""Of hand21."""

PALM = ((0, 1, 2), (0, 1, 5), (0, 5, 9), (0, 9, 13), (0, 13, 17))
"""Triangles that are surely hand (3dhand's, in the order of hand21)."""

WIDE, THIN = 70 / 320, 6 / 320
"""Widths of lines along the bones, fractions of the crop: where hand is likely (released code), and where it is."""

ITERATIONS = 5

MASK_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]]
"""By the name that TRAIN.HAND.MASK_KIND takes; of vertices (B, V, 2) in pixels and masks (B, R, R): (B,)."""


def grabcut_mask(image: Image, keypoints: NDArray, confidence: NDArray | None = None) -> NDArray[np.bool_]:
    """(H, W) where the hand is: five iterations of GrabCut, begun along the bones.

    Args:
        image: (H, W, 3) the square crop of 2.2 times the keypoints' box, which the lines' widths are fractions of.
        keypoints: (21, 2) hand21, its pixels. confidence: (21,) 0 where a point is not known.
    """
    check_shape(keypoints, "21 2", "keypoints of a hand")
    known = np.isfinite(keypoints).all(1) if confidence is None else np.asarray(confidence) > 0
    side = min(image.shape[:2])
    at = [
        tuple(int(np.clip(v - PIXEL_CENTER, -(2**14), 2**14)) for v in xy)
        for xy in np.where(known[:, None], keypoints, 0)
    ]
    trimap = np.full(image.shape[:2], cv2.GC_BGD, np.uint8)
    for label, width in ((cv2.GC_PR_FGD, WIDE), (cv2.GC_FGD, THIN)):
        for a, b in BONES:
            if known[a] and known[b]:
                cv2.line(trimap, at[a], at[b], label, max(1, round(width * side)))
    for triangle in PALM:
        if known[list(triangle)].all():
            cv2.fillConvexPoly(trimap, np.array([at[k] for k in triangle], np.int32), cv2.GC_FGD)
    kinds = set(np.unique(trimap).tolist())
    if not kinds & {cv2.GC_FGD, cv2.GC_PR_FGD} or cv2.GC_BGD not in kinds:
        return trimap != cv2.GC_BGD  # nothing to tell apart
    back, front = np.zeros((1, 65)), np.zeros((1, 65))
    everything = (0, 0, image.shape[1], image.shape[0])  # not looked at in this mode
    cv2.setRNGSeed(0)  # its k-means begin at random
    picture = np.ascontiguousarray(image[..., ::-1])
    cv2.grabCut(picture, trimap, everything, back, front, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)


def fraction_outside(xy: Tensor, masks: Tensor) -> Tensor:
    """The published mask loss (B,), without gradient. xy: (B, V, 2) pixels. masks: (B, R, R) bool."""
    size = masks.shape[-1]
    cell = xy.detach().floor().long()
    within = ((cell >= 0) & (cell < size)).all(-1)
    column, row = cell.clamp(0, size - 1).unbind(-1)
    inside = within & masks.flatten(1).gather(1, row * size + column)
    return 1 - inside.to(xy.dtype).mean(1)


def distance_outside(xy: Tensor, masks: Tensor) -> Tensor:
    """The mask loss (B,) with a gradient. xy: (B, V, 2) pixels. masks: (B, R, R) bool; an empty one costs nothing."""
    size = masks.shape[-1]
    away = torch.stack([torch.from_numpy(distance_map(mask)) for mask in masks.cpu().numpy()]).to(xy)
    within = xy.clamp(PIXEL_CENTER, size - PIXEL_CENTER)
    grid = 2 * within / size - 1
    at = F.grid_sample(away[:, None], grid[:, None], align_corners=False)[:, 0, 0]
    beyond = ((xy - within).square().sum(-1) + 1e-12).sqrt() - 1e-6
    return ((at + beyond) * masks.any((1, 2))[:, None]).mean(1) / (SIGMA * size)


def distance_map(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) pixels from each pixel to the nearest of the mask, 0 in it; 0 everywhere without a mask."""
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


MASK_LOSSES = {"published": fraction_outside, "distance": distance_outside}
