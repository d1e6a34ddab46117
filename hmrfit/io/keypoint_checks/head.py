"""Which way a head looks, by where nose, eyes and ears lie and by which of them are seen.

A rigid head is turned by yaw and pitch on a grid, ψ = 0 facing the camera, and laid onto the keypoints by the
similarity that fits best. Points are complex, z = left + i up in metres of an average adult:

    E(ψ) = min over pitch and q of ½ Σ |z_i − z̄ − q (m_i(ψ) − m̄)|²/σ² + ½ |q − 1|²/ρ²  −  Σ log p(seen_i | ψ)

q is the head's size and tilt beside the expected ones. The last sum counts where what a head hides is known to be
unseen: then a visible nose says that the head looks towards the camera, which is what tells left from right at all. A
picture of points alone cannot: a body with left and right exchanged looks just like its mirror image from behind.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

HEAD_PARTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")

MIRRORED = np.array([0, 2, 1, 4, 3])
"""The places of HEAD_PARTS with left and right exchanged."""

POINTS = np.array(
    [(0.0, -0.01, 0.092), (0.03, 0.022, 0.075), (-0.03, 0.022, 0.075), (0.075, 0.0, 0.0), (-0.075, 0.0, 0.0)]
)
"""Metres on the free body: left, up and forward from the middle of the ears."""

OUTWARD = np.array([(0, 0, 1), (0.5, 0, 0.87), (-0.5, 0, 0.87), (1, 0, 0), (-1, 0, 0)])
"""Unit directions in which the head's surface looks there; ears are seen from the front and from behind."""

YAWS = np.radians(np.arange(-180.0, 180.0, 10.0))
PITCHES = np.radians([-35.0, 0.0, 35.0])

SIGMA, TILT = 0.02, 0.35
"""σ in metres, of labels and of heads that differ; ρ, of head sizes and of heads that lean."""

SEEN_LEAST, SEEN_MOST, EDGE, SLOPE = 0.02, 0.93, 0.05, 10.0
"""p(seen) goes from the first to the second where the cosine of the surface towards the camera passes EDGE."""

WORST = 20.0
"""What the points' places can cost at most: a stray label is no reason for anything."""


def _projected() -> NDArray[np.complex128]:
    """m (yaws, pitches, 5): left + i up of the turned head, metres."""
    cos, sin = np.cos(YAWS)[:, None, None], np.sin(YAWS)[:, None, None]
    left, up, forward = POINTS.T
    towards = forward * cos - left * sin
    return left * cos + forward * sin + 1j * (up * np.cos(PITCHES)[:, None] - towards * np.sin(PITCHES)[:, None])


def _seen_probability() -> NDArray[np.float64]:
    """(yaws, 5)"""
    towards = OUTWARD[:, 2] * np.cos(YAWS)[:, None] - OUTWARD[:, 0] * np.sin(YAWS)[:, None]
    return SEEN_LEAST + (SEEN_MOST - SEEN_LEAST) / (1 + np.exp(-SLOPE * (towards - EDGE)))


PROJECTED = _projected()
COST_SEEN, COST_UNSEEN = -np.log(_seen_probability()), -np.log(1 - _seen_probability())


STIFFNESS = (SIGMA / TILT) ** 2


@cache
def _centred(placed: tuple[bool, ...]) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """(m − m̄ (yaws, pitches, n), Σ |m − m̄|² (yaws, pitches)) of the n points that count."""
    model = PROJECTED[..., np.array(placed)]
    model = model - model.mean(-1, keepdims=True)
    return model, (np.abs(model) ** 2).sum(-1)


@dataclass(frozen=True, eq=False)
class Head:
    """The head of one person in the picture."""

    z: NDArray[np.complex128]  # (5,) left + i up, metres, of HEAD_PARTS
    placed: NDArray[np.bool_]  # (5,) whose place counts
    seen: NDArray[np.bool_]  # (5,) surely seen
    unseen: NDArray[np.bool_]  # (5,) surely not
    hidden_is_unseen: bool  # whether what the head hides is known to be unseen

    def mirrored(self) -> "Head":
        """The same with left and right exchanged."""
        z, placed, seen, unseen = (part[MIRRORED] for part in (self.z, self.placed, self.seen, self.unseen))
        return Head(z, placed, seen, unseen, self.hidden_is_unseen)

    def energies(self) -> NDArray[np.float64]:
        """E (yaws,)."""
        energy = self._places()
        if self.hidden_is_unseen and self.seen.any():  # a head of which nothing is seen is behind something
            energy = energy + COST_SEEN[:, self.seen].sum(1) + COST_UNSEEN[:, self.unseen].sum(1)
        return energy

    def _places(self) -> NDArray[np.float64]:
        if self.placed.sum() < 2:
            return np.zeros(len(YAWS))
        model, squares = _centred(tuple(self.placed.tolist()))
        z = self.z[self.placed]
        z = z - z.mean()
        q = ((model.conj() @ z) + STIFFNESS) / (squares + STIFFNESS)
        off = z - q[..., None] * model
        cost = (off.real**2 + off.imag**2).sum(-1) / SIGMA**2 + ((q.real - 1) ** 2 + q.imag**2) / TILT**2
        return np.minimum(0.5 * cost.min(1), WORST)
