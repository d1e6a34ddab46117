"""Where a hand is, from its picture and the depths of its points about the wrist: 2.5D to 3D.

    P_k = s (Z + z_k) (x_k, y_k, 1),      (x, y) = K⁻¹ (u, v, 1),  z_k relative to the wrist, in units of one bone

**One bone** of length 1 (Iqbal et al., ECCV 2018, eq. 4 to 6), from |P_n − P_m| = s, in closed form:

    a = (x_n − x_m)² + (y_n − y_m)²
    b = 2 [z_n (x_n² + y_n² − x_n x_m − y_n y_m) + z_m (x_m² + y_m² − x_n x_m − y_n y_m)]
    c = (x_n z_n − x_m z_m)² + (y_n z_n − y_m z_m)² + (z_n − z_m)² − 1
    Z = (−b + √(b² − 4ac)) / 2a

Exact without noise. A bone that points at the camera has a ≈ 0: noise of a hundredth of the box moves Z by decimetres.

**All bones** at once: lengths μ_i known to σ_i (metres) say more than one. Gauss-Newton on (log Z, log s) of

    ½ Σ_i ((|P_n − P_m|_i − μ_i) / σ_i)²

starts from the least noisy single bone. Because s is free, the depths' own unit need not be exact.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST_A, SMALLEST_ROOT = 1e-8, 1e-8
"""What the quadratic's a and its discriminant count as at least."""

STEPS = 8
"""Of Gauss-Newton: two unknowns, from a start that is near."""

MOST = 1.0
"""Of a step's part of (log Z, log s): by e and no farther, where noise makes the equations singular."""


def normalised(keypoints: Tensor, focal: Tensor, center: Tensor) -> Tensor:
    """(x, y) (B, K, 2) of pixels (B, K, 2): K⁻¹ (u, v, 1). focal, center: (B, 2) pixels."""
    return (keypoints - center[:, None]) / focal[:, None]


def root_depth_of_bone(xy: Tensor, z: Tensor, bone: tuple[int, int]) -> Tensor:
    """Z (B,) of the wrist, in units of the bone's length.

    Args:
        xy: (B, K, 2) normalised image coordinates. z: (B, K) depths about the wrist's, in that unit. bone: (n, m).
    """
    (n, m), squares = bone, xy.square().sum(-1)
    between = (xy[:, n] * xy[:, m]).sum(-1)
    a = (xy[:, n] - xy[:, m]).square().sum(-1).clamp_min(SMALLEST_A)
    b = 2 * (z[:, n] * (squares[:, n] - between) + z[:, m] * (squares[:, m] - between))
    flat = xy[:, n] * z[:, n, None] - xy[:, m] * z[:, m, None]
    c = flat.square().sum(-1) + (z[:, n] - z[:, m]).square() - 1
    return (-b + (b.square() - 4 * a * c).clamp_min(SMALLEST_ROOT).sqrt()) / (2 * a)


def points_at(xy: Tensor, z: Tensor, depth: Tensor) -> Tensor:
    """P (B, K, 3) of s = 1, in the unit of z. depth: Z (B,)."""
    away = depth[:, None] + z
    return torch.cat([xy * away[..., None], away[..., None]], -1)


def root_depth(
    xy: Tensor,
    z: Tensor,
    lengths: Tensor,
    stds: Tensor,
    bones: Sequence[tuple[int, int]],
    start: Tensor,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(Z (B,) in units of z, s (B,) metres a unit) of all bones at once.

    Args:
        xy, z: as in `root_depth_of_bone`. lengths, stds: (N,) metres. bones: N pairs of points. start: (B,) Z.
        weight: (B, N) of each bone, 0 where one of its ends is unseen.
    """
    n, m = (torch.tensor(ends, device=xy.device) for ends in zip(*bones, strict=True))
    weight = xy.new_ones(len(xy), len(bones)) if weight is None else weight
    rays = torch.cat([xy, torch.ones_like(xy[..., :1])], -1)
    per_depth = rays[:, n] - rays[:, m]  # d(P_n − P_m)/dZ, of s = 1

    def measured(log_depth: Tensor) -> tuple[Tensor, Tensor]:
        """(lengths (B, N) of s = 1, their derivative by log Z)."""
        depth = log_depth.exp()
        P = points_at(xy, z, depth)
        bone = P[:, n] - P[:, m]
        size = bone.norm(dim=-1).clamp_min(SMALLEST_A)
        return size, (bone * per_depth).sum(-1) / size * depth[:, None]

    log_depth = start.clamp_min(SMALLEST_A).log()
    size, _ = measured(log_depth)
    w = weight / stds.square()
    log_scale = ((w * size * lengths).sum(1) / (w * size.square()).sum(1).clamp_min(SMALLEST_A)).clamp_min(1e-6).log()
    for _ in range(STEPS):
        size, slope = measured(log_depth)
        scale = log_scale.exp()[:, None]
        J = torch.stack([scale * slope, scale * size], -1)  # (B, N, 2)
        JtW = J.mT * w[:, None]
        H = JtW @ J
        H = H + SMALLEST_A * H.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None] * torch.eye(2).to(H)
        step = torch.linalg.solve(H, JtW @ (scale * size - lengths)[..., None]).squeeze(-1).clamp(-MOST, MOST)
        log_depth, log_scale = log_depth - step[:, 0], log_scale - step[:, 1]
    return log_depth.exp(), log_scale.exp()


def error_parts(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """(J2D, Z) (B,) metres: the mean error of predicted places in the image at true depths, and of predicted depths at
    true places in the image (Spurr et al. 2020, section 4.3).

    Args:
        predicted, truth: (B, K, 3) camera frame, metres.
    """

    def rays(points: Tensor) -> Tensor:
        return points / points[..., 2:].clamp_min(SMALLEST_A)

    in_image = rays(predicted) * truth[..., 2:]
    in_depth = rays(truth) * predicted[..., 2:]
    return (in_image - truth).norm(dim=-1).mean(-1), (in_depth - truth).norm(dim=-1).mean(-1)
