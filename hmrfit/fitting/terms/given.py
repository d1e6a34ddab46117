"""Terms for what is known beside keypoints and mask: points in 3D, other views, height, shape, the floor.

    e as below, z = |e|²/sigma²,  cost 1/2 c² z/(1+z)  as residuals r = c e / (sigma sqrt(1+z))      (Geman-McClure)

    keypoints_3d   e_k = X_k - x_k                     metres; or both about their weighted means
    views          e_vk = Pi_v(R_v X_k + t_v) - x_vk   a share of the person's box in that view
    ground         e_k = n . X_k - offset              metres; at points that touch, elsewhere only where it is below 0
    height         r = (h(beta) - height) / std        h from the lowest to the highest vertex of the body at rest
    known_shape    r = (beta - value) / std

Each looks at its part of `Evaluation.observation.evidence`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.evidence import ViewEvidence
from hmrfit.fitting.parameters import Evaluation
from hmrfit.fitting.terms.base import NormalEquations, Term

WIDE_3D, FINAL_3D = 0.5, 0.1
"""Metres, the robust scales of the rounds: with the weight of keypoints, 24, the last is a Gaussian of 2 cm."""

SOLES = ("left_heel", "right_heel", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe")
"""Points that are never below the floor."""


def part_of(e: Evaluation, name: str, argument: str) -> Any:
    """The part of the evidence that a term needs, or a letter."""
    part = None if e.observation.evidence is None else getattr(e.observation.evidence, name)
    if part is None:
        raise ValueError(f"This term needs {argument}: give it to fit(), or Evidence({name}=...) to a Fitter.")
    return part


def geman_mcclure(error: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled errors (..., D) and confidences (...) -> residuals (..., D) and d residual / d error (..., D, D)."""
    damp = (1 + error.square().sum(-1, keepdim=True)).rsqrt()
    unit, scale = error * damp, confidence[..., None] * damp
    eye = torch.eye(error.shape[-1]).to(error)
    return scale * error, scale[..., None] * (eye - unit[..., None] * unit[..., None, :])


class PointTerm(Term):
    """A term that looks at named points of its own, and their derivatives."""

    points: PointBody

    def posed(self, e: Evaluation) -> PosedPoints:
        """Its points in the camera frame."""
        return self.points.pose(e.state.params, e.state.world)

    def rows(self, e: Evaluation, posed: PosedPoints, covectors: Tensor) -> Tensor:
        """Covectors (B, K, R, 3) on its points -> (B, K, R, P)."""
        wanted = [e.layout.moves(group) for group in ("transl", "betas")]
        return self.points.rows(posed, covectors, e.layout.turning, *wanted)


@dataclass
class Keypoints3D(PointTerm):
    """Points measured in 3D. relative: only where they are about their own weighted mean, not where that is."""

    points: PointBody
    relative: bool = False
    sigma: float = FINAL_3D
    name: str = "keypoints_3d"

    def _parts(self, e: Evaluation) -> tuple[PosedPoints, Tensor, Tensor, Tensor]:
        given, posed = part_of(e, "points", "keypoints_3d="), self.posed(e)
        error = posed.points - given.xyz
        if self.relative:
            error = error - self._mean(error, given.confidence)
        return posed, *geman_mcclure(error / self.sigma, given.confidence), given.confidence

    @staticmethod
    def _mean(values: Tensor, confidence: Tensor) -> Tensor:
        """(B, 1, ...) over the points (B, K, ...), weighted; 0 where no point counts."""
        share = confidence / confidence.sum(1, keepdim=True).clamp_min(1e-9)
        return (share.view(*share.shape, *[1] * (values.ndim - 2)) * values).sum(1, keepdim=True)

    def residuals(self, e: Evaluation) -> Tensor:
        return self._parts(e)[1].flatten(1)

    def jacobian(self, e: Evaluation) -> Tensor:
        posed, _, slope, confidence = self._parts(e)
        if not self.relative:
            return self.rows(e, posed, slope / self.sigma).flatten(1, 2)
        axes = torch.eye(3).to(slope).expand_as(slope)
        rows = self.rows(e, posed, axes)
        return (slope / self.sigma @ (rows - self._mean(rows, confidence))).flatten(1, 2)


