"""Errors of predicted joints and keypoints. Lengths come out in the unit that went in; the caller averages over people.

MPJPE     mean_k |x_k − y_k| with both roots at the origin
PA-MPJPE  the same after a similarity alignment of each body (Procrustes)
PCK@t     fraction of the joints nearer than t (strictly), in %
AUC       mean of PCK@t over 31 thresholds t = 0 .. T; as nothing is nearer than 0, at most 30/31 of 100 %
"""

import torch
from torch import Tensor

from hmrfit.ops.presence import presence
from hmrfit.ops.procrustes import similarity_align


def mpjpe(predicted: Tensor, target: Tensor, root: Tensor | None = None, target_root: Tensor | None = None) -> Tensor:
    """(B,) mean distance of joints (B, K, 3). Where both roots (B, 3) are given, each is subtracted from its joints."""
    if root is not None and target_root is not None:
        predicted, target = predicted - root[:, None], target - target_root[:, None]
    return (predicted - target).norm(dim=-1).mean(-1)


def pa_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """(B,) mean distance of joints (B, K, 3) after the best similarity of each body."""
    return aligned_distances(predicted, target).mean(-1)


def aligned_distances(predicted: Tensor, target: Tensor) -> Tensor:
    """(B, K) distances after the best similarity of each body; exactly 0 between a body and itself."""
    same = (predicted == target).all(-1).all(-1)[..., None]  # their similarity is the identity, without rounding
    return torch.where(same, 0.0, (similarity_align(predicted, target) - target).norm(dim=-1))


AUC_THRESHOLDS = 31
AUC_BEST = 100.0 * (AUC_THRESHOLDS - 1) / AUC_THRESHOLDS


def pck(distances: Tensor, threshold: float) -> Tensor:
    """(B,) % of each body's distances (B, K) below the threshold."""
    return 100.0 * (distances < threshold).to(distances).mean(-1)


def auc(distances: Tensor, farthest: float) -> Tensor:
    """(B,) % of each body: mean PCK of distances (B, K) over 31 thresholds from 0 to `farthest`, both included."""
    thresholds = torch.linspace(0, farthest, AUC_THRESHOLDS).to(distances)
    return 100.0 * (distances[..., None] < thresholds).to(distances).mean((-2, -1))


def reprojection_error(projected: Tensor, keypoints: Tensor, confidence: Tensor, box_size: Tensor) -> Tensor:
    """(B,) mean pixel distance over the seen keypoints, as a fraction of the person's box; NaN where none is seen.

    A keypoint has the weight with which it counts as seen (`ops.presence`).

    Args:
        projected, keypoints: (B, K, 2) pixels. confidence: (B, K). box_size: (B,) pixels.
    """
    seen = presence(confidence).to(projected)
    distance = (projected - keypoints).norm(dim=-1)
    mean = (distance * seen).sum(-1) / seen.sum(-1)
    return torch.where(seen.any(-1), mean / box_size, torch.nan)


def facing_wrong(predicted: Tensor, target: Tensor) -> Tensor:
    """(B,) bool, whether the facing is flipped: the forward axes of both global_orient (B, 3, 3) differ by over 90°."""
    return (predicted[..., 2] * target[..., 2]).sum(-1) < 0
