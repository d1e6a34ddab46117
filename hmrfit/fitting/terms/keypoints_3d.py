"""Points measured in 3D.

e_k = X_k - x_k      metres; or both about their weighted means
z = |e|²/sigma²,  cost 1/2 c² z/(1+z)                                                             (Geman-McClure)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import PointTerm, part_of
from hmrfit.ops.robust import geman_mcclure

WIDE_3D, FINAL_3D = 0.5, 0.1


"""Metres, the robust scales of the rounds: with the weight of keypoints, 24, the last is a Gaussian of 2 cm."""


@dataclass
class Keypoints3D(PointTerm):
    """Points measured in 3D. relative: only where they are about their own weighted mean, not where that is."""

    points: PointBody
    relative: bool = False
    sigma: float = FINAL_3D
    name: str = "keypoints_3d"

    def _parts(self, e: Linearization) -> tuple[PosedPoints, Tensor, Tensor, Tensor]:
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

    def residuals(self, e: Linearization) -> Tensor:
        return self._parts(e)[1].flatten(1)

    def jacobian(self, e: Linearization) -> Tensor:
        posed, _, slope, confidence = self._parts(e)
        if not self.relative:
            return self.rows(e, posed, slope / self.sigma).flatten(1, 2)
        axes = torch.eye(3).to(slope).expand_as(slope)
        rows = self.rows(e, posed, axes)
        return (slope / self.sigma @ (rows - self._mean(rows, confidence))).flatten(1, 2)
