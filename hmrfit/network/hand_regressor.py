"""The hand of Boukhayma et al. (3D Hand Shape and Pose from Images in the Wild, CVPR 2019): 22 numbers of an image.

    Θ = Θ₀ + W φ + b        φ of a ResNet;  Θ = [s 1 | t 2 | r 3 | c 6 | β 10],  Θ₀ = (545, 128, 128, 0, …, 0)

    θ = μ + c C             the 45 numbers of the finger joints: MANO's mean pose and its first six components
    x̂ = t + s X_xy          PIXELS of the crop, 256 wide: translation after scaling, the other way round than HMR

X is the hand in metres, turned by R(r) after half a turn about x. The released code turns about the origin of MANO's
file, here the wrist stays where it is: t alone differs. For a crop of another size than 256, Θ₀'s camera is scaled.

c and r are what the layer gives; the weights hold μ and C, so that a file of them says what its numbers mean.
"""

from dataclasses import dataclass
from typing import ClassVar, Self, TypedDict

import torch
from torch import Tensor, nn

from hmrfit.body.hands import HandPoses
from hmrfit.ops.check import check_shape
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, Regression

CAMERA, ROTATION = 3, 3

PUBLISHED = 256
"""Pixels of the published crop."""

MEAN_SCALE = 545.0
"""Pixels of that crop per metre: Θ₀'s s."""

SMALLEST = 1e-6
"""Of a scale, where it is divided by."""

FINGER_JOINTS = 15


@dataclass(frozen=True)
class HandRegression(Regression):
    """What the network says of a hand: `params` and `weak_camera` as every network here says it, and Θ itself."""

    numbers: Tensor  # (B, 22)

    @property
    def pixel_camera(self) -> Tensor:
        """(B, 3) s, t_x, t_y: pixels of the crop."""
        return self.numbers[:, :CAMERA]


@dataclass(frozen=True)
class HandLayout:
    """Which number of Θ is what."""

    poses: HandPoses  # μ (45,) and the N components that are used
    betas: int
    resolution: int

    form: ClassVar[str] = "pca"

    @property
    def joints(self) -> int:
        """The wrist's among them."""
        return FINGER_JOINTS + 1

    @property
    def size(self) -> int:
        """How many numbers Θ has."""
        return CAMERA + ROTATION + len(self.poses.components) + self.betas

    def split(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Θ (B, size) -> camera (B, 3), r (B, 3), c (B, N), betas (B, S)."""
        camera, turn, pose, betas = theta.split([CAMERA, ROTATION, len(self.poses.components), self.betas], -1)
        return camera, turn, pose, betas

    def regression(self, theta: Tensor) -> HandRegression:
        """Θ (B, size) -> rotation matrices, betas and the weak camera of the crop's [-1, 1]."""
        camera, turn, pose, betas = self.split(theta)
        half_turn = theta.new_tensor([1.0, -1.0, -1.0])
        params = BodyParams(
            rotvec_to_matrix(turn) * half_turn, self.poses.rotations(pose), betas, torch.zeros_like(turn)
        )
        return HandRegression(params, pixels_to_weak(camera, self.resolution), theta)

    def mean(self) -> Tensor:
        """Θ₀ (size,)."""
        mean = torch.zeros(self.size)
        scale = self.resolution / PUBLISHED
        mean[:CAMERA] = torch.tensor([MEAN_SCALE * scale, self.resolution / 2, self.resolution / 2])
        return mean


def pixels_to_weak(camera: Tensor, resolution: int) -> Tensor:
    """x̂ = t + s X in pixels of a crop -> x̂ = s' (X + t') in its [-1, 1]: (B, 3) both."""
    scale = 2 * camera[:, :1] / resolution
    safe = torch.where(scale.abs() < SMALLEST, SMALLEST, scale)
    return torch.cat([scale, (2 * camera[:, 1:] / resolution - 1) / safe], 1)


def weak_to_pixels(weak: Tensor, resolution: int) -> Tensor:
    """The inverse of `pixels_to_weak`."""
    scale = weak[:, :1] * resolution / 2
    return torch.cat([scale, scale * weak[:, 1:] + resolution / 2], 1)


def project_to_pixels(points: Tensor, camera: Tensor) -> Tensor:
    """t + s X_xy (B, K, 2) of points (B, K, 3) and cameras (B, 3)."""
    return camera[:, None, 1:] + camera[:, None, :1] * points[..., :2]


class HandRegressorSettings(TypedDict):
    """What builds a regressor of the same shape."""

    kind: str
    features: int
    components: int
    betas: int
    resolution: int


class HandRegressor(nn.Module):
    """φ (B, features) -> [Θ], one linear layer."""

    kind: ClassVar[str] = "hand"
    mean: Tensor
    hands_mean: Tensor
    hands_components: Tensor

    def __init__(
        self,
        features: int,
        poses: HandPoses | None = None,
        components: int = 6,
        betas: int = 10,
        resolution: int = PUBLISHED,
    ) -> None:
        """
        Args:
            poses: the hand's mean and components, of which `components` are used; None for zeros, to be filled from a
                file. resolution: pixels of the crop that Θ's camera is about.
        Raises:
            ValueError: there are fewer components.
        """
        super().__init__()
        if poses is None:
            poses = HandPoses(torch.zeros(3 * FINGER_JOINTS), torch.zeros(components, 3 * FINGER_JOINTS))
        check_shape(poses.mean, str(3 * FINGER_JOINTS), "the hand's mean pose")
        if not 0 < components <= len(poses.components):
            raise ValueError(f"The hand has {len(poses.components)} pose components; {components} of them were asked.")
        self.features, self.betas, self.resolution = features, betas, resolution
        self.register_buffer("hands_mean", poses.mean.detach().float().clone())
        self.register_buffer("hands_components", poses.components[:components].detach().float().clone())
        self.register_buffer("mean", self.layout.mean())
        self.fc = nn.Linear(features, self.layout.size)
        nn.init.zeros_(self.fc.bias)

    @property
    def layout(self) -> HandLayout:
        """Which number of Θ is what."""
        return HandLayout(HandPoses(self.hands_mean, self.hands_components), self.betas, self.resolution)

    def forward(self, phi: Tensor) -> list[Tensor]:
        """phi: (B, features)."""
        return [self.mean + self.fc(phi)]

    def settings(self) -> HandRegressorSettings:
        """What `from_settings` needs to build the same network, without its numbers."""
        return {
            "kind": self.kind,
            "features": self.features,
            "components": len(self.hands_components),
            "betas": self.betas,
            "resolution": self.resolution,
        }

    @classmethod
    def from_settings(cls, kind: str, features: int, components: int, betas: int, resolution: int) -> Self:
        """A network of the same shape, its weights still random. kind: "hand", which told it from the others."""
        return cls(features, None, components, betas, resolution)
