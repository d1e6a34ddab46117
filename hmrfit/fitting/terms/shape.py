"""The shape: its prior, and betas that are known from elsewhere.

shape         r = beta                        1/2 |beta|²: betas have unit variance
known_shape   r = (beta - value) / std
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import Term, part_of


@dataclass
class ShapePrior(Term):
    """1/2 |beta|²: betas have unit variance, so this is their negative log density."""

    name: str = "shape"
    points_only: ClassVar[bool] = True

    def residuals(self, e: Linearization) -> Tensor:
        return e.state.params.betas

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        betas = e.state.params.betas
        sums.add_diagonal("betas", 0.5 * betas.square().sum(-1), betas, torch.ones_like(betas), weight)


class KnownShape(Term):
    """Betas known from elsewhere."""

    name = "known_shape"

    def residuals(self, e: Linearization) -> Tensor:
        known = part_of(e, "shape", "shape=")
        return (e.state.params.betas - known.value) / known.std

    def jacobian(self, e: Linearization) -> Tensor:
        known = part_of(e, "shape", "shape=")
        jacobian = known.value.new_zeros(*known.value.shape, e.layout.columns)
        if e.layout.moves("betas"):
            jacobian[:, :, e.layout.slice("betas")] = torch.diag_embed(1 / known.std)
        return jacobian

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        r, known = self.residuals(e), part_of(e, "shape", "shape=")
        sums.add_diagonal("betas", 0.5 * r.square().sum(-1), r / known.std, known.std**-2, weight)
