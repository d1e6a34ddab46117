"""Networks for 2.5D hands: places in the image and depths about the wrist (Iqbal et al., ECCV 2018; Spurr et al., ECCV
2020), and the refinement of the wrist's depth.

    (x_k, y_k, z_k), k = 1 … 21     = head(encoder(...))      x, y in the crop's [-1, 1]; z in units of BONE's length
    Z' = Z + MLP([z, x, y, Z])        64 -> 128 BN LeakyReLU -> 128 BN LeakyReLU -> 1;  x, y normalised (K⁻¹), Z of a
                                      closed form (`ops.root_depth`), whose gradient is not followed
    P_k = (Z' + z_k) (x_k, y_k, 1)    in units of BONE's length

BONE is the index finger's from the wrist: the middle finger's points at the camera more often, where the closed form
has no answer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hmrfit.camera import Camera, crop_to_pixels
from hmrfit.network.encoders import Encoder
from hmrfit.network.hmr import EncoderInput
from hmrfit.ops.check import check_shape
from hmrfit.ops.root_depth import normalised, points_at, root_depth_of_bone
from hmrfit.types import TensorRecord

POINTS = 21

BONE = (0, 5)
"""Wrist and index knuckle of hand21: the bone of length 1."""

NEAREST, FARTHEST = 1.5, 60.0
"""Of the wrist, in units of that bone: beyond, the closed form is clamped (PeCLR's code has 4 and 50)."""

WIDTH = 128


@dataclass(frozen=True)
class Depths(TensorRecord):
    """B hands in 2.5D."""

    xy: Tensor  # (B, 21, 2) in the crop's [-1, 1]
    z: Tensor  # (B, 21) about the wrist's, in units of BONE's length

    def __len__(self) -> int:
        return len(self.xy)


class DepthNetwork(nn.Module):
    """An encoder of images or of keypoints, and a linear head."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.features, 3 * POINTS)
        nn.init.xavier_uniform_(self.head.weight, gain=0.1)
        nn.init.zeros_(self.head.bias)

    def forward(self, *inputs: EncoderInput) -> Depths:
        """The arguments are the encoder's."""
        numbers = self.head(self.encoder(*inputs)).unflatten(1, (POINTS, 3))
        return Depths(numbers[..., :2], numbers[..., 2] - numbers[:, :1, 2])


class RootDepthRefinement(nn.Module):
    """Z' = Z + MLP([z, x, y, Z]) of hands with known cameras."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (3 * POINTS + 1, width):
            layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.LeakyReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, xy: Tensor, z: Tensor, depth: Tensor) -> Tensor:
        """
        Args:
            xy: (B, 21, 2) normalised image coordinates. z: (B, 21) about the wrist's. depth: (B,) Z, not followed.
        """
        sizes = check_shape(xy, f"B {POINTS} 2", "xy")
        check_shape(z, f"B {POINTS}", "z", sizes)
        depth = depth.detach()
        inputs = torch.cat([z, xy.flatten(1), depth[:, None]], 1)
        return depth + self.layers(inputs).squeeze(1)


def closed_form(xy: Tensor, z: Tensor, bone: tuple[int, int] = BONE) -> Tensor:
    """Z (B,) by one bone, kept between NEAREST and FARTHEST."""
    return root_depth_of_bone(xy, z, bone).clamp(NEAREST, FARTHEST)


def in_space(
    found: Depths, box_center: Tensor, box_side: Tensor, camera: Camera, refine: RootDepthRefinement | None = None
) -> tuple[Tensor, Tensor]:
    """(P (B, 21, 3) camera frame, Z (B,) of the wrist), in units of BONE's length. box_center (B, 2), box_side (B,):
    the crop, pixels of the camera's picture."""
    xy = normalised(crop_to_pixels(found.xy, box_center, box_side), camera.focal, camera.center)
    depth = closed_form(xy.detach(), found.z.detach())
    depth = depth if refine is None else refine(xy, found.z, depth).clamp(NEAREST, FARTHEST)
    return points_at(xy, found.z, depth), depth
