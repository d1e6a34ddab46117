"""The pose prior: the mixture of Gaussians of `hmrfit.priors.gmm` as a term of the energy.

Of a body with fingers it knows the other joints only; fingers that move have no part in it.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyLinearization, NumpySums, NumpyTerm
from hmrfit.fitting.parameters import Layout, Linearization, Observation, State
from hmrfit.fitting.terms.base import Term
from hmrfit.ops.rotation import matrix_to_rotvec, rotvec_to_matrix
from hmrfit.priors.gmm import PoseGmm


@dataclass
class PosePrior(Term):
    """The pose GMM of `hmrfit.priors.gmm`."""

    gmm: PoseGmm
    name: str = "gmm"
    _marginals: dict[tuple[int, ...], tuple[PoseGmm, Tensor | None]] = field(default_factory=dict, repr=False)
    points_only: ClassVar[bool] = True

    def residuals(self, e: Linearization) -> Tensor:
        return self.gmm.residuals(e.theta)

    def cost(self, e: Linearization) -> Tensor:
        columns = e.layout.theta_columns
        if len(columns) in (0, e.theta.shape[1]):  # a body with fingers has joints that the mixture is not about
            return self.gmm.energy(e.theta)
        gmm, known = self.marginal(e.layout)
        return gmm.energy(e.theta[:, columns if known is None else columns[known]])

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        columns = e.layout.theta_columns
        if not len(columns):
            sums.cost += weight * self.gmm.energy(e.theta)
            return
        gmm, known = self.marginal(e.layout)
        if known is None and len(gmm.means) == 1:
            white = gmm.whitened(e.theta[:, columns])[:, 0]
            factor = gmm.factors[0]
            sums.add_pose_factor(0.5 * white.square().sum(-1) + gmm.constants[0], white @ factor.T, factor, weight)
            return
        if known is None:
            sums.add_pose(*gmm.quadratic(e.theta[:, columns]), weight)
            return
        cost, own, curvature = gmm.quadratic(e.theta[:, columns[known]])
        gradient = own.new_zeros(len(own), len(columns))
        gradient[:, known] = own
        hessian = own.new_zeros(len(own), len(columns), len(columns))
        hessian[:, known[:, None], known] = curvature
        sums.add_pose(cost, gradient, hessian, weight)

    def fill(self, state: State, observation: Observation, layout: Layout) -> State:
        theta = matrix_to_rotvec(state.params.body_pose).flatten(1)
        theta = self.gmm.fill(theta, layout.theta_columns[self.gmm.knows(layout.theta_columns)])
        pose = state.params.body_pose.clone()
        left = [j - 1 for j in range(1, layout.joint_count) if j not in layout.body_joints]
        pose[:, left] = rotvec_to_matrix(theta.unflatten(1, (-1, 3))[:, left])
        return State(replace(state.params, body_pose=pose), state.camera)

    def marginal(self, layout: Layout) -> tuple[PoseGmm, Tensor | None]:
        """(the mixture over the moving joints only, which of the layout's pose columns these are; None: all); made once
        per layout. Its energy is the full one, least over the joints left out, so leaving them out changes nothing but
        the time."""
        if self.gmm.columns is None and 3 * len(layout.body_joints) == self.gmm.means.shape[1]:
            return self.gmm, None
        if layout.body_joints not in self._marginals:
            known = self.gmm.knows(layout.theta_columns)
            gmm = self.gmm.marginal(layout.theta_columns[known])
            self._marginals[layout.body_joints] = gmm, None if known.all() else known.nonzero()[:, 0]
        return self._marginals[layout.body_joints]

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm | None:
        gmm, known = self.marginal(layout)
        first = known is None or bool((known == torch.arange(len(known))).all())
        return _NumpyPosePrior(gmm) if first else None


class _NumpyPosePrior:
    """The same for one person, whose root and some or all of whose body joints move, those that it knows first."""

    def __init__(self, gmm: PoseGmm) -> None:
        self.joints = gmm.means.shape[1] // 3
        self.stacked, self.shift, self.constants = (t.numpy() for t in (gmm.stacked, gmm.shift, gmm.constants))
        self.means, self.precisions = gmm.means.numpy(), gmm.precisions.numpy()

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        joints = e.body.rotating[1 : 1 + self.joints]
        theta = e.theta[joints - 1]
        white = (theta.ravel() @ self.stacked - self.shift).reshape(self.means.shape)
        energies = 0.5 * (white * white).sum(1) + self.constants
        k = energies.argmin()
        sums.cost += weight * float(energies[k])
        if sums.cost_only:
            return
        gradient = self.precisions[k] @ (theta.ravel() - self.means[k])
        T = e.theta_derivative[joints - 1] @ e.x.world[joints].transpose(0, 2, 1)
        sums.of_turns.append((slice(6, 6 + len(gradient)), gradient, self.precisions[k], T, weight))
