"""Joint limits: a hinge outside a box of rotation-vector coordinates.

    r_i = max(theta_i - upper_i, 0) / s + min(theta_i - lower_i, 0) / s,       s = the softness, radians

Zero inside the box, so it costs nothing where people move, and grows like a square outside.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmrfit.body.skeleton import Skeleton
from hmrfit.io.bounded import read_fields
from hmrfit.ops.check import check_finite
from hmrfit.priors.joints import joints_in_file, shared_joints

SOFTNESS = 0.1
"""Radians beyond a limit that cost 1/2, as much as one standard deviation does."""


class JointLimits:
    """The box, ready to be evaluated. Inputs theta (B, D), radians."""

    def __init__(
        self, lower: Tensor, upper: Tensor, softness: float = SOFTNESS, joint_names: Sequence[str] = ()
    ) -> None:
        """lower, upper: (D,) or (J-1, 3) radians, lower < upper; infinite where there is no limit.

        joint_names: of the D/3 joints, where they are known; `for_skeleton` needs them.
        """
        self.lower, self.upper, self.softness = lower.flatten(), upper.flatten(), softness
        self.joint_names = tuple(joint_names)
        if not (self.lower < self.upper).all():
            raise ValueError("Joint limits: expected every lower limit below its upper one; check the file.")

    @classmethod
    def from_file(cls, path: str | Path) -> "JointLimits":
        """From an npz with lower and upper (J-1, 3) and, optionally, joint_names (J-1,).

        Raises:
            ValueError: shapes that differ, NaN, a lower limit that is not below its upper one.
        """
        lower, upper = (a.astype(np.float64) for a in read_fields(path, ("lower", "upper")))
        if lower.shape != upper.shape:
            raise ValueError(f"{path}: the lower limits have the shape {lower.shape}, the upper ones {upper.shape}.")
        check_finite(lower, "lower limits")
        check_finite(upper, "upper limits")
        names = joints_in_file(path, lower.size // 3)
        return cls(torch.as_tensor(lower), torch.as_tensor(upper), joint_names=names)

    @classmethod
    def none(cls, skeleton: Skeleton) -> "JointLimits":
        """No limit of any joint."""
        infinite = torch.full((skeleton.pose_size - 3,), torch.inf, dtype=torch.float64)
        return cls(-infinite, infinite, joint_names=skeleton.names[1:])

    def for_skeleton(self, skeleton: Skeleton) -> "JointLimits":
        """The limits of this body's joints; those that it has beside the ones known here have none.

        Raises:
            ValueError: the body has none of the joints, or the limits do not say which joints they are about.
        """
        shared = shared_joints(self.joint_names, len(self.lower) // 3, skeleton, "The joint limits speak of")
        if self.joint_names in ((), skeleton.names[1:]):
            return self
        own = [3 * self.joint_names.index(name) + axis for name in shared for axis in range(3)]
        lower = self.lower.new_full((skeleton.pose_size - 3,), -torch.inf)
        upper = torch.full_like(lower, torch.inf)
        columns = list(skeleton.columns(shared))
        lower[columns], upper[columns] = self.lower[own], self.upper[own]
        return JointLimits(lower, upper, self.softness, skeleton.names[1:])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "JointLimits":
        """The same limits elsewhere or in another precision."""
        lower, upper = (t.to(device=device, dtype=dtype) for t in (self.lower, self.upper))
        return JointLimits(lower, upper, self.softness, self.joint_names)

    def residuals(self, theta: Tensor) -> Tensor:
        """r (B, D)."""
        return ((theta - self.upper).clamp_min(0) + (theta - self.lower).clamp_max(0)) / self.softness

    def quadratic(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """1/2 |r|² (B,), its gradient (B, D) and the diagonal of its Hessian (B, D)."""
        r = self.residuals(theta)
        outside = (r != 0).to(theta) / self.softness**2
        return 0.5 * r.square().sum(-1), r / self.softness, outside
