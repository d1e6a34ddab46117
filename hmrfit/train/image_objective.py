"""What the image HMR is taught: HMR's losses (`hmrfit.train.losses`) on people of datasets and of scenes, mixed.

    L = λ_2d L_reproj + [paired: λ_3d L_3d + λ_smpl L_smpl] + λ_adv L_adv(E)

Keypoints weigh by their source, 3D counts where it is known, and the discriminators' real people are of motion, which
has to do with no image. "Unpaired" leaves out whatever needs 3D truth.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.keypoints import OPENPOSE25, SPIN24
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.train.images import SPIN49, PersonSample
from hmrfit.train.losses import LossWeights, Targets, encoder_losses, source_weights
from hmrfit.train.mixed import MixedPeople
from hmrfit.train.people import Mixture, PosePool
from hmrfit.types import BodyParams, Regression

REAL = Mixture(other_legs=0.0, other_arm=0.0, jitter=0.0, from_prior=0.0, filled=1.0)
"""Frames as they were captured; joints that a source does not drive, drawn from the prior."""


@dataclass
class MotionPeople:
    """Real bodies in real poses, for the discriminators: frames of motion, shapes as people have them."""

    pool: PosePool
    betas: int
    generator: torch.Generator

    def sample(self, count: int) -> BodyParams:
        """`count` people at the origin, float32."""
        poses = rotvec_to_matrix(self.pool.sample(count, self.generator, REAL))
        betas = torch.randn(count, self.betas, generator=self.generator)
        return BodyParams(poses[:, 0], poses[:, 1:], betas, poses.new_zeros(count, 3))


class ImageLesson:
    """People in images as an image HMR sees them.

    Args:
        people: where they come from. real: the discriminators' other side. body: with the points spin49, in order.
        sources: (49,) of `source_weights`.
    """

    def __init__(
        self,
        people: MixedPeople,
        real: MotionPeople,
        body: PointBody,
        weights: LossWeights | None = None,
        sources: Tensor | None = None,
    ) -> None:
        if body.names != SPIN49:
            raise ValueError('The body should have the points of spin49, in its order: body.points("spin49").')
        self.people, self.motion, self.body = people, real, body
        self.weights = weights or LossWeights()
        self.sources = source_weights() if sources is None else sources

    @property
    def adversarial(self) -> float:
        return self.weights.adversarial

    def batch(self, count: int, progress: float) -> PersonSample:
        return self.people.batch(count)

    def seen(self, batch: PersonSample) -> tuple:
        return (as_input(batch.images),)

    def losses(self, regressions: list[Regression], batch: PersonSample) -> dict[str, Tensor]:
        points = self.body.pose(regressions[-1].params).points
        targets = Targets(
            batch.keypoints,
            batch.confidence * self.sources,
            batch.joints,
            batch.joint_confidence,
            batch.params,
            batch.has_params,
        )
        joints = points[:, len(OPENPOSE25) :]
        return encoder_losses(regressions, points, joints, targets, SPIN24, self.weights, view=batch.view)

    def real(self, batch: PersonSample, count: int) -> BodyParams:
        return self.motion.sample(count).to(batch.view.device)

    def to(self, device: torch.device) -> "ImageLesson":
        body, sources = self.body.to(device=device), self.sources.to(device)
        return ImageLesson(self.people, self.motion, body, self.weights, sources)

    def state(self) -> dict[str, Any]:
        return {"position": self.people.position, "real": self.motion.generator.get_state()}

    def resume(self, state: dict[str, Any]) -> None:
        self.people.go_to(state["position"])
        self.motion.generator.set_state(state["real"])


def as_input(images: Tensor) -> Tensor:
    """Pixels (B, 3, R, R) uint8 -> what the image encoder takes, laid out as its convolutions like it."""
    return (images / 255).contiguous(memory_format=torch.channels_last)
