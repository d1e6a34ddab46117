"""Skinning weights cut to the few largest of a vertex, as game engines and glTF viewers take them.

    w'_vb = w_vb / Σ_(b in the N largest) w_vb        0 for the others

A viewer of glTF must take four joints a vertex, and may take eight. On the free body 247 of 6,900 vertices have more
than four, none more than six. The largest weights come first, so a viewer that takes four of eight takes the best four.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

INFLUENCES = (4, 8)
"""How many joints may move a vertex."""

LEAST = 1e-6
"""Smaller weights are rounding."""


def largest_weights(weights: NDArray, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Weights (V, J) -> the joints (V, N) of the N largest, and these (V, N), which add up to 1, descending. Joints of
    weight 0 are called 0, as glTF asks for."""
    weights = np.asarray(weights, np.float64)
    if weights.shape[1] < count:
        weights = np.pad(weights, ((0, 0), (0, count - weights.shape[1])))
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    kept = np.take_along_axis(weights, joints, 1).clip(0)
    kept /= kept.sum(1, keepdims=True)
    kept[kept < LEAST] = 0
    kept /= kept.sum(1, keepdims=True)
    return np.where(kept > 0, joints, 0), kept


def dense_weights(weights: Tensor, count: int) -> NDArray[np.float64]:
    """Weights (V, J) -> (V, J), all but the `count` largest of each vertex 0."""
    own = weights.detach().cpu().double().numpy()
    joints, kept = largest_weights(own, count)
    cut = np.zeros_like(own)
    np.add.at(cut, (np.arange(len(cut))[:, None], joints), kept)
    return cut
