"""The keypoint HMR trained on 2D keypoints alone, supervised by what a loop of fits finds of the same keypoints.

    L = λ_2d Σ c |x − x̂| / #{c > 0}
      + mean over people who are supervised of
        λ_j Σ_k w_k ‖X_k − X*_k‖ / K + λ_c Σ_k w_k ‖GᵀX_k − G*ᵀX*_k‖ / K + λ_R Σ_j w_j ‖R_j − R*_j‖² / J
        + λ_β w_β ‖β − β*‖² / S + λ_s |log s/s*|

* is a `Supervision`: a fit, the truth where there is one, or nothing; weights of its covariance (`train.fit_loop`). The
first line is for everybody. With the truth for all it is the keypoint HMR's own loss (`losses.keypoint_losses`).
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.camera import Camera, translation_to_weak
from hmrfit.network.hmr import EncoderInput, in_front, project_in_crop
from hmrfit.train.fit_loop import Supervision, root_of, unaugmented
from hmrfit.train.keypoint_people import KeypointBatch, KeypointPeople
from hmrfit.train.losses import KeypointLossWeights, distance, l1_reprojection
from hmrfit.train.objectives import DrawnPeople, RealBodies
from hmrfit.train.spin_loop import SeenCrop, SpinLoop, spin_losses
from hmrfit.train.turns import Seen
from hmrfit.types import BodyParams, Regression


class Supervisor(Protocol):
    """What says how a batch's estimates should be."""

    def visit(self, seen: Seen, estimate: BodyParams) -> Supervision: ...


@dataclass
class Truth:
    """The truth where there is one, nothing elsewhere. body: that knows where its root lies."""

    body: PointBody

    def visit(self, seen: Seen, estimate: BodyParams) -> Supervision:
        params, known = seen.truth, seen.has_truth.double()
        turned = seen.turns.params(params, root_of(self.body, params.betas), self.body.skeleton)
        each = known[:, None].expand(-1, params.rotations.shape[1])
        return Supervision(turned, each, each, known, known, seen.has_truth)


class KeypointLoop(DrawnPeople):
    """Objective of the keypoint HMR on data sets of keypoints.

    Args:
        body: with the points of the loss, `losses.LANDMARKS`. seen_by: with the points of the people's keypoints.
        real: the discriminators' other side. supervisor: None for the 2D loss alone.
    """

    def __init__(
        self,
        people: KeypointPeople,
        body: PointBody,
        seen_by: PointBody,
        real: RealBodies,
        supervisor: Supervisor | None = None,
        weights: KeypointLossWeights | None = None,
    ) -> None:
        super().__init__(people, real, body)
        self.people, self.seen_by = people, seen_by
        self.supervisor, self.weights = supervisor, weights or KeypointLossWeights()

    @property
    def adversarial(self) -> float:
        return self.weights.adversarial

    def batch(self, count: int, progress: float) -> KeypointBatch:
        return self.people.batch(count)

    def inputs(self, batch: KeypointBatch) -> tuple[EncoderInput, ...]:
        return batch.points, batch.names, batch.view

    def losses(self, regressions: list[Regression], batch: KeypointBatch) -> dict[str, Tensor]:
        last = regressions[-1]
        projected = project_in_crop(self.seen_by.pose(last.params).points, last.weak_camera, batch.view)
        reprojection = l1_reprojection(projected, batch.target, batch.confidence)
        losses = {"reprojection": self.weights.reprojection * reprojection}
        if self.supervisor is None:
            return losses
        device = batch.view.device
        estimate = unaugmented(last, batch.view, batch.seen.turns, self.body)
        supervision = self.supervisor.visit(batch.seen.to("cpu"), estimate.to("cpu")).to(device)
        return losses | supervised_losses(last, supervision, batch.view, self.body, self.weights)

    def to(self, device: torch.device) -> "KeypointLoop":
        bodies = self.body.to(device=device), self.seen_by.to(device=device)
        return KeypointLoop(self.people, *bodies, self.motion, self.supervisor, self.weights)


