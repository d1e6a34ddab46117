"""HMR: Θ₁, Θ₂, Θ₃ = regressor(encoder(inputs)), each a body and a weak camera (Kanazawa et al., CVPR 2018).

hmr(images)[-1]              the last iteration of an image HMR
hmr(points, names)[-1]       the same of a keypoint HMR, points as `normalise_keypoints` makes them

From pixels to a body before the full image's camera: `initial_estimate.KeypointHmr` and `ImageHmr`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hmrfit.camera import Camera, pixels_to_crop, weak_to_translation
from hmrfit.network.encoders import Encoder
from hmrfit.network.hand_regressor import HandRegressor
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.ops.how_many import how_many
from hmrfit.types import BodyParams, Regression

MIN_SCALE = 0.05
"""The least s that becomes a translation: a person of 40 m. A network may estimate 0 or a negative one."""

EncoderInput = Tensor | str | Sequence[str] | None
"""Images (B, 3, H, W); or points (B, K, 3), their names or a set's name, and a view (B, 3)."""


class HMR(nn.Module):
    """An encoder and the iterative regressor."""

    def __init__(self, encoder: Encoder, regressor: IterativeRegressor | HandRegressor | None = None) -> None:
        """regressor: None for one in the 6D form that fits the encoder; a `HandRegressor` makes it Boukhayma's network
        of hands, with one iteration.

        Raises:
            ValueError: the regressor takes another number of features than the encoder gives.
        """
        super().__init__()
        regressor = regressor or IterativeRegressor(encoder.features)
        if regressor.features != encoder.features:
            raise ValueError(
                f"The encoder gives {how_many(encoder.features, 'features')}, but the regressor takes "
                f"{regressor.features}. Build "
                f"it with IterativeRegressor(features={encoder.features})."
            )
        self.encoder, self.regressor = encoder, regressor

    def thetas(self, *inputs: EncoderInput, **named: EncoderInput) -> list[Tensor]:
        """Θ of every iteration, (B, layout.size) each; the arguments are the encoder's."""
        return self.regressor(self.encoder(*inputs, **named))

    def forward(self, *inputs: EncoderInput, **named: EncoderInput) -> list[Regression]:
        """Every iteration as rotations, betas and weak camera; the arguments are the encoder's."""
        thetas = self.thetas(*inputs, **named)
        with torch.autocast(thetas[0].device.type, enabled=False):  # rotations keep full precision
            return [self.regressor.layout.regression(theta.to(self.regressor.mean)) for theta in thetas]

    @property
    def dtype(self) -> torch.dtype:
        """The precision the network computes in."""
        return self.regressor.mean.dtype


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """`module` in evaluation mode (no dropout, running statistics), and afterwards as it was."""
    if not module.training:  # walking through all the parts takes as long as a layer does
        yield
        return
    module.eval()
    try:
        yield
    finally:
        module.train()


def in_full_image(regression: Regression, box_center: Tensor, box_side: Tensor, camera: Camera) -> BodyParams:
    """The regression's body with its translation (B, 3) before the full image's camera, metres."""
    params = regression.params
    transl = weak_to_translation(in_front(regression.weak_camera), box_center, box_side, camera)
    return BodyParams(params.global_orient, params.body_pose, params.betas, transl)


def in_front(weak_camera: Tensor) -> Tensor:
    """The weak camera with a scale that still means a depth before the camera."""
    return torch.cat([weak_camera[:, :1].clamp_min(MIN_SCALE), weak_camera[:, 1:]], -1)


def project_in_crop(points: Tensor, weak_camera: Tensor, view: Tensor) -> Tensor:
    """Perspective instead of x̂ = s (X + t): what the full image's camera sees, in the crop's [-1, 1].

    The weak camera becomes a translation as in `in_full_image`; from there the pinhole projects. For a far camera it is
    `weak_project`. A lens of 20 to 50 mm is not: trained by the weak projection, the body bends to explain perspective.

    Args:
        points: (B, K, 3) metres, the body without translation. weak_camera: (B, 3). view: (B, 3) from `view_of_box`,
            which is all of box and camera that matters.
    """
    center, side = view[:, :2], view[:, 2]
    unit = Camera(torch.ones_like(center), torch.zeros_like(center), torch.ones_like(center))
    transl = weak_to_translation(in_front(weak_camera), center, side, unit)
    return pixels_to_crop(unit.project(points + transl[:, None]), center, side)
