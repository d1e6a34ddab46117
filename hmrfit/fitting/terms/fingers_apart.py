"""Fingers do not pass through each other, the palm, or the other hand: capsules keep apart.

    r_ab = max(0, s (R_a + R_b) − |A − B|)      metres; A, B the nearest points of the axes of capsules a and b
    dr_ab/dω_j = −n · ([j above a] ω_j × (A − x_j) − [j above b] ω_j × (B − x_j)),      n = (A − B)/|A − B|

What is above both turns them together and changes nothing. s = SOFT: flesh gives way. Translation and betas have no
columns: by shape, thin fingers would win. Hands that are far from each other are not compared.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.finger_capsules import FingerCapsules, finger_capsules
from hmrfit.body.smpl import SmplBody
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyLinearization, NumpySums, NumpyTerm
from hmrfit.fitting.parameters import Layout, Linearization, Observation
from hmrfit.fitting.terms.base import Term
from hmrfit.ops import rotation_numpy as so3
from hmrfit.ops.skinning import ancestor_matrix

Array = NDArray[np.float64]

SOFT = 0.85
"""Of the radii."""

REACH = 0.45
"""Metres between two wrists, beyond which hands cannot touch."""

PARALLEL = 1e-9


def fingers_apart(body: SmplBody) -> "list[FingersApart]":
    """The term, for a body that has what it needs: joints, tips and vertices of every finger."""
    try:
        return [FingersApart(body)]
    except ValueError:
        return []


class FingersApart(Term):
    """Of a hand, or of both hands of a body. Errors: those of `finger_capsules`."""

    name = "fingers_apart"
    points_only: ClassVar[bool] = True

    def __init__(self, body: SmplBody) -> None:
        self.capsules = finger_capsules(body)
        self.pairs = _Capsules(self.capsules, ancestor_matrix(body.skeleton.parents).numpy().astype(bool))

    def residuals(self, e: Linearization) -> Tensor:
        met = self._met(e)
        r = np.zeros((len(e.state), self.pairs.count))
        r[met.person, met.pair] = met.depth
        return torch.as_tensor(r).to(e.state.params.transl)

    def jacobian(self, e: Linearization) -> Tensor:
        met, columns = self._met(e), e.layout.slice("body_pose")
        rows = np.zeros((len(e.state), self.pairs.count, e.layout.columns))
        rows[met.person, met.pair, columns] = self.pairs.turns(met, e.layout.body_joints)
        return torch.as_tensor(rows).to(e.state.params.transl)

    def cost(self, e: Linearization) -> Tensor:
        met = self._met(e)
        total = np.bincount(met.person, 0.5 * met.depth**2, len(e.state))
        return torch.as_tensor(total).to(e.state.params.transl)

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        met = self._met(e)
        if not len(met.person):
            return
        count = np.bincount(met.person, minlength=len(e.state))
        place = np.arange(len(met.person)) - (count.cumsum() - count)[met.person]
        r = np.zeros((len(e.state), count.max()))
        rows = np.zeros((*r.shape, e.layout.columns))
        r[met.person, place] = met.depth
        rows[met.person, place, e.layout.slice("body_pose")] = self.pairs.turns(met, e.layout.body_joints)
        like = e.state.params.transl
        sums.add_rows(torch.as_tensor(r).to(like), torch.as_tensor(rows).to(like), weight)

    def _met(self, e: Linearization) -> "_Met":
        here = (t.detach().cpu().numpy() for t in (e.posed.joints, e.posed.world, e.state.params.betas))
        return self.pairs.met(*here)

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm:
        return _NumpyApart(self.pairs)


@dataclass(frozen=True, eq=False)
class _Met:
    """The n pairs of capsules that are in each other, person by person."""

    person: NDArray[np.int64]  # (n,)
    pair: NDArray[np.int64]  # (n,) of all
    depth: Array  # (n,) r, metres
    normal: Array  # (n, 3)
    at: Array  # (n, 2, 3) A and B
    joints: Array  # (B, J, 3)


class _Capsules:
    """The residuals and their derivatives of B people in NumPy: for one person and for a batch."""

    def __init__(self, capsules: FingerCapsules, ancestors: NDArray[np.bool_]) -> None:
        """ancestors: (J, J), whether joint j is at or above joint i, [i, j]."""
        self.capsules = capsules
        across = capsules.across
        self.own, self.pairs = len(capsules.pairs), np.concatenate([capsules.pairs, across])
        self.above = ancestors[capsules.moves_with]  # (c, J)
        self.count, self.tipped = len(self.pairs), np.flatnonzero(capsules.tip.any(1))
        hands = [np.flatnonzero(capsules.hand == hand) for hand in (0, 1)]
        self.wrists = [int(capsules.start[own].min()) for own in hands] if len(across) else []

    def met(self, joints: Array, world: Array, betas: Array) -> _Met:
        """Args: joints: (B, J, 3). world: (B, J, 3, 3). betas: (B, S)."""
        return self.met_last(joints.transpose(2, 1, 0), world.transpose(2, 3, 1, 0), betas)

    def met_last(self, x: Array, world: Array, betas: Array) -> _Met:
        """The same of joints x (3, J, B) and world (3, 3, J, B): people come last. betas: (B, S), or (1, S) of all."""
        c, B = self.capsules, x.shape[2]
        start, end = np.take(x, c.start, 1), np.take(x, c.end, 1)  # (3, c, B)
        end[:, self.tipped] += np.einsum("ijcb,cj->icb", world[:, :, c.end[self.tipped]], c.tip[self.tipped])
        S = min(betas.shape[1], c.radius.shape[1] - 1)
        mean = c.radius[:, -1:]
        radius = SOFT * np.maximum(c.radius[:, :S] @ betas[:, :S].T + mean, 0.2 * mean)  # (c, B or 1)
        radius = np.broadcast_to(radius, (len(radius), B))
        pairs = self.pairs[: self.own]
        if self.wrists and (np.linalg.norm(x[:, self.wrists[0]] - x[:, self.wrists[1]], axis=0) < REACH).any():
            pairs = self.pairs
        a, b = pairs.T
        axis = end - start
        middle, half = start + 0.5 * axis, 0.5 * np.sqrt(_dot(axis, axis))
        between = np.take(middle, a, 1)
        between -= np.take(middle, b, 1)
        size = radius + half
        reach = np.take(size, a, 0)
        reach += np.take(size, b, 0)
        person, pair = (_dot(between, between) < reach * reach).T.nonzero()  # the others are too far from each other
        a, b = (which[pair] * B + person for which in (a, b))  # among the capsules of all people
        start, axis, radius = start.reshape(3, -1), axis.reshape(3, -1), radius.ravel()
        A, B = _nearest(*(np.take(x, which, 1) for which in (a, b) for x in (start, axis)))
        apart = A - B
        distance = np.sqrt(_dot(apart, apart))
        depth = radius[a] + radius[b] - distance
        inside = depth > 0
        normal = apart[:, inside] / np.maximum(distance[inside], 1e-6)
        at = np.stack([A[:, inside].T, B[:, inside].T], 1)
        return _Met(person[inside], pair[inside], depth[inside], normal.T, at, x.transpose(2, 1, 0))

    def turns(self, met: _Met, moving: tuple[int, ...]) -> Array:
        """dr/dω (n, 3 m) by the columns of the moving joints."""
        joints = list(moving)
        arms = met.at[:, :, None] - met.joints[met.person][:, None, joints]  # (n, 2, m, 3)
        above = self.above[self.pairs[met.pair]][:, :, joints]
        arms *= above[..., None]
        # (B's arm − A's) × n, as a product by [n]x from the right
        return ((arms[:, 1] - arms[:, 0]) @ so3.hat(met.normal)).reshape(len(arms), 3 * len(joints))


class _NumpyApart:
    """The term for one person."""

    def __init__(self, capsules: _Capsules) -> None:
        self.capsules = capsules

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        met = self.capsules.met(e.posed.joints[None], e.x.world[None], e.x.betas[None])
        if sums.cost_only:
            sums.cost += weight * (0.5 * float(met.depth @ met.depth))
        if sums.cost_only or not len(met.person):
            return
        rotating = e.body.rotating
        first = 3 + 3 * int(rotating[0] == 0)
        turns = self.capsules.turns(met, tuple(int(j) for j in rotating if j))
        rows = np.zeros((len(turns), len(sums.gradient)))
        rows[:, first : first + turns.shape[1]] = turns
        sums.add_rows(met.depth, rows, weight)


def _dot(a: Array, b: Array) -> Array:
    """a · b (...) of vectors (3, ...)."""
    return np.einsum("i...,i...->...", a, b)


def _nearest(p: Array, d: Array, q: Array, f: Array) -> tuple[Array, Array]:
    """The nearest points (3, ...) of the segments p + s d and q + t f, s and t from 0 to 1."""
    between = p - q
    dd, ff, df, dr, fr = _dot(d, d), _dot(f, f), _dot(d, f), _dot(d, between), _dot(f, between)
    flat = dd * ff - df * df
    s = ((df * fr - dr * ff) / np.maximum(flat, PARALLEL * dd * ff + 1e-18)).clip(0, 1)
    t = ((df * s + fr) / np.maximum(ff, 1e-12)).clip(0, 1)
    s = ((df * t - dr) / np.maximum(dd, 1e-12)).clip(0, 1)
    return p + s * d, q + t * f
