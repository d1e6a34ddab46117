"""A known height.

height   r = (h(beta) - height) / std        h from the lowest to the highest vertex of the body at rest
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.fitting.numpy_path import NumpyLinearization, NumpySums, NumpyTerm
from hmrfit.fitting.parameters import Layout, Linearization, Observation
from hmrfit.fitting.terms.base import Known, Measurement, Staged, Term, record_of
from hmrfit.io.photo import Photo
from hmrfit.ops.check import numbers
from hmrfit.ops.how_many import how_many
from hmrfit.types import TensorRecord

HEIGHT_STD = 0.02
"""Metres: people tell their height in whole centimetres, with or without shoes."""

HEIGHTS, HEIGHT_STDS = (0.5, 2.6), (1e-4, 10.0)
"""Metres: what a height and its standard deviation may be."""

IMPLAUSIBLE = 4.0
"""Standard deviations of adults, from which a known height or beta is called into question: one in 16,000 people."""


@dataclass(frozen=True)
class KnownNumber(TensorRecord):
    """A number or several, known up to a standard deviation; inf where it is not known."""

    value: Tensor  # (B,) or (B, S)
    std: Tensor  # as `value`


@dataclass(frozen=True, eq=False)
class Height(Measurement):
    """How tall people are, from the sole to the top of the head, upright and barefoot.

    Args:
        metres: one number, or one a person and None where it is not known.
        std: metres, its standard deviation, 0.02 by default: how far the body's height may be from it.
    """

    name: ClassVar[str] = "height"
    metres: float | Sequence[float | None]
    std: float | Sequence[float] | None = None

    def read(self, photo: Photo, body: SmplBody) -> Known:
        record, term = _known_height(self.metres, self.std, photo), HeightTerm(body)
        pairs = list(zip(record.value.tolist(), record.std.tolist(), strict=True))
        words = [f"{v:.4g} ± {s:.2g} m" if np.isfinite(s) else "unknown" for v, s in pairs]
        words = words[:1] if len(set(words)) == 1 else words
        return Known(record, (Staged(term, 1.0, 1.0),), ", ".join(words), tuple(_implausible(*p, term) for p in pairs))


def _implausible(value: float, std: float, term: "HeightTerm") -> tuple[str, ...]:
    """A warning about a height that adults do not have."""
    usual, std_of_adults = float(term.mean), float(term.slope.norm())
    away = abs(value - usual) / std_of_adults
    if not (np.isfinite(std) and away > IMPLAUSIBLE):
        return ()
    return (
        f"A height of {value:g} m is {away:.0f} standard deviations from the height of an adult of this body "
        f"({usual:.2f} ± {std_of_adults:.2f} m), so the shape is implausible too. Is it metres, from the sole to the "
        "top of the head?",
    )


class HeightTerm(Term):
    """The height of the body at rest, linear in its shape: the lowest and the highest vertex of the mean body."""

    name = "height"

    def __init__(self, body: SmplBody) -> None:
        y = body.v_template[:, 1]
        high, low = int(y.argmax()), int(y.argmin())
        self.mean = y[high] - y[low]
        self.slope = body.shapedirs[high, 1] - body.shapedirs[low, 1]  # (S,)

    def of(self, betas: Tensor) -> Tensor:
        """Betas (B, S) -> metres (B,)."""
        return self.mean + betas @ self.slope

    def residuals(self, e: Linearization) -> Tensor:
        known = record_of(e.observation, KnownNumber, Height.name)
        return ((self.of(e.state.params.betas) - known.value) / known.std)[:, None]

    def jacobian(self, e: Linearization) -> Tensor:
        jacobian = e.state.params.transl.new_zeros(len(e.state), 1, e.layout.columns)
        if e.layout.moves("betas"):
            known = record_of(e.observation, KnownNumber, Height.name)
            jacobian[:, 0, e.layout.slice("betas")] = self.slope / known.std[:, None]
        return jacobian

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm:
        known = record_of(observation, KnownNumber, Height.name)
        std = float(known.std[row])
        return _NumpyHeight(self.slope.numpy() / std, (float(self.mean) - float(known.value[row])) / std)


class _NumpyHeight:
    """r = slope · beta + away for one person."""

    def __init__(self, slope: NDArray[np.float64], away: float) -> None:
        self.slope, self.away = slope, away

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        r, S = float(self.slope @ e.x.betas) + self.away, len(self.slope)
        sums.cost += weight * (0.5 * r * r)
        sums.gradient[-S:] += weight * (r * self.slope)
        sums.hessian[-S:, -S:] += weight * np.outer(self.slope, self.slope)


def _known_height(
    height: float | Sequence[float | None], std: float | Sequence[float] | None, photo: Photo
) -> KnownNumber:
    """The heights of the people, with infinite standard deviation where a height is None."""
    count = photo.given
    each = f"one number or one for each of the {how_many(count, 'people')}"
    holes = np.zeros(count, bool)
    if isinstance(height, list | tuple) and len(height) == count:
        holes = np.array([h is None for h in height])
        height = [HEIGHTS[0] if h is None else h for h in height]
    value = numbers(height, "height", f"metres, {each} (None where it is not known)", (count,), *HEIGHTS)
    what = f"metres, the standard deviation of a height, {each}"
    given = numbers(HEIGHT_STD if std is None else std, "std", what, (count,), *HEIGHT_STDS)
    rows, believed = list(photo.rows), np.where(holes, np.inf, given)
    return KnownNumber(torch.tensor(value[rows]), torch.tensor(believed[rows]))
