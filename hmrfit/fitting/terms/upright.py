"""People are mostly upright and cameras mostly level: the pelvis' up axis against the image's."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyLinearization, NumpySums, NumpyTerm
from hmrfit.fitting.parameters import Layout, Linearization, Observation
from hmrfit.fitting.terms.base import Term
from hmrfit.ops.robust import damping
from hmrfit.ops.rotation import hat


@dataclass
class Upright(Term):
    """Cameras are mostly held level and people mostly upright: the pelvis' up axis u against the image's.

    e = u - (0, -1, 0),  z = |e|²/s²;  cost 1/2 z/(1+z): bounded, so people who lie down pay a constant and no more.
    """

    scale: float = 0.5
    name: str = "upright"
    points_only: ClassVar[bool] = True

    def _parts(self, e: Linearization) -> tuple[Tensor, Tensor]:
        up = e.state.params.global_orient[..., 1]
        error = (up + up.new_tensor([0.0, 1.0, 0.0])) / self.scale
        return error, damping(error)

    def residuals(self, e: Linearization) -> Tensor:
        error, damp = self._parts(e)
        return error * damp

    def _turning(self, e: Linearization, error: Tensor, damp: Tensor) -> Tensor:
        """(B, 3, 3): u turns by omega x u."""
        unit = (error * damp)[..., None]
        turn = -hat(e.state.params.global_orient[..., 1]) * (damp[..., None] / self.scale)
        return turn - unit @ (unit.mT @ turn)

    def jacobian(self, e: Linearization) -> Tensor:
        jacobian = e.state.params.transl.new_zeros(len(e.state), 3, e.layout.columns)
        if e.layout.moves("global_orient"):
            jacobian[:, :, e.layout.slice("global_orient")] = self._turning(e, *self._parts(e))
        return jacobian

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        error, damp = self._parts(e)
        sums.add_block("global_orient", error * damp, self._turning(e, error, damp), weight)

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm:
        return _NumpyUpright(self.scale)


class _NumpyUpright:
    """The same for one person."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        up = e.x.rotations[0, :, 1]
        error = (up + np.array([0.0, 1.0, 0.0])) / self.scale
        damp = (1 + error @ error) ** -0.5
        r, own = error * damp, slice(3, 6)
        turn = np.array([[0, up[2], -up[1]], [-up[2], 0, up[0]], [up[1], -up[0], 0]]) * (damp / self.scale)  # -[u]x
        turn -= np.outer(r, r @ turn)
        sums.cost += weight * (0.5 * float(r @ r))
        sums.gradient[own] += weight * (r @ turn)
        sums.hessian[own, own] += weight * (turn.T @ turn)
