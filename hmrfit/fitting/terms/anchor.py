"""The anchored prior as a term of the energy: `hmrfit.fitting.gaussian_prior` brought to the fit's columns.

    E = ½ eᵀ Σ⁻¹ e + ½ |(t − t⁰)/σ_t|²,      de_j/dω_j = T_j = G⁰_j Jr⁻¹(φ_j) G_jᵀ,  φ_j = log(R⁰_jᵀ R_j)

As residuals r = Lᵀ e with L Lᵀ = Σ⁻¹. What Σ⁻¹ is made of is computed once for all steps of a stage.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import CostlessTerm, NumpyLinearization, NumpySums, NumpyTerm
from hmrfit.fitting.parameters import Layout, Linearization, Observation, State
from hmrfit.fitting.terms.base import Term
from hmrfit.ops.rotation import right_jacobian_inverse


@dataclass
class AnchorPrior(Term):
    """The prior above, for observations that carry an `Anchor`; without one it costs nothing."""

    name: str = "anchor"
    points_only: ClassVar[bool] = True

    def prepare(self, observation: Observation, layout: Layout) -> Observation:
        """A of the stage's coordinates, once for all its steps."""
        if observation.anchor is None:
            return observation
        return replace(observation, anchor=observation.anchor.prepared(layout.chart))

    def residuals(self, e: Linearization) -> Tensor:
        anchor = e.observation.anchor
        if anchor is None:
            return e.state.params.transl.new_zeros(len(e.state), 1)
        anchor = anchor.prepared(torch.arange(anchor.scale.shape[1]))
        error, _ = anchor.error(e.state.params)
        white = (error[:, None] @ torch.linalg.cholesky(anchor.precision)).squeeze(1)
        return torch.cat([white, (e.state.params.transl - anchor.transl) / anchor.transl_std], -1)

    def cost(self, e: Linearization) -> Tensor:
        anchor = e.observation.anchor
        if anchor is None:
            return e.state.params.transl.new_zeros(len(e.state))
        return anchor.energy(e.state.params, e.start_turn)

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        anchor, layout = e.observation.anchor, e.layout
        if anchor is None:
            return
        index = layout.chart
        anchor = anchor.prepared(index)
        phi, turning = e.start_turn, layout.rotating_index
        assert anchor.common is not None
        own = anchor.error_of(phi, e.state.params.betas)[:, index]
        pull = anchor.pull(own)
        T = anchor.world[:, turning] @ right_jacobian_inverse(phi[:, turning]) @ e.posed.world[:, turning].mT
        diagonal = anchor.scale[:, index] ** -2
        sums.add_turned(0.5 * (pull * own).sum(-1), pull, diagonal, anchor.common, T, weight)
        away = (e.state.params.transl - anchor.transl) / anchor.transl_std
        sums.add_diagonal(
            "transl", 0.5 * away.square().sum(-1), away / anchor.transl_std, anchor.transl_std**-2, weight
        )

    def fill(self, state: State, observation: Observation, layout: Layout) -> State:
        """Joints that the stage left out, at their likeliest values given the others."""
        if observation.anchor is None:
            return state
        return State(observation.anchor.fill(state.params, layout.chart), state.camera)

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm:
        anchor = observation.anchor
        return CostlessTerm() if anchor is None else _NumpyAnchor(anchor, row, layout)


class _NumpyAnchor:
    """The same for one person."""

    def __init__(self, anchor: Anchor, row: int, layout: Layout) -> None:
        own = slice(row, row + 1)
        self.precision = anchor.prepared(layout.chart)[own].precision[0].numpy()
        self.chart = layout.chart.numpy()
        self.world, self.betas = anchor.world[row].numpy(), anchor.betas[row].numpy()
        self.transl, self.transl_std = anchor.transl[row].numpy(), anchor.transl_std[row].numpy()

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        x, rotating, gradient = e.x, e.body.rotating, sums.gradient
        rotated = (self.world * e.start_turn[:, None]).sum(-1).ravel()
        error = np.concatenate([rotated, x.betas - self.betas])[self.chart]
        pull = self.precision @ error
        away = (x.transl - self.transl) / self.transl_std
        sums.cost += weight * (0.5 * float(pull @ error + away @ away))
        if sums.cost_only:
            return
        T = self.world[rotating] @ e.start_derivative[rotating] @ x.world[rotating].transpose(0, 2, 1)
        sums.of_turns.append((slice(3, None), pull, self.precision, T, weight))
        gradient[:3] += weight * away / self.transl_std
        sums.hessian.ravel()[: 3 * len(gradient) : len(gradient) + 1] += weight / self.transl_std**2
