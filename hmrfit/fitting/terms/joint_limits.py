"""The joint limits of `hmrfit.priors.limits` as a term of the energy."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyLinearization, NumpySums, NumpyTerm
from hmrfit.fitting.parameters import Layout, Linearization, Observation
from hmrfit.fitting.terms.base import Term
from hmrfit.priors.limits import JointLimits


@dataclass
class JointLimitPrior(Term):
    """The joint limits of `hmrfit.priors.limits`."""

    limits: JointLimits
    name: str = "joint_limits"
    points_only: ClassVar[bool] = True

    def residuals(self, e: Linearization) -> Tensor:
        return self.limits.residuals(e.theta)

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        columns = e.layout.theta_columns
        cost, gradient, curvature = self.limits.quadratic(e.theta)
        if curvature.any():  # mostly nobody is outside, and nothing has to be brought to the columns
            sums.add_pose(cost, gradient[:, columns], curvature[:, columns], weight)

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm:
        return _NumpyJointLimits(self.limits)


class _NumpyJointLimits:
    """The same for one person: mostly nothing is outside."""

    def __init__(self, limits: JointLimits) -> None:
        self.lower, self.upper = (t.numpy().reshape(-1, 3) for t in (limits.lower, limits.upper))
        self.softness = limits.softness

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        theta, rotating = e.theta, e.body.rotating
        r = (np.maximum(theta - self.upper, 0) + np.minimum(theta - self.lower, 0)) / self.softness
        for j in (r != 0).any(1).nonzero()[0]:
            place = np.searchsorted(rotating, j + 1)
            if place == len(rotating) or rotating[place] != j + 1:
                continue
            T = e.theta_derivative[j] @ e.x.world[j + 1].T
            own = slice(3 + 3 * place, 6 + 3 * place)
            sums.gradient[own] += weight * (r[j] / self.softness) @ T
            sums.hessian[own, own] += weight * T.T @ ((r[j] != 0)[:, None] / self.softness**2 * T)
        sums.cost += weight * (0.5 * float((r * r).sum()))
