"""The floor, and the points that touch it.

e_k = n . X_k - offset      metres; at points that touch, elsewhere only where it is below 0
z = e²/sigma²,  cost 1/2 c² z/(1+z)                                                               (Geman-McClure)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import PointTerm, part_of
from hmrfit.fitting.terms.keypoints_3d import FINAL_3D
from hmrfit.ops.robust import geman_mcclure

SOLES = ("left_heel", "right_heel", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe")
"""Points that are never below the floor."""


@dataclass
class Ground(PointTerm):
    """Points against the floor. contacts: which of the points touch it; the others only must not be below."""

    points: PointBody
    contacts: Sequence[str] = ()
    sigma: float = FINAL_3D
    name: str = "ground"

    def _parts(self, e: Linearization) -> tuple[Any, PosedPoints, Tensor, Tensor]:
        floor, posed = part_of(e, "ground", "ground="), self.posed(e)
        above = (posed.points * floor.up[:, None]).sum(-1) - floor.offset[:, None]
        touch = torch.tensor([name in self.contacts for name in self.points.names], device=above.device)
        counts = floor.weight[:, None] * (touch | (above < 0))
        residuals, slope = geman_mcclure(above[..., None] / self.sigma, counts)
        return floor, posed, residuals.squeeze(-1), slope.squeeze(-1) / self.sigma

    def residuals(self, e: Linearization) -> Tensor:
        return self._parts(e)[2]

    def jacobian(self, e: Linearization) -> Tensor:
        floor, posed, _, slope = self._parts(e)
        return self.rows(e, posed, slope[..., None] * floor.up[:, None, None]).squeeze(2)
