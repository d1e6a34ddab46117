"""Pose correctives of a motion as few morph targets: P vec(R(t) − I) ≈ Σ_k a_k(t) M_k.

    P vec(R(t) − I),  (T, 3 V)   =   U S Wᵀ        M = the first K rows of Wᵀ, scaled, and one that is always there:

    Σ_k b_k(t) W_k  =  Σ_k (b_k(t) − l_k) / (h_k − l_k) · (h_k − l_k) W_k  +  1 · Σ_k l_k W_k,     l_k ≤ b_k ≤ h_k

so that 0 ≤ a ≤ 1: programs clamp what is beyond (Blender's importer widens 0 to 1 by the first frames only). K is the
least of `COUNTS` for which no vertex of any frame is farther off than `CLOSE`; the largest where none is. Between
frames the amounts are interpolated, as the correctives would nearly be.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.smpl import SmplBody

COUNTS = (1, 2, 4, 8, 12, 16, 24, 32)

CLOSE = 2e-4
"""Metres."""

FRAMES = 96
"""Of the motion, evenly spaced: those that the targets are made of."""


@dataclass(frozen=True)
class Correctives:
    """K targets and how much of each there is in T frames."""

    targets: NDArray[np.float64]  # (K, V, 3) metres
    amounts: NDArray[np.float64]  # (T, K) in [0, 1]


def mean_correctives(body: SmplBody, body_pose: Tensor) -> Tensor:
    """(V, 3) metres: the mean over the poses (T, J-1, 3, 3) of P vec(R − I), such as that of arms that hang all the
    time."""
    feature = (body_pose.detach().cpu().double() - torch.eye(3, dtype=torch.float64)).flatten(1).mean(0)
    return body.posedirs.detach().cpu().double() @ feature


def corrective_targets(body: SmplBody, body_pose: Tensor) -> Correctives | None:
    """Of the poses (T, J-1, 3, 3); None where they have no effect."""
    feature = (body_pose.detach().cpu().double() - torch.eye(3, dtype=torch.float64)).flatten(1)  # (T, 9 (J-1))
    directions = body.posedirs.detach().cpu().double().flatten(0, 1)  # (3 V, 9 (J-1))
    few = np.unique(np.linspace(0, len(feature) - 1, FRAMES).round().astype(int))
    offsets = feature[few] @ directions.T
    if float(offsets.abs().max()) < 1e-6:
        return None
    _, _, W = torch.linalg.svd(offsets, full_matrices=False)
    count = len(W)
    for count in (c for c in (*COUNTS, len(W)) if c <= min(len(W), COUNTS[-1])):
        off = offsets - (offsets @ W[:count].T) @ W[:count]
        if float(off.unflatten(1, (-1, 3)).norm(dim=-1).max()) < CLOSE:
            break
    W = W[:count]
    amounts = feature @ (directions.T @ W.T)  # (T, K)
    low, high = amounts.amin(0), amounts.amax(0)
    width = (high - low).clamp_min(1e-12)
    targets = torch.cat([W * width[:, None], (low @ W)[None]]).unflatten(1, (-1, 3))
    shares = torch.cat([((amounts - low) / width).clamp(0, 1), amounts.new_ones(len(amounts), 1)], 1)
    return Correctives(targets.numpy(), shares.numpy())
