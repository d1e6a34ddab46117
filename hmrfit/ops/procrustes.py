"""Alignment of point sets before an error is measured.

    min over s, R, t of  sum_k |s R x_k + t - y_k|²:   K = X^T Y,  U S V^T = K,  R = V Z U^T,  s = tr(S Z) / |X|²

with X, Y centred and Z = diag(1, 1, sign det(V U^T)), so that R is never a reflection. (Umeyama, TPAMI 1991)
"""

import torch
from torch import Tensor


def similarity_align(source: Tensor, target: Tensor) -> Tensor:
    """`source` (..., K, 3) moved, turned and scaled onto `target` (..., K, 3). All points at one place stay there."""
    source_mean, target_mean = source.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
    X, Y = source - source_mean, target - target_mean
    U, S, Vt = torch.linalg.svd(X.mT @ Y)
    Z = torch.ones_like(S)
    Z[..., -1] = torch.linalg.det(U @ Vt).sign()
    R = (U * Z[..., None, :]) @ Vt  # row vectors: X R
    spread = X.square().sum((-2, -1)).clamp_min(torch.finfo(X.dtype).tiny)
    scale = (S * Z).sum(-1) / spread
    return scale[..., None, None] * (X @ R) + target_mean