@dataclass
class Views(Term):
    """The observed keypoints in other calibrated views. sigma: a share of the person's box there."""

    sigma: float = 0.06
    name: str = "views"

    def _parts(self, e: Evaluation) -> tuple[ViewEvidence, Tensor, Tensor, Tensor]:
        """(views, residuals (B, V, K, 2), slopes (B, V, K, 2, 2) by pixel, d pixel / d point (B, V, K, 2, 3))."""
        v: ViewEvidence = part_of(e, "views", "several views")
        B, V = v.confidence.shape[:2]
        points = (v.rotation[:, :, None] @ e.posed.points[:, None, ..., None]).squeeze(-1) + v.translation[:, :, None]
        camera = Camera(v.focal.flatten(0, 1), v.center.flatten(0, 1), v.center.flatten(0, 1))
        flat = points.flatten(0, 1)
        unit = self.sigma * v.box_size[..., None, None]
        error = (camera.project(flat).unflatten(0, (B, V)) - v.xy) / unit
        residuals, slope = geman_mcclure(error, v.confidence)
        return v, residuals, slope / unit[..., None], camera.project_jacobian(flat).unflatten(0, (B, V))

    def residuals(self, e: Evaluation) -> Tensor:
        return self._parts(e)[1].transpose(1, 2).flatten(1)

    def jacobian(self, e: Evaluation) -> Tensor:
        v, _, slope, projection = self._parts(e)
        covectors = slope @ projection @ v.rotation[:, :, None]  # (B, V, K, 2, 3)
        return e.point_rows(covectors.transpose(1, 2).flatten(2, 3))


@dataclass
class Ground(PointTerm):
    """Points against the floor. contacts: which of the points touch it; the others only must not be below."""

    points: PointBody
    contacts: Sequence[str] = ()
    sigma: float = FINAL_3D
    name: str = "ground"

    def _parts(self, e: Evaluation) -> tuple[Any, PosedPoints, Tensor, Tensor]:
        floor, posed = part_of(e, "ground", "ground="), self.posed(e)
        above = (posed.points * floor.up[:, None]).sum(-1) - floor.offset[:, None]
        touch = torch.tensor([name in self.contacts for name in self.points.names], device=above.device)
        counts = floor.weight[:, None] * (touch | (above < 0))
        residuals, slope = geman_mcclure(above[..., None] / self.sigma, counts)
        return floor, posed, residuals.squeeze(-1), slope.squeeze(-1) / self.sigma

    def residuals(self, e: Evaluation) -> Tensor:
        return self._parts(e)[2]

    def jacobian(self, e: Evaluation) -> Tensor:
        floor, posed, _, slope = self._parts(e)
        return self.rows(e, posed, slope[..., None] * floor.up[:, None, None]).squeeze(2)


class KnownHeight(Term):
    """The height of the body at rest, linear in its shape: the lowest and the highest vertex of the mean body."""

    name = "height"

    def __init__(self, body: SmplBody) -> None:
        y = body.v_template[:, 1]
        high, low = int(y.argmax()), int(y.argmin())
        self.mean = y[high] - y[low]
        self.slope = body.shapedirs[high, 1] - body.shapedirs[low, 1]  # (S,)

    def of(self, betas: Tensor) -> Tensor:
        """Betas (B, S) -> metres (B,)."""
        return self.mean + betas @ self.slope

    def residuals(self, e: Evaluation) -> Tensor:
        known = part_of(e, "height", "height=")
        return ((self.of(e.state.params.betas) - known.value) / known.std)[:, None]

    def jacobian(self, e: Evaluation) -> Tensor:
        jacobian = e.state.params.transl.new_zeros(len(e.state), 1, e.layout.columns)
        if e.layout.moves("betas"):
            known = part_of(e, "height", "height=")
            jacobian[:, 0, e.layout.slice("betas")] = self.slope / known.std[:, None]
        return jacobian


class KnownShape(Term):
    """Betas known from elsewhere."""

    name = "known_shape"

    def residuals(self, e: Evaluation) -> Tensor:
        known = part_of(e, "shape", "shape=")
        return (e.state.params.betas - known.value) / known.std

    def jacobian(self, e: Evaluation) -> Tensor:
        known = part_of(e, "shape", "shape=")
        jacobian = known.value.new_zeros(*known.value.shape, e.layout.columns)
        if e.layout.moves("betas"):
            jacobian[:, :, e.layout.slice("betas")] = torch.diag_embed(1 / known.std)
        return jacobian

    def add(self, e: Evaluation, sums: NormalEquations, weight: float) -> None:
        r, known = self.residuals(e), part_of(e, "shape", "shape=")
        sums.add_diagonal("betas", 0.5 * r.square().sum(-1), r / known.std, known.std**-2, weight)
