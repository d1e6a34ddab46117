"""Errors of predicted joints and keypoints. Lengths in, the same lengths out; nothing is averaged over people here.

MPJPE     mean_k |x_k - y_k| after the roots are brought together
PA-MPJPE  the same after a similarity alignment of each body (Procrustes)
"""

import torch
from torch import Tensor

from hmrfit.ops.procrustes import similarity_align


def mpjpe(predicted: Tensor, target: Tensor, root: Tensor | None = None, target_root: Tensor | None = None) -> Tensor:
    """(B,) mean distance of joints (B, K, 3). Roots (B, 3) are subtracted when given (the predicted, then the true)."""
    if root is not None and target_root is not None:
        predicted, target = predicted - root[:, None], target - target_root[:, None]
    return (predicted - target).norm(dim=-1).mean(-1)


def pa_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """(B,) mean distance of joints (B, K, 3) after the best similarity of each body."""
    return (similarity_align(predicted, target) - target).norm(dim=-1).mean(-1)


def reprojection_error(projected: Tensor, keypoints: Tensor, confidence: Tensor, box_size: Tensor) -> Tensor:
    """(B,) mean pixel distance over the seen keypoints, as a fraction of the person's box; NaN where none is seen."""
    seen = (confidence > 0).to(projected)
    distance = (projected - keypoints).norm(dim=-1)
    mean = (distance * seen).sum(-1) / seen.sum(-1)
    return torch.where(seen.any(-1), mean / box_size, torch.nan)


def facing_wrong(predicted: Tensor, target: Tensor) -> Tensor:
    """(B,) is the torso turned front to back? global_orient (B, 3, 3): forward axes more than 90° apart."""
    return (predicted[..., 2] * target[..., 2]).sum(-1) < 0
