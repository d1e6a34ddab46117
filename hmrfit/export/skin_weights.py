"""Skinning weights of few joints a vertex, as game engines and glTF viewers take them.

    min_w'  Σ_t |Σ_(b in S) w'_b x_tb  −  Σ_b w_b x_tb|²  +  λ |w' − w|²,     w' ≥ 0,  Σ w' = 1,  |S| = 4

x_tb is where bone b alone would carry the vertex in frame t of the motion that is written; S are four of the vertex's
six largest. On the free body 247 of 6,900 vertices have more than four weights (none has more than six), in front of
the shoulders and at the neck. There, on motion of CMU's that the weights were not fitted to, they are 0.04 mm off
(mean; 1.4 mm at most); the four largest weights as they are, 1.4 mm (17 mm at most). Fitted to rotations at random
instead of to recorded motion they were no better than these: what joints do together is what counts.

A viewer of glTF must take four joints a vertex, and may take eight. The largest weights come first.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

INFLUENCES = (4, 8)
"""How many joints may move a vertex."""

LEAST = 1e-6
"""Smaller weights are rounding."""

CANDIDATES = 6
"""Of a vertex's joints, the largest weights first: those of which the few are chosen."""

FRAMES = 48
"""Of the motion, evenly spaced: to how many the weights are fitted."""

RIDGE = 0.01
"""√λ per √frame, metres: what a weight of 1 too much counts as."""

SUM = 1e3
"""Metres: what a sum of weights of 2 instead of 1 counts as."""


def largest_weights(weights: Float, count: int) -> tuple[NDArray[np.int64], Float]:
    """Weights (V, J) -> the joints (V, N) of the N largest, and these (V, N), which add up to 1, descending. Joints of
    weight 0 are called 0, as glTF asks for."""
    weights = np.pad(weights, ((0, 0), (0, max(0, count - weights.shape[1]))))
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    kept = np.take_along_axis(weights, joints, 1)
    kept = np.where(kept < LEAST, 0, kept)
    kept /= kept.sum(1, keepdims=True)
    return np.where(kept > 0, joints, 0), kept


def few_weights(weights: Float, count: int, rest: tuple[Float, Float], posed: tuple[Float, Float]) -> Float:
    """Weights (V, J) -> (V, J) of which `count` in a row are not 0, fitted as above.

    Args:
        rest: vertices (V, 3) and joints (J, 3), metres. posed: world rotations (T, J, 3, 3) and joints (T, J, 3).
    """
    few = weights.copy()
    many = np.flatnonzero((weights > LEAST).sum(1) > count)
    chosen = np.unique(np.linspace(0, len(posed[0]) - 1, FRAMES).round().astype(int))
    turns, places = posed[0][chosen], posed[1][chosen]
    for v in many:
        own = weights[v]
        joints = np.argsort(-own, kind="stable")[:CANDIDATES]
        arms = rest[0][v] - rest[1]
        carried = np.einsum("tbij,bj->tib", turns, arms) + places.swapaxes(1, 2)  # (T, 3, J)
        target = (carried @ own).ravel()
        best = np.inf
        for subset in combinations(joints, count):
            some = list(subset)
            w, off = _bounded(carried[:, :, some].reshape(-1, count), target, own[some])
            if off < best:
                best, few[v] = off, 0.0
                few[v, some] = w / w.sum()
    return few


def _bounded(A: Float, b: Float, near: Float) -> tuple[Float, float]:
    """Weights of one vertex's few joints, and how far off they are."""
    from scipy.optimize import nnls  # 70 ms to import, which few processes need

    count = len(near)
    ridge = RIDGE * np.sqrt(len(A) / 3) * np.eye(count)
    rows = np.concatenate([A, ridge, SUM * np.ones((1, count))])
    w, off = nnls(rows, np.concatenate([b, ridge @ near, [SUM]]))
    return w, off
