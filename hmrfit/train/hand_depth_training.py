"""Training of 2.5D networks of hands: Spurr et al.'s weak supervision (ECCV 2020), and the depth of the wrist.

    L = λ_2d mean |x − x̂| + [3D known: λ_z mean |z − ẑ| + λ_Z mean |Z − Ẑ|] + λ_BL L_BL + λ_RB L_RB + λ_A L_A

in units of one bone's length. The last three are `priors.biomechanics` on P of everybody, whether or not its 3D is
known; their limits are those of hands at the mean length of that bone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.network.hand_depth import Depths, RootDepthRefinement, closed_form
from hmrfit.priors.biomechanics import HandLimits, biomechanical_losses
from hmrfit.train.hand_losses import mean_of
from hmrfit.types import TensorRecord


@dataclass(frozen=True)
class DepthTargets(TensorRecord):
    """What is known of B hands."""

    xy: Tensor  # (B, 21, 2) in the crop's [-1, 1]
    z: Tensor  # (B, 21) about the wrist's, units of the bone's length
    depth: Tensor  # (B,) the wrist's, the same units
    known: Tensor  # (B,) bool: whether z and depth are

    def __len__(self) -> int:
        return len(self.xy)


@dataclass(frozen=True)
class DepthLossWeights:
    """λ of every term: Spurr et al.'s, as they are remembered."""

    keypoints_2d: float = 1.0
    z: float = 5.0
    depth: float = 1.0
    bone_length: float = 0.1
    palm: float = 0.1
    angles: float = 0.01

    @classmethod
    def without_biomechanics(cls) -> "DepthLossWeights":
        """What is left without L_BMC."""
        return cls(bone_length=0.0, palm=0.0, angles=0.0)


def depth_losses(
    found: Depths,
    points: Tensor,
    depth: Tensor,
    targets: DepthTargets,
    limits: HandLimits,
    weights: DepthLossWeights,
) -> dict[str, Tensor]:
    """Every term times its weight, by name.

    Args:
        points, depth: of `network.hand_depth.in_space`. limits: in units of the bone's length (`HandLimits.scaled`).
    """
    losses = {
        "keypoints_2d": weights.keypoints_2d * (found.xy - targets.xy).abs().mean(),
        "z": weights.z * mean_of((found.z - targets.z).abs().mean(1), targets.known),
        "depth": weights.depth * mean_of((depth - targets.depth).abs(), targets.known),
    }
    if weights.bone_length or weights.palm or weights.angles:
        own = biomechanical_losses(points, limits)
        losses["bone_length"] = weights.bone_length * own.bone_length.mean()
        losses["palm"] = weights.palm * own.palm.mean()
        losses["angles"] = weights.angles * own.angles.mean()
    return losses


def boxes_of(limits: HandLimits) -> HandLimits:
    """The same limits with the bounding box of every hull in its place, which forgets how flexion and abduction go
    together."""
    low, high = limits.corners.amin(1), limits.corners.amax(1)
    corners = torch.stack(
        [low, torch.stack([high[:, 0], low[:, 1]], 1), high, torch.stack([low[:, 0], high[:, 1]], 1)], 1
    )
    return HandLimits(limits.length, limits.curvature, limits.angle, corners)


def refinement_loss(
    refine: RootDepthRefinement, xy: Tensor, z: Tensor, truth: Tensor, start: Tensor | None = None
) -> Tensor:
    """mean |Z' − Ẑ| of hands with noise.

    Args:
        xy: (B, 21, 2) normalised image coordinates. z: (B, 21). truth: (B,). start: (B,) Z; None for the closed form.
    """
    return (refine(xy, z, closed_form(xy, z) if start is None else start) - truth).abs().mean()
