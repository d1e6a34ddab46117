"""The terms of hands with frames last in memory, for `hmrfit.fitting.people_last`: the Gaussian on the pose, the hulls
of the fingers' joints, fingers that are in each other, and the shape's prior. The numbers are those of the terms
themselves.
"""

from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from hmrfit.fitting.parameters import Layout
from hmrfit.fitting.posed_last import PosedFrames, Sums
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.terms.finger_limits import FingerLimits
from hmrfit.fitting.terms.fingers_apart import FingersApart
from hmrfit.fitting.terms.pose_prior import PosePrior
from hmrfit.fitting.terms.shape import ShapePrior


class TermLast(Protocol):
    """A term of T frames, or people. by_theta: whether it looks at `PosedFrames.theta`."""

    by_theta: ClassVar[bool]

    def add(self, posed: PosedFrames, sums: Sums, kind: torch.dtype | None) -> None:
        """Adds E, gradient and Hessian. kind: of the Hessian's numbers; None where E alone is wanted."""


def term_last(term: Term, weight: float, layout: Layout) -> TermLast | None:
    """The term with frames last; None where it has no such form."""
    if type(term) is ShapePrior:
        return ShapeLast(weight, layout)
    if type(term) is PosePrior and len(term.gmm.means) == 1 and term.marginal(layout) == (term.gmm, None):
        return PosePriorLast(term, weight, layout)
    every = set(layout.body_joints)
    if type(term) is FingerLimits and every >= set(term.joints.ravel().tolist()):
        return FingerLimitsLast(term, weight, layout)
    return FingersApartLast(term, weight, layout) if type(term) is FingersApart else None


class ShapeLast:
    """½ |β|²."""

    by_theta: ClassVar[bool] = False

    def __init__(self, weight: float, layout: Layout) -> None:
        self.weight, self.columns = weight, layout.slice("betas")

    def add(self, posed: PosedFrames, sums: Sums, kind: torch.dtype | None) -> None:
        betas, weight = posed.betas, self.weight
        sums.cost += 0.5 * weight * betas.square().sum(0)
        if kind is not None and sums.hessian is not None:
            sums.gradient[:, self.columns] += weight * betas.T
            sums.hessian.diagonal(dim1=1, dim2=2)[:, self.columns] += weight


class PosePriorLast:
    """½ |Fᵀ(θ − μ)|² + a. The columns turn θ by T = dθ/dω, block by block: H = (Tᵀ F)(Tᵀ F)ᵀ."""

    by_theta: ClassVar[bool] = True

    def __init__(self, term: PosePrior, weight: float, layout: Layout) -> None:
        gmm, self.weight, self.columns = term.gmm, weight, layout.slice("body_pose")
        self.joints, self.constant = layout.body_index, gmm.constants[0]
        self.mean, self.factor = gmm.means[0][:, None], gmm.factors[0]
        rows = self.factor.view(len(self.joints), 3, 1, -1)
        self.rows = {kind: rows.to(kind) for kind in (torch.float32, torch.float64)}

    def add(self, posed: PosedFrames, sums: Sums, kind: torch.dtype | None) -> None:
        n, weight = len(self.joints), self.weight
        assert posed.theta is not None
        white = self.factor.T @ (posed.theta[0].index_select(0, self.joints - 1).flatten(0, 1) - self.mean)
        sums.cost += weight * (0.5 * white.square().sum(0) + self.constant)
        if kind is None or sums.hessian is None:
            return
        T = posed.theta_turns.index_select(0, self.joints - 1)  # (n, 3, 3, T)
        pull = (self.factor @ white).view(n, 3, 1, -1)
        pulled = (T * pull).sum(1)
        sums.gradient[:, self.columns] += weight * pulled.flatten(0, 1).T
        by_joint, rows = T.permute(3, 0, 1, 2).contiguous().to(kind)[..., None], self.rows[kind]
        moved = by_joint[:, :, 0] * rows[:, 0]  # (T, n, 3, D), three sums in all
        moved.addcmul_(by_joint[:, :, 1], rows[:, 1]).addcmul_(by_joint[:, :, 2], rows[:, 2])
        own = moved.flatten(1, 2)
        sums.hessian[:, self.columns, self.columns].baddbmm_(own, own.mT, alpha=weight)


class FingerLimitsLast:
    """The hulls of 15 joints: what a finger's residuals have with its own three joints."""

    by_theta: ClassVar[bool] = False

    def __init__(self, term: FingerLimits, weight: float, layout: Layout) -> None:
        self.hand, self.weight = term.hand, weight
        place = {joint: i for i, joint in enumerate(layout.body_joints)}
        first = np.array([[place[int(j)] for j in finger] for finger in term.joints])  # (5, 3)
        start = layout.slice("body_pose").start
        self.columns = torch.tensor((start + 3 * first[..., None] + np.arange(3)).reshape(5, 9))
        self.places = torch.tensor(term.hand.places)

    def add(self, posed: PosedFrames, sums: Sums, kind: torch.dtype | None) -> None:
        world = posed.world.index_select(0, self.places).permute(1, 2, 0, 3).contiguous()
        r, turns = self.hand.of_last(world.numpy(), kind is not None)
        residuals = torch.from_numpy(r)
        sums.cost += 0.5 * self.weight * residuals.square().sum(1)
        if turns is None or kind is None or sums.hessian is None:
            return
        hand, finger = torch.from_numpy(turns.hand), torch.from_numpy(turns.finger)
        rows = torch.from_numpy(turns.by_joint).flatten(2)  # (m, 3, 9)
        own = residuals[hand[:, None], 3 * finger[:, None] + torch.arange(3)]
        columns = self.columns[finger]
        sums.gradient[hand[:, None], columns] += self.weight * (own[:, None] @ rows)[:, 0]  # none is there twice
        rows = rows.to(kind)
        block = self.weight * (rows.mT @ rows)
        sums.hessian[hand[:, None, None], columns[:, :, None], columns[:, None]] += block


class FingersApartLast:
    """The pairs of capsules that are in each other, mostly a few of a frame."""

    by_theta: ClassVar[bool] = False

    def __init__(self, term: FingersApart, weight: float, layout: Layout) -> None:
        self.capsules, self.weight, self.layout = term.pairs, weight, layout

    def add(self, posed: PosedFrames, sums: Sums, kind: torch.dtype | None) -> None:
        joints, world = posed.joints.permute(1, 0, 2).numpy(), posed.world.permute(1, 2, 0, 3).numpy()
        met = self.capsules.met_last(joints, world, posed.betas.T.numpy())
        depth: NDArray[np.float64] = met.depth
        person = torch.from_numpy(met.person)
        sums.cost.index_add_(0, person, torch.from_numpy(0.5 * self.weight * depth**2))
        if kind is None or sums.hessian is None or not len(depth):
            return
        columns = self.layout.slice("body_pose")
        rows = torch.from_numpy(self.capsules.turns(met, self.layout.body_joints))
        sums.gradient[:, columns].index_add_(0, person, torch.from_numpy(self.weight * depth)[:, None] * rows)
        rows = (self.weight**0.5 * rows).to(kind)
        sums.hessian[:, columns, columns].index_add_(0, person, rows[:, :, None] * rows[:, None])
