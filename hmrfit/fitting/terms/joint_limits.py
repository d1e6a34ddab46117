"""The joint limits of `hmrfit.priors.limits` as a term of the energy."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import Linearization
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
