"""What a network is taught: batches without end, what it sees of them, what its answers cost, and who is real.

The trainer (`hmrfit.train.trainer`) is one for all lessons: the keypoint HMR's stands here, the image HMR's beside it.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.train.keypoint_loss import KeypointLossWeights, keypoint_losses
from hmrfit.train.people import Batch, PeopleStream
from hmrfit.types import BodyParams, Regression, TensorRecord


class Lesson(Protocol):
    """What the trainer asks of it. Everything that the next batch depends on is in `state`."""

    adversarial: float
    """Weight of what the discriminators say; 0: train without them."""

    def batch(self, count: int, progress: float) -> TensorRecord:
        """The next `count` people, on the CPU; `progress` (0 to 1) into the run."""

    def seen(self, batch: Any) -> tuple:
        """What the network is called with."""

    def losses(self, regressions: list[Regression], batch: Any) -> dict[str, Tensor]:
        """Every weighted term but the adversarial one, by name; regressions of all iterations."""

    def real(self, batch: Any, count: int) -> BodyParams:
        """`count` real people for the discriminators, none of them the truth of the batch's first people."""

    def to(self, device: torch.device) -> "Lesson":
        """The same with what the losses need on that device."""

    def state(self) -> Any:
        """Tensors and plain values, so that the file that holds them can be read without running it."""

    def resume(self, state: Any) -> None:
        """Go on where `state` was taken."""


class KeypointLesson:
    """People as the keypoint HMR sees them; the real ones are the truths at the end of the batch.

    Args:
        stream: where people come from. body: with the points of the loss, `LANDMARKS`.
    """

    def __init__(self, stream: PeopleStream, body: PointBody, weights: KeypointLossWeights | None = None) -> None:
        self.stream, self.body, self.weights = stream, body, weights or KeypointLossWeights()

    @property
    def adversarial(self) -> float:
        return self.weights.adversarial

    def batch(self, count: int, progress: float) -> Batch:
        return self.stream.batch(count, progress)

    def seen(self, batch: Batch) -> tuple:
        return batch.points, self.stream.body.names, batch.view

    def losses(self, regressions: list[Regression], batch: Batch) -> dict[str, Tensor]:
        return keypoint_losses(regressions[-1], batch, self.body, self.weights)

    def real(self, batch: Batch, count: int) -> BodyParams:
        return batch.params[-count:]

    def to(self, device: torch.device) -> "KeypointLesson":
        return KeypointLesson(self.stream, self.body.to(device=device), self.weights)

    def state(self) -> Tensor:
        return self.stream.generator.get_state()

    def resume(self, state: Tensor) -> None:
        self.stream.generator.set_state(state)
