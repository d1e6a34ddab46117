"""T frames, or people, with the frames last in memory, and the sums that the terms of `people_last` add to."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hmrfit.ops.rotation_last import product_mT, right_jacobian_inverse

Log = tuple[Tensor, Tensor]
"""Rotation vectors (n, 3, T), and their angles (n, T)."""


@dataclass
class PosedFrames:
    """T bodies: frames of one shape, or people."""

    rotations: Tensor  # (J, 3, 3, T) local
    world: Tensor  # (J, 3, 3, T)
    joints: Tensor  # (J, 3, T) metres
    pairs: Tensor  # (N, 3, T)
    points: Tensor  # (K, 3, T)
    betas: Tensor  # (S, 1) of all, or (S, T)
    theta: Log | None = None  # log R of the joints after the root, where a term looks at them

    @cached_property
    def theta_turns(self) -> Tensor:
        """dθ/dω (J - 1, 3, 3, T), by turns about the camera's axes."""
        assert self.theta is not None
        return product_mT(right_jacobian_inverse(*self.theta), self.world[1:])

    def to(self, kind: torch.dtype) -> "PosedFrames":
        """The same in numbers of this kind."""
        if self.points.dtype == kind:
            return self
        own = self.rotations, self.world, self.joints, self.pairs, self.points, self.betas
        rotations, world, joints, pairs, points, betas = (part.to(kind) for part in own)
        return PosedFrames(rotations, world, joints, pairs, points, betas)


@dataclass
class Sums:
    """What the terms of T frames add up to. hessian: None where E alone is wanted."""

    cost: Tensor  # (T,)
    gradient: Tensor  # (T, P)
    hessian: Tensor | None  # (T, P, P)
