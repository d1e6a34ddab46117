"""The image HMR trained with a loop of fits: HMR's losses, and what the fits say of people whose body is not known.

    L = HMR's (`losses.encoder_losses`) + λ_smpl ½ mean [Σ_j w_j ‖R_j − R*_j‖² + w_β ‖β − β*‖²] / 226

the mean over people who have an accepted fit and no truth; * and w of a `Supervision`. With SPIN's rules, its losses
take the place of all of it. Another kind of network or body (hands) is one more file like this one: an objective that
tells the loop who was seen, and how its estimate stands in the full image.
"""

from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.keypoints import OPENPOSE25
from hmrfit.train.fit_loop import Supervision, unaugmented
from hmrfit.train.images import SPIN49, MixedPeople, PersonSample
from hmrfit.train.keypoint_loop import Supervisor
from hmrfit.train.losses import LossWeights
from hmrfit.train.objectives import ImageObjective, RealBodies
from hmrfit.train.spin_loop import SeenCrop, SpinLoop, spin_joints_3d, spin_losses
from hmrfit.train.turns import Seen
from hmrfit.types import BodyParams, Regression


class ImageLoop(ImageObjective):
    """Objective of the image HMR beside a loop of fits.

    Args: those of `ImageObjective`; supervisor: the loop.
    """

    def __init__(
        self,
        people: MixedPeople,
        real: RealBodies,
        body: PointBody,
        supervisor: Supervisor,
        weights: LossWeights | None = None,
        sources: Tensor | None = None,
    ) -> None:
        super().__init__(people, real, body, weights, sources)
        self.supervisor = supervisor

    def losses(self, regressions: list[Regression], batch: PersonSample) -> dict[str, Tensor]:
        last, seen = regressions[-1], seen_of(batch, self.weights.paired)
        estimate = unaugmented(last, batch.view, seen.turns, self.body)
        should = self.supervisor.visit(seen.to("cpu"), estimate.to("cpu")).to(batch.view.device)
        fits = weighted_smpl(last.params, should.to(batch.view.dtype), ~seen.has_truth)
        return super().losses(regressions, batch) | {"fits": self.weights.smpl * fits}

    def to(self, device: torch.device) -> Self:
        body, sources = self.body.to(device=device), self.sources.to(device)
        return type(self)(self.people, self.motion, body, self.supervisor, self.weights, sources)


class ImageSpin(ImageObjective):
    """The same by SPIN's rules and losses."""

    def __init__(
        self,
        people: MixedPeople,
        real: RealBodies,
        body: PointBody,
        spin: SpinLoop,
        weights: LossWeights | None = None,
        sources: Tensor | None = None,
    ) -> None:
        super().__init__(people, real, body, weights, sources)
        self.spin = spin

    def losses(self, regressions: list[Regression], batch: PersonSample) -> dict[str, Tensor]:
        last, seen = regressions[-1], seen_of(batch, self.weights.paired)
        crop = SeenCrop(seen.row, batch.keypoints, batch.confidence, SPIN49, seen.turns, batch.params, seen.has_truth)
        should = self.spin.visit(crop.to("cpu"), last.map(Tensor.detach).to("cpu")).to(batch.view.device)
        points = self.body.pose(last.params).points
        losses = spin_losses(last, points, should.to(batch.view.dtype), crop, self.sources)
        if self.weights.paired:
            known = batch.joint_confidence
            losses["joints_3d"] = spin_joints_3d(points[:, len(OPENPOSE25) :], batch.joints, known)
        return losses

    def to(self, device: torch.device) -> Self:
        body, sources = self.body.to(device=device), self.sources.to(device)
        return type(self)(self.people, self.motion, body, self.spin, self.weights, sources)


def seen_of(batch: PersonSample, paired: bool) -> Seen:
    """Who was seen; without any truth where the training is unpaired.

    Raises:
        ValueError: the batch does not say it.
    """
    if batch.seen is None:
        raise ValueError("A loop of fits needs to know the full image of everybody: PersonSample(seen=...).")
    return batch.seen if paired else replace(batch.seen, has_truth=torch.zeros_like(batch.seen.has_truth))


def weighted_smpl(predicted: BodyParams, should: Supervision, used: Tensor) -> Tensor:
    """½ mean [Σ_j w_j ‖R_j − R*_j‖² + w_β ‖β − β*‖²] / 226 over people of `used` (B,) who are supervised; 0 with a
    gradient path where there is nobody."""
    rotations = (should.rotations * (predicted.rotations - should.params.rotations).square().sum((2, 3))).sum(1)
    betas = should.betas * (predicted.betas - should.params.betas).square().sum(1)
    size = predicted.rotations[0].numel() + predicted.betas.shape[1]
    supervised = used & (should.rotations > 0).any(1)
    each = torch.where(supervised, rotations + betas, 0.0) / size
    return 0.5 * each.sum() / supervised.sum().clamp_min(1)
