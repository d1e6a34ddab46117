"""Runs of frames in which left and right are exchanged, of one person's keypoints over time.

    E(σ) = Σ_t (r − w clip(z_t(σ_t))) [σ_t ≠ none] + Σ_t D_t(σ_{t−1}, σ_t) + a [σ_t ≠ σ_{t−1}]
    D_t(σ, σ') = Σ_k ½ min(‖σ'(x_t)_k − σ(x_{t−1})_k‖²/s_t², c)

σ_t is none or one of the label model's exchanges, z_t(σ) its log odds against none, and s_t how far a keypoint may go
from one frame to the next, in proportion to the time between them. Dynamic programming finds the least E. What tells is
the jump of all exchanged points at both ends of a run. The network says which side of a jump is right, unless more than
half of all frames would be wrong: its errors go with a body and a pose, and last as long as these do. Where a whole
sequence is exchanged nothing jumps, and the network's word alone is not enough to change anything: that is a warning.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hmrfit.camera import Camera
from hmrfit.keypoints import flip_permutation
from hmrfit.network.label_model import LabelModel, exchanged_places
from hmrfit.types import Keypoints

STEP, FARTHEST, WEIGHT, CLIP, RARE, CHANGE = 0.05, 9.0, 0.1, 3.0, 0.1, 8.0
"""s in boxes for 1/30 s, c, w, the clip of z, r, and a. Chosen on 36 clips of validation motion, 30 and 10 frames a
second, 1 and 2 % noise, a tenth and a fifth missing: with less for a change, tidy clips are touched (2 of 36 with 3).
Of 78 tidy clips of test motion none is, at either rate; of runs of 3 to 30 frames six in ten are found frame by frame
(most of those of the body, arms, legs or forearms; of hands or feet alone hardly any), no other frame is touched."""

MOST = 0.5
"""Of the frames that may be exchanged."""

RATE = 30.0
"""Frames a second that s is for."""

LOOKED_AT = 64
"""Frames of a sequence in which nothing jumps that the network is asked about."""

DOUBTED, DOUBTED_ALONE = -1.0, 1.0
"""Mean z of a sequence, and z of one view, from which its sides are called into question. Of 114 tidy clips the highest
mean is −2.5, and of their frames 5 and 2 in 10,000 (validation and test motion) have more than 1. Of clips whose arms
or legs are exchanged from end to end nine in ten are caught, of single frames two in three."""


def log_odds(model: LabelModel, keypoints: Keypoints, camera: Camera) -> NDArray[np.float64]:
    """z (B, len(EXCHANGES)) of each exchange against none."""
    probability = model.look(keypoints, camera).of_exchanges().clamp_min(1e-9)
    return (probability.log() - (1 - probability.sum(1, keepdim=True)).clamp_min(1e-9).log()).numpy()


def exchanged_runs(
    keypoints: Keypoints, frames: NDArray[np.int64], fps: float, odds: Callable[[], NDArray[np.float64]]
) -> NDArray[np.int64]:
    """(T,) which exchange the keypoints of each frame have, counted from 1; 0: none.

    Args:
        keypoints: of T frames. frames: (T,) their numbers, rising. fps: frames a second.
        odds: gives z (T, len(EXCHANGES)), asked only where something jumps.
    """
    T = len(frames)
    between = _jumps(keypoints, np.diff(frames) / fps)
    if not (between.min((1, 2)) < between[:, 0, 0] - 1e-6).any():  # the same exchange before and after costs as none
        return np.zeros(T, np.int64)
    cost = np.concatenate([np.zeros((T, 1)), RARE - WEIGHT * odds().clip(-CLIP, CLIP)], 1)
    found = _least(cost, between)
    kinds = np.unique(found[found > 0])
    if len(kinds) == 1 and (found > 0).mean() > MOST:  # the other side of the same jumps
        found = np.where(found > 0, 0, kinds[0])
    return found


def _jumps(keypoints: Keypoints, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T − 1, S, S) D and a between neighbours, of which each has one of the S arrangements.

    A keypoint k is taken from its own place or from its mirror image's: of either before and now, D (T − 1, K) is once
    computed, and added up for each pair of arrangements.
    """
    names = keypoints.names
    mirrored, exchanged = np.array(flip_permutation(names)), exchanged_places(names).numpy()
    moved = np.concatenate([np.zeros((1, len(names))), exchanged != np.arange(len(names))])  # (S, K)
    xy, seen = keypoints.xy.numpy(), keypoints.confidence.numpy() > 0
    box = keypoints.box_size().numpy().clip(1.0)
    step = STEP * 0.5 * (box[:-1] + box[1:]) * RATE * seconds
    total = CHANGE * (1 - np.eye(len(moved)))[None]
    for of_before, before in ((1 - moved, slice(None)), (moved, mirrored)):
        for of_now, now in ((1 - moved, slice(None)), (moved, mirrored)):
            both = seen[:-1, before] & seen[1:, now]
            far = np.square(xy[:-1, before] - xy[1:, now]).sum(-1) / np.square(step)[:, None]
            cost = 0.5 * np.minimum(far, FARTHEST) * both
            total = total + np.einsum("tk,ak,bk->tab", cost, of_before, of_now, optimize=True)
    return total


def _least(cost: NDArray[np.float64], between: NDArray[np.float64]) -> NDArray[np.int64]:
    """(T,) the states of least sum. cost: (T, S). between: (T − 1, S, S) from the state before to the next."""
    sums, best = cost[0], np.zeros(cost.shape, np.int64)
    for t in range(1, len(cost)):
        ways = sums[:, None] + between[t - 1]
        best[t] = ways.argmin(0)
        sums = ways.min(0) + cost[t]
    path = np.zeros(len(cost), np.int64)
    path[-1] = sums.argmin()
    for t in range(len(cost) - 1, 0, -1):
        path[t - 1] = best[t, path[t]]
    return path
