"""What a network is trained with: batches without end, the network's inputs, the losses of its estimates, and the real
people for the discriminators. The trainer (`hmrfit.train.trainer`) is one for all objectives.

    keypoint HMR     distances to a truth that is fully known (`losses.keypoint_losses`); the real people are the truths
                     at the end of the batch
    image HMR        L = λ_2d L_reproj + [paired: λ_3d L_3d + λ_smpl L_smpl] + λ_adv L_adv(E), HMR's losses, on people
                     of datasets and of synthetic scenes, mixed

For images, keypoints weigh by their source, 3D counts where it is known, and the discriminators' real people are of
motion, which has to do with no image. "Unpaired" leaves out whatever needs 3D truth.
"""

from collections.abc import Mapping
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.keypoints import OPENPOSE25, SPIN24
from hmrfit.network.hmr import EncoderInput
from hmrfit.train.images import SPIN49, MixedPeople, PersonSample
from hmrfit.train.losses import (
    KeypointLossWeights,
    LossWeights,
    Targets,
    encoder_losses,
    keypoint_losses,
    source_weights,
)
from hmrfit.train.people_stream import Batch
from hmrfit.types import BodyParams, Regression, TensorRecord

BatchT = TypeVar("BatchT", bound=TensorRecord)

ObjectiveState = Tensor | Mapping[str, Tensor | int]
"""Tensors and plain values, so that the file that holds them can be read without running it."""


class Objective(Protocol[BatchT]):
    """What the trainer needs. Everything that the next batch depends on is in `state`."""

    @property
    def adversarial(self) -> float:
        """Weight of the adversarial loss; 0: train without the discriminators."""

    def batch(self, count: int, progress: float) -> BatchT:
        """The next `count` people; `progress` (0 to 1) into the run."""

    def inputs(self, batch: BatchT) -> tuple[EncoderInput, ...]:
        """What the network is called with."""

    def losses(self, regressions: list[Regression], batch: BatchT) -> dict[str, Tensor]:
        """Every weighted term but the adversarial one, by name; regressions of all iterations."""

    def real(self, batch: BatchT, count: int) -> BodyParams:
        """`count` real people for the discriminators, none of them the truth of the batch's first people."""

    def to(self, device: torch.device) -> Self:
        """The same with what the losses need on that device."""

    def state(self) -> ObjectiveState:
        """Where the data stand."""

    def resume(self, state: ObjectiveState) -> None:
        """Go on where `state` was taken.

        Raises:
            TypeError: it is the state of another objective.
        """


class BatchStream(Protocol):
    """Where people come from, or hands: endless batches, decided by a generator."""

    body: PointBody
    generator: torch.Generator

    def batch(self, count: int, progress: float = 0.0) -> Batch:
        """The next `count` of them."""


class KeypointObjective:
    """Of the keypoint HMR.

    Args:
        stream: where people come from. body: with the points of the loss, `losses.LANDMARKS`.
    """

    def __init__(self, stream: BatchStream, body: PointBody, weights: KeypointLossWeights | None = None) -> None:
        self.stream, self.body, self.weights = stream, body, weights or KeypointLossWeights()

    @property
    def adversarial(self) -> float:
        return self.weights.adversarial

    def batch(self, count: int, progress: float) -> Batch:
        return self.stream.batch(count, progress)

    def inputs(self, batch: Batch) -> tuple[EncoderInput, ...]:
        return batch.points, self.stream.body.names, batch.view

    def losses(self, regressions: list[Regression], batch: Batch) -> dict[str, Tensor]:
        return keypoint_losses(regressions[-1], batch, self.body, self.weights)

    def real(self, batch: Batch, count: int) -> BodyParams:
        return batch.params[-count:]

    def to(self, device: torch.device) -> "KeypointObjective":
        return KeypointObjective(self.stream, self.body.to(device=device), self.weights)

    def state(self) -> ObjectiveState:
        return self.stream.generator.get_state()

    def resume(self, state: ObjectiveState) -> None:
        if not isinstance(state, Tensor):
            raise TypeError("expected the state of a generator")
        self.stream.generator.set_state(state)


class PositionedPeople(Protocol):
    """People whose next batch is decided by a number."""

    position: int

    def go_to(self, position: int) -> None:
        """The next batch will be the one that comes after `position` batches."""


class RealBodies(Protocol):
    """Real bodies for the discriminators, drawn by a generator: `MotionPeople`, or hands."""

    generator: torch.Generator

    def sample(self, count: int) -> BodyParams:
        """`count` of them at the origin, float32."""


class DrawnPeople:
    """What objectives share whose people are `PositionedPeople` and whose real people are of motion."""

    def __init__(self, people: PositionedPeople, real: RealBodies, body: PointBody) -> None:
        self._drawn, self.motion, self.body = people, real, body

    def real(self, batch: TensorRecord, count: int) -> BodyParams:
        """`count` real people; motion has to do with nobody of the batch."""
        return self.motion.sample(count).to(self.body.rest_joints.device)

    def state(self) -> ObjectiveState:
        """Where the data stand."""
        return {"position": self._drawn.position, "real": self.motion.generator.get_state()}

    def resume(self, state: ObjectiveState) -> None:
        """Go on where `state` was taken. Raises TypeError: it is the state of another objective."""
        if isinstance(state, Tensor) or not isinstance(real := state["real"], Tensor):
            raise TypeError("expected a position among the people and the state of a generator")
        self._drawn.go_to(int(state["position"]))
        self.motion.generator.set_state(real)


class ImageObjective(DrawnPeople):
    """Of the image HMR.

    Args:
        people: where they come from. real: the discriminators' other side. body: with the points spin49, in order.
        sources: (49,) of `source_weights`.
    """

    def __init__(
        self,
        people: MixedPeople,
        real: RealBodies,
        body: PointBody,
        weights: LossWeights | None = None,
        sources: Tensor | None = None,
    ) -> None:
        if body.names != SPIN49:
            raise ValueError('The body should have the points of spin49, in its order: body.points("spin49").')
        super().__init__(people, real, body)
        self.people = people
        self.weights = weights or LossWeights()
        self.sources = source_weights() if sources is None else sources

    @property
    def adversarial(self) -> float:
        return self.weights.adversarial

    def batch(self, count: int, progress: float) -> PersonSample:
        return self.people.batch(count)

    def inputs(self, batch: PersonSample) -> tuple[EncoderInput, ...]:
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

    def to(self, device: torch.device) -> "ImageObjective":
        body, sources = self.body.to(device=device), self.sources.to(device)
        return ImageObjective(self.people, self.motion, body, self.weights, sources)


def as_input(images: Tensor) -> Tensor:
    """Pixels (B, 3, R, R) uint8 -> what the image encoder takes, laid out as its convolutions like it."""
    return (images / 255).contiguous(memory_format=torch.channels_last)