class KeypointSpin(KeypointLoop):
    """The same by SPIN's own rules and losses (`train.spin_loop`), the crop being the box of the keypoints.

    Args:
        spin: its loop.
    """

    def __init__(
        self,
        people: KeypointPeople,
        body: PointBody,
        seen_by: PointBody,
        real: RealBodies,
        spin: SpinLoop,
        adversarial: float = 0.0,
    ) -> None:
        super().__init__(people, body, seen_by, real, None, KeypointLossWeights(adversarial=adversarial))
        self.spin = spin

    def losses(self, regressions: list[Regression], batch: KeypointBatch) -> dict[str, Tensor]:
        last, seen = regressions[-1], crop_of(batch, self.body)
        should = self.spin.visit(seen.to("cpu"), last.map(Tensor.detach).to("cpu")).to(batch.view.device)
        points = self.seen_by.pose(last.params).points
        return spin_losses(last, points, should.to(batch.view.dtype), seen)

    def to(self, device: torch.device) -> "KeypointSpin":
        bodies = self.body.to(device=device), self.seen_by.to(device=device)
        return KeypointSpin(self.people, *bodies, self.motion, self.spin, self.adversarial)


def crop_of(batch: KeypointBatch, body: PointBody) -> SeenCrop:
    """A batch as SPIN's loop knows it."""
    seen = batch.seen
    truth = seen.turns.params(seen.truth, root_of(body, seen.truth.betas), body.skeleton)
    return SeenCrop(seen.row, batch.target, batch.confidence, batch.names, seen.turns, truth, seen.has_truth)


def supervised_losses(
    regression: Regression, should: Supervision, view: Tensor, body: PointBody, weights: KeypointLossWeights
) -> dict[str, Tensor]:
    """Every weighted term of the second and third line, by name; 0 with a gradient path where nobody is supervised.

    Args:
        view: (B, 3) of the network's boxes. body: with the points `losses.LANDMARKS`.
    """
    should = should.to(regression.weak_camera.dtype)
    w_R, w_X, truth = should.rotations, should.joints, should.params
    landmarks = w_X.mean(1, keepdim=True).expand(-1, len(body.names))
    w_X = torch.cat([w_X, landmarks], 1)
    found, there = body.pose(regression.params), body.pose(truth)
    about, true_about = (torch.cat([posed.joints, posed.points], 1) - posed.joints[:, :1] for posed in (found, there))
    canonical, true_canonical = about @ regression.params.global_orient, true_about @ truth.global_orient
    rotations = (regression.params.rotations - truth.rotations).square().mean((2, 3))
    scale, true_scale = in_front(regression.weak_camera)[:, 0], scale_of(truth.transl, view)
    supervised = (w_R > 0).any(1)
    count = supervised.sum().clamp_min(1)
    mean = lambda each: torch.where(supervised, each, 0.0).sum() / count  # noqa: E731
    return {
        "joints": weights.joints * mean((w_X * distance(about, true_about)).mean(1)),
        "canonical": weights.canonical * mean((w_X * distance(canonical, true_canonical)).mean(1)),
        "rotations": weights.rotations * mean((w_R * rotations).mean(1)),
        "betas": weights.betas * mean(should.betas * (regression.params.betas - truth.betas).square().mean(1)),
        "scale": weights.scale * mean(should.placed * (scale / true_scale).log().abs()),
    }


def scale_of(transl: Tensor, view: Tensor) -> Tensor:
    """(B,) s of the weak camera of a box (its `view` (B, 3)) at which a person stands at transl (B, 3)."""
    center, side = view[:, :2], view[:, 2]
    unit = Camera(torch.ones_like(center), torch.zeros_like(center), torch.ones_like(center))
    depth = transl[:, 2:].clamp_min(0.1)
    return translation_to_weak(torch.cat([transl[:, :2], depth], 1), center, side, unit)[:, 0]
