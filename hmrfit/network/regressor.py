"""Θ, and the iterative regressor with feedback that makes it of features (Kanazawa et al., CVPR 2018, section 3.2).

    Θ_{t+1} = Θ_t + W₃ d(a(W₂ d(a(W₁ [φ, Θ_t]))))        t = 0, 1, 2, the same W each time, Θ_0 the mean

d is dropout; a is a ReLU in HMR and nothing at all in SPIN (`activation`). W₁φ does not change with t: it is computed
once, which spares two thirds of the widest product.

Θ = [camera 3 | pose | betas], the order of the released HMR code:

    axis_angle   pose = J rotation vectors, 3 numbers each        85 numbers for SMPL (Kanazawa et al., CVPR 2018)
    6d           pose = J pairs of columns (3, 2), 6 each        157 numbers for SMPL (Kolotouros et al., ICCV 2019)
"""

from dataclasses import dataclass
from typing import Self, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmrfit.body.skeleton import SMPL
from hmrfit.ops.check import check_shape, did_you_mean
from hmrfit.ops.rotation import matrix_to_rotation_6d, matrix_to_rotvec, rotation_6d_to_matrix, rotvec_to_matrix
from hmrfit.types import BodyParams, Regression

LAST_LAYER_GAIN = 0.01
"""Xavier gain of W₃: the first ΔΘ are small, so training starts at the mean person (HMR and SPIN both)."""

FORMS = {"axis_angle": (3,), "6d": (3, 2)}
"""The shape of one joint's rotation inside Θ."""

CAMERA = 3

MEAN_SCALE = 0.9
"""s of the mean Θ: a person of 2 m, standing, fills nine tenths of the crop."""


@dataclass(frozen=True)
class ThetaLayout:
    """Which number of Θ is what."""

    form: str = "6d"
    joints: int = len(SMPL)
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


class RegressorSettings(TypedDict):
    """What builds a regressor of the same shape."""

    features: int
    form: str
    joints: int
    betas: int
    hidden: int
    dropout: float
    activation: bool
    iterations: int
    learn_mean: bool


class IterativeRegressor(nn.Module):
    """φ (B, features) -> Θ₁, Θ₂, Θ₃, each (B, layout.size)."""

    mean: Tensor

    def __init__(
        self,
        features: int,
        layout: ThetaLayout | None = None,
        mean: Tensor | None = None,
        hidden: int = 1024,
        dropout: float = 0.5,
        activation: bool = True,
        iterations: int = 3,
        learn_mean: bool = False,
    ) -> None:
        """
        Args:
            mean: (layout.size,) Θ_0; None for `layout.mean()`.
            activation: a ReLU after W₁ and W₂ as in HMR; False for SPIN's head.
            learn_mean: Θ_0 is trained with the rest, as in HMR.
        """
        super().__init__()
        self.layout = layout or ThetaLayout()
        mean = self.layout.mean() if mean is None else mean.detach().clone()
        check_shape(mean, str(self.layout.size), "mean", hint=f"It should be a Θ in the form '{self.layout.form}'.")
        self.features, self.hidden, self.activation, self.iterations = features, hidden, activation, iterations
        if learn_mean:
            self.mean = nn.Parameter(mean)
        else:
            self.register_buffer("mean", mean)
        self.fc1 = nn.Linear(features + self.layout.size, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, self.layout.size)
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.fc3.weight, gain=LAST_LAYER_GAIN)
        nn.init.zeros_(self.fc3.bias)

    def forward(self, phi: Tensor, start: Tensor | None = None) -> list[Tensor]:
        """
        Args:
            phi: (B, features). start: (B, layout.size), another Θ_0 than the mean.
        """
        theta = self.mean.expand(len(phi), -1) if start is None else start
        from_features = F.linear(phi, self.fc1.weight[:, : self.features], self.fc1.bias)
        thetas = []
        for _ in range(self.iterations):
            theta = theta + self._step(from_features, theta)
            thetas.append(theta)
        return thetas

    def _step(self, from_features: Tensor, theta: Tensor) -> Tensor:
        """ΔΘ (B, layout.size)."""
        hidden = from_features + F.linear(theta, self.fc1.weight[:, self.features :])
        hidden = self.fc2(self._activated(hidden))
        return self.fc3(self._activated(hidden))

    def _activated(self, hidden: Tensor) -> Tensor:
        return self.dropout(torch.relu(hidden) if self.activation else hidden)

    def settings(self) -> RegressorSettings:
        """What `from_settings` needs to build the same network, without its numbers."""
        return {
            "features": self.features,
            "form": self.layout.form,
            "joints": self.layout.joints,
            "betas": self.layout.betas,
            "hidden": self.hidden,
            "dropout": self.dropout.p,
            "activation": self.activation,
            "iterations": self.iterations,
            "learn_mean": isinstance(self.mean, nn.Parameter),
        }

    @classmethod
    def from_settings(
        cls,
        features: int,
        form: str,
        joints: int,
        betas: int,
        hidden: int,
        dropout: float,
        activation: bool,
        iterations: int,
        learn_mean: bool,
    ) -> Self:
        """A network of the same shape, its weights still random and its mean 0: both come from a file."""
        layout = ThetaLayout(form, joints, betas)
        return cls(features, layout, torch.zeros(layout.size), hidden, dropout, activation, iterations, learn_mean)
