"""The shape: its prior, and betas that are known from elsewhere.

shape         r = beta                        1/2 |beta|²: betas have unit variance
known_shape   r = (beta - value) / std
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hmrfit.body.smpl import LARGEST_BETA, SmplBody
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyLinearization, NumpySums, NumpyTerm
from hmrfit.fitting.parameters import Layout, Linearization, Observation
from hmrfit.fitting.terms.base import Known, Measurement, Staged, Term, record_of
from hmrfit.fitting.terms.height import IMPLAUSIBLE, KnownNumber
from hmrfit.io.photo import Photo
from hmrfit.ops.check import numbers
from hmrfit.ops.how_many import how_many

SHAPE_STD = 0.1

LEAST_SHAPE_STD = 1e-6
"""No shape is known better."""


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

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm:
        return _NumpyBetas(np.zeros(layout.shape_count), np.ones(layout.shape_count))


@dataclass(frozen=True, eq=False)
class Shape(Measurement):
    """Betas known from elsewhere.

    Args:
        betas: (S,) or (N, S); fewer than the body has leave the others unknown.
        std: their standard deviation, one number, (S,) or (N, S); 0.1 by default.
    """

    name: ClassVar[str] = "known_shape"
    betas: ArrayLike
    std: ArrayLike = SHAPE_STD

    def read(self, photo: Photo, body: SmplBody) -> Known:
        record = _known_shape(self.betas, self.std, photo, body.shape_count)
        words = [_summary(value, std) for value, std in zip(record.value, record.std, strict=True)]
        words = words[:1] if len(set(words)) == 1 else words
        largest = (record.value.abs() * record.std.isfinite()).nan_to_num(0.0).amax(1).tolist()
        return Known(record, (Staged(ShapeTerm(), 1.0, 1.0),), "; ".join(words), tuple(map(_implausible, largest)))


def _implausible(largest: float) -> tuple[str, ...]:
    """A warning about betas that adults do not have."""
    if largest <= IMPLAUSIBLE:
        return ()
    return (
        f"The known shape holds a beta of {largest:.1f}, but betas have a standard deviation of 1 over adults. Are "
        "they this body's?",
    )


class ShapeTerm(Term):
    """Betas known from elsewhere."""

    name = "known_shape"

    def residuals(self, e: Linearization) -> Tensor:
        known = record_of(e.observation, KnownNumber, Shape.name)
        return (e.state.params.betas - known.value) / known.std

    def jacobian(self, e: Linearization) -> Tensor:
        known = record_of(e.observation, KnownNumber, Shape.name)
        jacobian = known.value.new_zeros(*known.value.shape, e.layout.columns)
        if e.layout.moves("betas"):
            jacobian[:, :, e.layout.slice("betas")] = torch.diag_embed(1 / known.std)
        return jacobian

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        r, known = self.residuals(e), record_of(e.observation, KnownNumber, Shape.name)
        sums.add_diagonal("betas", 0.5 * r.square().sum(-1), r / known.std, known.std**-2, weight)

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm:
        known = record_of(observation, KnownNumber, Shape.name)
        return _NumpyBetas(known.value[row].numpy(), known.std[row].numpy())


class _NumpyBetas:
    """r = (beta − value) / std for one person."""

    def __init__(self, value: NDArray[np.float64], std: NDArray[np.float64]) -> None:
        self.value, self.std, self.curvature = value, std, std**-2.0

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        r, S = (e.x.betas - self.value) / self.std, len(self.value)
        sums.cost += weight * (0.5 * float(r @ r))
        sums.gradient[-S:] += weight * (r / self.std)
        sums.hessian.ravel()[:: len(sums.gradient) + 1][-S:] += weight * self.curvature  # on its diagonal


def _summary(value: Tensor, std: Tensor) -> str:
    """One person's known betas in words."""
    pairs = [(v, s) for v, s in zip(value.tolist(), std.tolist(), strict=True) if np.isfinite(s)]
    return ", ".join(f"{v:.2f} ± {s:.2g}" for v, s in pairs) or "unknown"


def _known_shape(shape: ArrayLike, std: ArrayLike, photo: Photo, betas: int) -> KnownNumber:
    count = photo.given
    what = f"betas ({betas},) or ({count}, {betas})"
    value = np.atleast_2d(numbers(shape, "shape", what, None, -LARGEST_BETA, LARGEST_BETA))
    if value.ndim != 2 or value.shape[0] not in (1, count) or not 0 < value.shape[1] <= betas:
        raise ValueError(
            f"shape should be at most {how_many(betas, 'betas')}, in one row, or one for each of "
            f"{how_many(count, 'people')}, but has the shape {value.shape}."
        )
    what = f"one number from {LEAST_SHAPE_STD:g}, or one for each beta"
    std = numbers(std, "shape's standard deviation", what, finite=False)
    if std.shape not in ((), (value.shape[1],), value.shape):
        raise ValueError(
            f"shape's standard deviation should be {what}, but has the shape {std.shape}, and the betas {value.shape}."
        )
    if not (std > 0).all():
        raise ValueError("shape: the standard deviations of betas should be above 0.")
    if (std < LEAST_SHAPE_STD).any():
        raise ValueError(f"shape's standard deviation should be {what}, but is {std.min():g}.")
    std = np.broadcast_to(std, value.shape)
    missing = ((0, 0), (0, betas - value.shape[1]))  # betas that were not given stay unknown
    value, std = np.pad(value, missing), np.pad(std, missing, constant_values=np.inf)
    rows = list(photo.rows)
    return KnownNumber(*(torch.tensor(np.broadcast_to(v, (count, betas))[rows].copy()) for v in (value, std)))
