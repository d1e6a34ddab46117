"""What the image network of hands is trained with, for the one trainer: batches of `Mixed`, `hand_losses`, and for an
encoder that takes them heat maps of noisy keypoints, as a detector has them."""

import torch
from torch import Tensor

from hmrfit.network.encoders import heatmaps_of
from hmrfit.network.hand_regressor import HandLayout, HandRegression
from hmrfit.network.hmr import EncoderInput
from hmrfit.synthetic.dataset import scene_generator
from hmrfit.synthetic.hand_scenes import HandSample
from hmrfit.train.hand_losses import HandLosses
from hmrfit.train.images import Mixed
from hmrfit.train.objectives import ObjectiveState, as_input
from hmrfit.types import BodyParams, Regression

DETECTED = 0.015
"""Deviation of a detector's keypoints in training, a fraction of the crop's side."""

MISSING = 0.05
"""Of its keypoints."""


class HandImageObjective:
    """Of Boukhayma's network. It has no discriminators."""

    adversarial = 0.0

    def __init__(
        self, hands: Mixed[HandSample], losses: HandLosses, layout: HandLayout, heatmaps: bool = False
    ) -> None:
        self.hands, self.of_hands, self.layout, self.heatmaps = hands, losses, layout, heatmaps

    def batch(self, count: int, progress: float) -> HandSample:
        return self.hands.batch(count)

    def inputs(self, batch: HandSample) -> tuple[EncoderInput, ...]:
        images = as_input(batch.images)
        return (images, self._detected(batch)) if self.heatmaps else (images,)

    def _detected(self, batch: HandSample) -> Tensor:
        """Heat maps of the keypoints with noise and gaps, which the position among the data decides."""
        generator = scene_generator(self.hands.seed, self.hands.position)
        noise = torch.randn(batch.keypoints.shape, generator=generator).to(batch.keypoints)
        shown = (torch.rand(batch.confidence.shape, generator=generator) > MISSING).to(batch.confidence)
        resolution = batch.images.shape[-1]
        xy = batch.keypoints + DETECTED * resolution * noise
        return heatmaps_of(xy, batch.confidence * shown, resolution)

    def losses(self, regressions: list[Regression], batch: HandSample) -> dict[str, Tensor]:
        found = regressions[-1]
        if not isinstance(found, HandRegression):
            raise TypeError(f"expected a network of hands, whose regressor is a HandRegressor, got {type(found)}")
        return self.of_hands(found, batch, self.layout)

    def real(self, batch: HandSample, count: int) -> BodyParams:
        """There are no discriminators to show real hands to."""
        raise NotImplementedError("The network of hands is trained without discriminators.")

    def to(self, device: torch.device) -> "HandImageObjective":
        poses = self.layout.poses.to(device)
        layout = HandLayout(poses, self.layout.betas, self.layout.resolution)
        return HandImageObjective(self.hands, self.of_hands.to(device), layout, self.heatmaps)

    def state(self) -> ObjectiveState:
        return {"position": self.hands.position}

    def resume(self, state: ObjectiveState) -> None:
        if isinstance(state, Tensor) or "position" not in state:
            raise TypeError("expected a position among the hands")
        self.hands.go_to(int(state["position"]))
