"""Θ, the vector the regressor adds to: [camera 3 | pose | betas], the order of the released HMR code.

axis_angle   pose = J rotation vectors, 3 numbers each        85 numbers for SMPL (Kanazawa et al., CVPR 2018)
6d           pose = J pairs of columns (3, 2), 6 each        157 numbers for SMPL (Kolotouros et al., ICCV 2019)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.ops.check import did_you_mean
from hmrfit.ops.rotation import matrix_to_rotation_6d, matrix_to_rotvec, rotation_6d_to_matrix, rotvec_to_matrix
from hmrfit.types import BodyParams, Regression

FORMS = {"axis_angle": (3,), "6d": (3, 2)}
"""The shape of one joint's rotation inside Θ."""

CAMERA = 3

MEAN_SCALE = 0.9
"""s of the mean Θ: a person of 2 m, standing, fills nine tenths of the crop."""


@dataclass(frozen=True)
class ThetaLayout:
    """Which number of Θ is what."""

    form: str = "6d"
    joints: int = 24
    betas: int = 10

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(
                f"There is no form '{self.form}' of Θ.{did_you_mean(self.form, FORMS)} Forms: {', '.join(FORMS)}."
            )

    @property
    def pose(self) -> int:
        """How many numbers the rotations take."""
        return self.joints * (3 if self.form == "axis_angle" else 6)

    @property
    def size(self) -> int:
        """How many numbers Θ has."""
        return CAMERA + self.pose + self.betas

    def split(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Θ (..., size) -> camera (..., 3), pose (..., J, 3) or (..., J, 3, 2), betas (..., S)."""
        camera, pose, betas = theta.split([CAMERA, self.pose, self.betas], -1)
        return camera, pose.unflatten(-1, (self.joints, *FORMS[self.form])), betas

    def pack(self, rotations: Tensor, betas: Tensor, camera: Tensor) -> Tensor:
        """Rotations (..., J, 3, 3), betas (..., S), camera (..., 3) -> Θ (..., size)."""
        to_form = matrix_to_rotvec if self.form == "axis_angle" else matrix_to_rotation_6d
        return torch.cat([camera, to_form(rotations).flatten(rotations.ndim - 3), betas], -1)

    def regression(self, theta: Tensor) -> Regression:
        """Θ (B, size) -> rotation matrices, betas and the weak camera."""
        camera, pose, betas = self.split(theta)
        rotations = rotvec_to_matrix(pose) if self.form == "axis_angle" else rotation_6d_to_matrix(pose)
        params = BodyParams(rotations[:, 0], rotations[:, 1:], betas, torch.zeros_like(camera))
        return Regression(params, camera)

    def mean(self, body_pose: Tensor | None = None, betas: Tensor | None = None, scale: float = MEAN_SCALE) -> Tensor:
        """The Θ to start from (size,): an upright person facing the camera, global_orient = half a turn about x.

        Args:
            body_pose: (J-1, 3) or flat rotation vectors of a mean pose; None for the rest pose.
            betas: (S,) a mean shape; None for zeros.
        """
        rotvecs = torch.zeros(self.joints, 3)
        rotvecs[0, 0] = torch.pi
        if body_pose is not None:
            rotvecs[1:] = body_pose.reshape(self.joints - 1, 3)
        betas = torch.zeros(self.betas) if betas is None else betas.to(rotvecs)
        camera = torch.tensor([scale, 0.0, 0.0])
        if self.form == "axis_angle":  # straight through, so that not even a rounding lies between
            return torch.cat([camera, rotvecs.flatten(), betas])
        return self.pack(rotvec_to_matrix(rotvecs), betas, camera)
