"""The discriminators as a term of the energy: `hmrfit.priors.discriminator_prior` brought to the fit's columns.

A joint turns about the camera's axes, R <- R exp(G^T ω), so a covector C = ∂D/∂R becomes

    dD = <C, R [G^T ω]x> = (G v)·ω,      v = axis(R^T C),   axis(M) = (M_32 − M_23, M_13 − M_31, M_21 − M_12)

The orientation, the translation and the camera do not enter.

What they are worth was measured (benchmarks/prior_ablation.py, 300 people of validation motion, PA-MPJPE): beside the
anchor nothing (50.1 mm without, 49.9 to 50.2 with, whatever they were trained against) at two to three times the time;
without it they lose to the mixture by far (72 to 75 against 54.1; 72.9 without any prior). Trained against perturbed
poses and beside half the mixture's weight they gain on it (54.1 -> 52.8; 56.6 -> 54.6 on 600 people of test motion).
No default weight names them, as the default fit is anchored. They are no distance: a pose far from any of people's may
please them, even when they were trained again and again against the fits that fooled them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import Layout, Linearization
from hmrfit.fitting.terms.base import Term
from hmrfit.priors.discriminator_prior import DiscriminatorPrior


@dataclass
class DiscriminatorTerm(Term):
    """r_i = D_i(Θ) − 1, (B, J+1): 23 joints, all joints, the shape. It looks at every joint, seen or not."""

    source: DiscriminatorPrior | Callable[[], DiscriminatorPrior]
    """The prior, or what reads it when it is first needed."""
    name: str = "discriminators"

    @cached_property
    def prior(self) -> DiscriminatorPrior:
        """The discriminators themselves."""
        return self.source if isinstance(self.source, DiscriminatorPrior) else self.source()

    def residuals(self, e: Linearization) -> Tensor:
        return self.prior.residuals(e.state.params.body_pose, e.state.params.betas)

    def jacobian(self, e: Linearization) -> Tensor:
        return self._residuals_and_jacobian(e)[1]

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        sums.add_rows(*self._residuals_and_jacobian(e), weight)

    def _residuals_and_jacobian(self, e: Linearization) -> tuple[Tensor, Tensor]:
        params = e.state.params
        residuals, of_joints, of_all, of_betas = self.prior.derivatives(params.body_pose, params.betas)
        jacobian = residuals.new_zeros(*residuals.shape, e.layout.columns)
        moving = e.layout.body_index - 1
        if len(moving):
            covectors = torch.stack([of_joints, of_all])[:, :, moving]
            turned = axis(params.body_pose[:, moving].mT @ covectors)
            rows = (e.posed.world[:, e.layout.body_index] @ turned[..., None]).squeeze(-1)  # (2, B, j, 3)
            columns = _columns(e.layout)
            jacobian[:, moving[:, None], columns] = rows[0]
            jacobian[:, -2, e.layout.slice("body_pose")] = rows[1].flatten(1)
        if e.layout.slice("betas").stop > e.layout.slice("betas").start:
            jacobian[:, -1, e.layout.slice("betas")] = of_betas
        return residuals, jacobian


def _columns(layout: Layout) -> Tensor:
    """(j, 3) each moving body joint's columns."""
    first = layout.slice("body_pose").start + 3 * torch.arange(len(layout.body_joints))
    return first[:, None] + torch.arange(3)


def axis(matrix: Tensor) -> Tensor:
    """The vector v (..., 3) with <M, [u]x> = v·u for every u; M (..., 3, 3)."""
    skew = matrix - matrix.mT
    return torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)
