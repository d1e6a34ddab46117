"""The pose prior of hands on a body: one Gaussian on the 45 numbers log R of either hand's fingers.

    E = Σ_sides ½ (θ_s − μ_s)ᵀ Λ_s (θ_s − μ_s),      θ = log R of the 15 finger joints, radians

μ and Λ of the left hand are the mirror image of the right one's (`hmrfit.priors.gmm`, one component). A hand without
keypoints stays at μ, as uncertain as Λ says.
"""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.skeleton import Skeleton
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyLinearization, NumpySums, NumpyTerm
from hmrfit.fitting.parameters import Layout, Linearization, Observation
from hmrfit.fitting.terms.base import Term
from hmrfit.priors.gmm import PoseGmm

Array = NDArray[np.float64]


class HandPosePrior(Term):
    """The Gaussian on the fingers of a body with hands.

    Args:
        skeleton: of the body; its fingers' joints follow each other, hand by hand, as in SMPL-H and SMPL-X.
        right: of a right hand's 15 joints, one component.
    Raises:
        ValueError: the mixture has several components, or is not about a right hand's fingers.
    """

    name = "hand_pose"
    points_only: ClassVar[bool] = True

    def __init__(self, skeleton: Skeleton, right: PoseGmm) -> None:
        if len(right.means) != 1:
            raise ValueError(f"The pose prior of a body's hands has one component, not {len(right.means)}.")
        names = tuple(skeleton.names[j] for j in skeleton.fingers["right"])
        if right.joint_names != names:
            raise ValueError(f"The pose prior of hands is about {right.joint_names[:2]}..., not about {names[:2]}....")
        self.joints = {side: torch.tensor(joints) for side, joints in skeleton.fingers.items()}
        own = {"right": right, "left": right.mirrored()}
        self.mean = {side: own[side].means[0] for side in self.joints}
        self.precision = {side: own[side].precisions[0] for side in self.joints}

    def energy_of(self, theta: Tensor, side: str) -> Tensor:
        """E (B,) of one hand. theta: (B, 3 (J-1)) of the body. side: "left" or "right"."""
        away = theta.unflatten(1, (-1, 3))[:, self.joints[side] - 1].flatten(1) - self.mean[side]
        return 0.5 * ((away @ self.precision[side]) * away).sum(-1)

    def residuals(self, e: Linearization) -> Tensor:
        theta = e.theta.unflatten(1, (-1, 3))
        parts = []
        for side, joints in self.joints.items():
            away = theta[:, joints - 1].flatten(1) - self.mean[side]
            parts.append(away @ torch.linalg.cholesky(self.precision[side]))
        return torch.cat(parts, 1)

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        moving = {joint: place for place, joint in enumerate(e.layout.body_joints)}
        theta = e.theta.unflatten(1, (-1, 3))
        B, D = len(theta), 3 * len(moving)
        cost, gradient = theta.new_zeros(B), theta.new_zeros(B, D)
        hessian = theta.new_zeros(B, D, D)
        for side, joints in self.joints.items():
            away = theta[:, joints - 1].flatten(1) - self.mean[side]
            pull = away @ self.precision[side]
            cost = cost + 0.5 * (pull * away).sum(-1)
            own = [i for i, joint in enumerate(joints.tolist()) if joint in moving]
            if not own:
                continue
            at = [3 * moving[int(joints[i])] + axis for i in own for axis in range(3)]
            of = [3 * i + axis for i in own for axis in range(3)]
            gradient[:, at] = pull[:, of]
            hessian[:, torch.tensor(at)[:, None], torch.tensor(at)] = self.precision[side][of][:, of]
        sums.add_pose(cost, gradient, hessian, weight)

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm | None:
        rotating = layout.rotating
        hands = []
        for side, joints in self.joints.items():
            own = joints.tolist()
            first = rotating.index(own[0]) if own[0] in rotating else 0
            if rotating[first : first + len(own)] != tuple(own):
                return None
            columns = slice(3 + 3 * first, 3 + 3 * (first + len(own)))
            hands.append((joints.numpy(), columns, self.mean[side].numpy(), self.precision[side].numpy()))
        return _NumpyHandPose(hands)


class _NumpyHandPose:
    """The same for one person: (joints (15,), their columns, μ, Λ) of either hand."""

    def __init__(self, hands: list[tuple[NDArray[np.int64], slice, Array, Array]]) -> None:
        self.hands = hands

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        for joints, columns, mean, precision in self.hands:
            away = e.theta[joints - 1].ravel() - mean
            pull = precision @ away
            T = e.theta_derivative[joints - 1] @ e.x.world[joints].transpose(0, 2, 1)
            sums.cost += weight * (0.5 * float(pull @ away))
            sums.of_turns.append((columns, pull, precision, T, weight))
