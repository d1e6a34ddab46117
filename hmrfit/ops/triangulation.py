"""Points in 3D from their pixels in several calibrated views.

    minimise over X   Σ_v w_v² |(x_v P_v³ − P_v¹, y_v P_v³ − P_v²) X / (P_v³ X)|²,    |X| = 1, homogeneous

P_v (3, 4) are the cameras, P_v^i their rows. The direct linear transformation leaves P_v³ X, the depth, out; taking it
from the last solution twice makes the residuals those of the image.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REWEIGHTED = 2
NOT_BEHIND = 1e-3
"""Metres: nearer to the camera's plane, a depth is taken for this."""


def triangulate(projections: Floats, xy: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Points (..., 3) metres in the world, and their residuals (..., V) pixels; NaN where fewer than two views see one.

    Args:
        projections: (..., V, 3, 4) K [R | t], of pixels. xy: (..., V, 2). weight: (..., V), 0 where unseen.
    """
    seen = weight > 0
    xy = np.where(seen[..., None], xy, 0.0)
    rows = xy[..., None] * projections[..., 2:, :] - projections[..., :2, :]  # (..., V, 2, 4)
    scale = np.where(seen, weight, 0.0)[..., None, None]
    depth = np.ones_like(weight)[..., None, None]
    for _ in range(1 + REWEIGHTED):
        A = rows * scale / depth
        normal = np.einsum("...vij,...vik->...jk", A, A)
        X = np.linalg.eigh(normal)[1][..., :, 0]
        X = X / np.where(np.abs(X[..., 3:]) > 1e-12, X[..., 3:], 1e-12)
        depth = np.abs(np.einsum("...vj,...j->...v", projections[..., 2, :], X))[..., None, None].clip(NOT_BEHIND)
    image = np.einsum("...vij,...j->...vi", projections, X)
    behind = image[..., 2] < NOT_BEHIND
    away = np.linalg.norm(image[..., :2] / np.where(behind, NOT_BEHIND, image[..., 2])[..., None] - xy, axis=-1)
    away = np.where(behind, np.inf, away)
    enough = seen.sum(-1) >= 2
    return np.where(enough[..., None], X[..., :3], np.nan), np.where(seen & enough[..., None], away, np.nan)
